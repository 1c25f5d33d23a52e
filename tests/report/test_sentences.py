"""What the report says in words, against what the run's files hold."""

import shutil

import pytest

from detaux.config import dump_config, load_config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.report.accuracy import build_accuracy, build_methods
from detaux.report.collect import load_run
from detaux.report.effect import name_labels
from detaux.report.sentences import (
    advise,
    describe_edited_variants,
    describe_effect,
    describe_ground_truth,
    describe_missing,
    describe_recombination,
    describe_rule,
    describe_scarcity,
)
from detaux.report.table import NONE
from detaux.report.tables import build_candidates, build_comparison
from detaux.report.tiles import build_tiles


def test_scarce_labels_are_counted(run_folder, edit_json):
    assert describe_scarcity(load_run(run_folder, "demo")) == (
        "270 of 2,700 training images have a principal label; no stage used more labels."
    )
    path = run_folder / "multitask" / "metrics.json"
    edit_json(path, lambda multitask: multitask["facts"].update(labelled_images=2700))
    assert describe_scarcity(load_run(run_folder, "demo")) is None
    edit_json(path, lambda multitask: multitask.pop("facts"))
    assert describe_scarcity(load_run(run_folder, "demo")) is None


def test_recombined_images_are_told_with_their_share(run_folder, edit_json):
    assert describe_recombination(load_run(run_folder, "demo")) is None
    folder = run_folder / "multitask"
    edit_json(folder / "metrics.json", lambda multitask: multitask["facts"].update(recombined_images=2000))
    config = load_config(folder / "config.yaml", ["multitask.recombine=0.25"], is_frozen=True)
    dump_config(config, folder / "config.yaml")
    sentence = describe_recombination(load_run(run_folder, "demo"))
    assert sentence.startswith("25% of the images in each batch with principal labels were recombined")
    assert "(2,000 images)" in sentence


def test_official_rule_is_described_as_computed(run_folder, edit_json):
    edit_json(
        run_folder / "discover" / "discovery.json",
        lambda discovery: discovery.update(rule=CHOICE_RULES["official"].to_row()),
    )
    run = load_run(run_folder, "demo")
    assert "the smallest value of: absolute value of the mean over images of <s_alpha, s_j>" in describe_rule(run)
    assert "|mean dot| (rule)" in [column.title for column in build_candidates(run).columns]


@pytest.mark.parametrize("changes_many", [True, False])
def test_mined_pairs_are_advised_if_pairs_differ_in_many_factors(run_folder, edit_json, changes_many):
    path = run_folder / "discover" / "discovery.json"
    edit_json(path, lambda discovery: discovery["pairs"].update(changes_many_factors=changes_many))
    assert any("set pairs.partner=mined" in advice for advice in advise(load_run(run_folder, "demo"))) == changes_many


@pytest.mark.parametrize("code", ["cut_through_a_continuum", "with_one_cluster"])
def test_cutting_of_continua_is_advised_if_a_candidate_failed_by_it(run_folder, edit_json, code):
    fault = {"code": code, "text": "some text"}
    path = run_folder / "discover" / "discovery.json"
    edit_json(path, lambda discovery: discovery["candidates"][3].update(fault=fault))
    advised = any("set discover.cut_continua=true" in advice for advice in advise(load_run(run_folder, "demo")))
    assert advised == (code == "cut_through_a_continuum")


@pytest.mark.parametrize("code", ["with_arbitrary_borders", "with_one_cluster"])
def test_lower_least_attraction_is_advised_if_a_candidate_failed_by_it(run_folder, edit_json, code):
    path, fault = run_folder / "discover" / "discovery.json", {"code": code, "text": "some text"}
    edit_json(path, lambda discovery: discovery["candidates"][3].update(fault=fault))
    advised = any("lower discover.min_attraction" in advice for advice in advise(load_run(run_folder, "demo")))
    assert advised == (code == "with_arbitrary_borders")


def set_control(labels, gain):
    """An edit of metrics.json: the control at the choice's weight has these labels and this test gain."""
    kind = "upper_bound" if labels == "oracle" else "control"

    def change(multitask):
        for row in multitask["summary"][6:8]:
            row.update(kind=kind, labels=labels, gain_mean=gain, gain_low=gain - 0.01, gain_high=gain + 0.01)

    return change


@pytest.mark.parametrize("labels", ["random", "permuted", "rotation", "constant"])
def test_gain_that_a_control_shares_is_not_owed_to_the_task(run_folder, edit_json, labels):
    edit_json(run_folder / "multitask" / "metrics.json", set_control(labels, 0.0125))
    run = load_run(run_folder, "demo")
    sentence = (
        f"The {labels} control at the same weight does as well (+1.25), so the gain does not come from the discovered"
    )
    assert f"3 paired seeds): a gain. {sentence} task." in describe_effect(run)
    assert build_tiles(run)[-1].note.endswith(f"a gain, as with {labels} labels")
    assert build_comparison([run]).rows[0]["verdict"] == f"a gain, as with {labels} labels"


def test_gain_that_within_class_labels_share_is_owed_to_the_principal_label(run_folder, edit_json):
    edit_json(run_folder / "multitask" / "metrics.json", set_control("within_class", 0.02))
    text = describe_effect(load_run(run_folder, "demo"))
    assert "(+2.00), so the labels' dependence on the principal label explains the gain." in text


@pytest.mark.parametrize(
    ("labels", "name"), [("correlated_split", "split class"), ("correlated_0.3", "class copy (NMI 0.3)")]
)
def test_gain_that_more_of_the_principal_label_shares_is_said_to_need_no_hidden_task(
    run_folder, edit_json, labels, name
):
    edit_json(run_folder / "multitask" / "metrics.json", set_control(labels, 0.02))
    run = load_run(run_folder, "demo")
    reading = "so more of the principal label gains as much without the discovered task"
    assert f"The {name} control at the same weight does as well (+2.00), {reading}." in describe_effect(run)
    assert build_comparison([run]).rows[0]["verdict"] == f"a gain, as with {name} labels"


def test_gain_below_an_upper_bound_stands_and_the_bound_is_marked(run_folder, edit_json):
    path = run_folder / "multitask" / "metrics.json"
    assert "upper bound" not in describe_ground_truth(load_run(run_folder, "demo"))
    edit_json(path, set_control("oracle", 0.08))
    edit_json(path, lambda multitask: multitask["facts"].update(oracle="floor_hue"))
    run = load_run(run_folder, "demo")
    text = describe_effect(run)
    assert "does as well" not in text
    assert "The true labels of floor hue, an upper bound, changed it by +8.00 (+7.00 to +9.00)." in text
    assert build_comparison([run]).rows[0]["verdict"] == "a gain"
    assert "the rows of the oracle labels (floor hue), which are an upper bound" in describe_ground_truth(run)
    row = build_accuracy(run).rows[-1]
    assert (row["labels_name"], row["mark"]) == ("oracle (upper bound)", "upper bound")


@pytest.mark.parametrize("gain", [0.0124, -0.02])
def test_gain_above_the_controls_stands(run_folder, edit_json, gain):
    edit_json(run_folder / "multitask" / "metrics.json", set_control("rotation", gain))
    assert "does as well" not in describe_effect(load_run(run_folder, "demo"))


def test_gain_of_which_a_control_is_not_told_apart_is_said_with_the_difference(run_folder, edit_json):
    path = run_folder / "multitask" / "metrics.json"
    edit_json(path, set_control("within_class", 0.01))
    ends = {"lead_mean": 0.0025, "lead_low": -0.004, "lead_high": 0.009}
    edit_json(
        path, lambda multitask: [row.update(ends) for row in multitask["summary"] if row["labels"] == "within_class"]
    )
    run = load_run(run_folder, "demo")
    assert (
        "The within class control at the same weight is not told apart from it (+1.00; the discovered labels are ahead by "
        "+0.25, 95% interval \N{MINUS SIGN}0.40 to +0.90), so the gain may need no more than what these labels have."
    ) in describe_effect(run)
    assert build_tiles(run)[-1].note.endswith("a gain, not told apart from within class labels")


@pytest.mark.parametrize(("method", "is_said"), [("nddr", True), ("hard_sharing+dwa", False), ("hard_sharing", False)])
def test_method_without_controls_of_its_own_is_said_to_differ_by_its_network_too(
    run_folder, edit_json, method, is_said
):
    def change(multitask):
        multitask["chosen"]["method"] = method
        for row in multitask["summary"]:
            if row["labels"] == "discovered":
                row["method"] = method

    edit_json(run_folder / "multitask" / "metrics.json", change)
    text = describe_effect(load_run(run_folder, "demo"))
    assert ("No random labels were given to NDDR" in text) == is_said
    assert ("Random labels, given to hard sharing, at weight 0.2 changed it by" in text) == is_said


@pytest.mark.parametrize(("backbone", "is_said"), [("small_cnn", True), ("hrnet_w18_small_v2", False)])
def test_other_backbone_than_that_of_stl_is_said(run_folder, edit_json, backbone, is_said):
    config = load_config(None, [f"multitask.backbone={backbone}"])
    dump_config(config, run_folder / "multitask" / "config.yaml")

    def change(multitask):
        multitask["chosen"]["method"] = "mti"
        for row in multitask["summary"]:
            row["method"] = row["method"].replace("hard_sharing", "mti")

    edit_json(run_folder / "multitask" / "metrics.json", change)
    text = describe_effect(load_run(run_folder, "demo"))
    assert ("another backbone (hrnet_w18_small_v2) than STL's" in text) == is_said


def test_network_without_its_second_loss_is_named_by_its_weight(run_folder, edit_json):
    def change(multitask):
        multitask["chosen"]["weight"] = 0.0
        for row in multitask["summary"][2:4]:
            row.update(kind="baseline", weight=0.0)

    edit_json(run_folder / "multitask" / "metrics.json", change)
    run = load_run(run_folder, "demo")
    assert "the single-task network (hard sharing, weight 0) was chosen" in describe_effect(run)
    assert build_tiles(run)[-1].value == "hard sharing, weight 0 kept"
    shown = [(row["method_name"], row["labels_name"], row["mark"]) for row in build_methods(run).rows]
    assert shown[1:3] == [("hard sharing, weight 0", NONE, "chosen"), ("hard sharing", "discovered", "")]


def test_control_at_another_weight_takes_no_gain_away(run_folder, edit_json):
    path = run_folder / "multitask" / "metrics.json"
    edit_json(path, lambda multitask: [row.update(gain_mean=0.05) for row in multitask["summary"][8:10]])
    assert "does as well" not in describe_effect(load_run(run_folder, "demo"))


def test_no_gain_has_no_rival(run_folder, edit_json):
    def change(multitask):
        set_control("rotation", 0.05)(multitask)
        for row in multitask["summary"][2:4]:
            row.update(gain_low=-0.01)

    edit_json(run_folder / "multitask" / "metrics.json", change)
    text = describe_effect(load_run(run_folder, "demo"))
    assert "no gain shown" in text
    assert "does as well" not in text


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("discovered", "discovered"),
        ("within_class", "within class"),
        ("entangled", "entangled"),
        ("discovered@seed12", "discovered, seed 12"),
        ("discovered@seeds", "discovered, mean over its seeds"),
        ("discovered@kmeans++", "discovered by k-means++"),
        ("discovered@ward", "discovered by ward"),
    ],
)
def test_labels_are_named_in_words(labels, words):
    assert name_labels("variant", labels) == words


def test_gain_that_entangled_labels_share_is_not_owed_to_disentanglement(run_folder, edit_json):
    edit_json(run_folder / "multitask" / "metrics.json", set_control("entangled", 0.02))
    text = describe_effect(load_run(run_folder, "demo"))
    assert "The entangled control at the same weight does as well (+2.00), so clusters without disentanglement" in text


def test_discoveries_that_found_nothing_are_named(run_folder, edit_json):
    assert describe_missing(load_run(run_folder, "demo")) is None
    found = [("discovered@seed1", 3), ("discovered@seed2", None), ("discovered@kmeans", None)]
    variants = [{"labels": labels, "aux_classes": classes} for labels, classes in found]
    path = run_folder / "multitask" / "metrics.json"
    edit_json(path, lambda multitask: multitask["facts"].update(variants=variants))
    sentence = describe_missing(load_run(run_folder, "demo"))
    assert sentence.endswith("so they have no rows: discovered, seed 2; discovered by k-means.")
    edit_json(path, lambda multitask: multitask["facts"].update(variants=variants[:1]))
    assert describe_missing(load_run(run_folder, "demo")) is None


def test_other_discoveries_with_edited_labels_are_named(run_folder, edit_json):
    variants = [{"name": name, "labels": f"discovered@{name}", "aux_classes": 3} for name in ("seed1", "kmeans")]
    edit_json(run_folder / "multitask" / "metrics.json", lambda tree: tree["facts"].update(variants=variants))
    for name in ("seed1", "kmeans"):
        shutil.copytree(run_folder / "discover", run_folder / "variants" / name / "discover")
    assert describe_edited_variants(load_run(run_folder, "demo")) is None
    record = run_folder / "variants" / "seed1" / "discover" / "record.json"
    edit_json(record, lambda tree: tree.update(outputs={"labels.parquet": "another file's"}))
    sentence = "labels.parquet was edited after these repetitions of discovery: discovered, seed 1."
    assert describe_edited_variants(load_run(run_folder, "demo")) == sentence


def set_chosen(method, kind):
    """An edit of metrics.json: validation chose a method that was given no labels, with the gain of the fixture."""

    def change(multitask):
        multitask["chosen"].update(method=method, labels="none", weight=0.0)
        own = [{**row, "kind": kind, "method": method, "labels": "none", "weight": 0.0} for row in multitask["summary"]]
        multitask["summary"] += own[2:4]

    return change


def test_gain_of_a_method_without_the_discovered_labels_is_not_credited_to_them(run_folder, edit_json):
    edit_json(run_folder / "multitask" / "metrics.json", set_chosen("maxl", "method"))
    run = load_run(run_folder, "demo")
    text = describe_effect(run)
    assert "by mean validation accuracy, MAXL, which was given no discovered labels, was chosen. It changed" in text
    assert text.endswith("3 paired seeds): a gain. This difference is not the discovered task's.")
    assert "at weight 0" not in text
    assert build_tiles(run)[-1].note.endswith("a gain, without the discovered labels")


def test_chosen_longer_stl_uses_no_auxiliary_task(run_folder, edit_json):
    edit_json(run_folder / "multitask" / "metrics.json", set_chosen("stl_long", "baseline"))
    run = load_run(run_folder, "demo")
    text = describe_effect(run)
    assert "the single-task network (STL, longer) was chosen, so the auxiliary task is not used" in text
    assert "The best auxiliary setting on validation, hard sharing with the discovered labels at weight" in text
    assert build_tiles(run)[-1].value == "STL, longer kept"
    row = build_accuracy(run).rows[1]
    assert (row["method_name"], row["labels_name"], row["mark"]) == ("STL, longer", "\N{EN DASH}", "chosen")
