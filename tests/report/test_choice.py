"""Why the chosen clustering was chosen, in words and in a table, against the run's discovery.json."""

import pytest

from detaux.config.choice_rules import CHOICE_RULES
from detaux.report.choice import build_choice, build_factors, describe_choice, describe_live, describe_rejected
from detaux.report.collect import load_run
from detaux.report.tables import build_relations


def change(run_folder, edit_json, **values):
    edit_json(run_folder / "discover" / "discovery.json", lambda discovery: discovery.update(values))
    return load_run(run_folder, "demo")


def test_choice_is_told_in_one_paragraph(run_folder):
    assert describe_choice(load_run(run_folder, "demo")) == (
        "Chosen: subspaces 2 + 4, separation 1.310; next: subspace 1, 0.920. Not eligible: 2 of 4 candidates "
        "(1 with too many outliers, 1 with one cluster). Largest dependence on the principal label: subspaces 2 + 4, NMI 0.004. "
        "4 of 5 free subspaces are live."
    )


def test_related_candidates_are_counted_and_named(run_folder, edit_json):
    path = run_folder / "discover" / "discovery.json"
    edit_json(path, lambda discovery: discovery["candidates"][0].update(relation="related"))
    run = load_run(run_folder, "demo")
    text = "1 of 4 candidates is related to it: a classifier may lean on such a factor."
    assert text in describe_choice(run)
    assert {row["clustering"]: row["relation"] for row in build_relations(run).rows}["subspaces 2 + 4"] == "related"
    assert [row["relation"] for row in build_choice(run).rows] == ["related", "unrelated"]
    edit_json(path, lambda discovery: discovery["candidates"][0].pop("relation"))  # a run of an older release
    assert text not in describe_choice(load_run(run_folder, "demo"))


def test_choice_table_holds_the_chosen_one_and_the_next(run_folder):
    table = build_choice(load_run(run_folder, "demo"))
    assert [column.title for column in table.columns][1:4] == ["Separation (rule)", "Validity", "Stability"]
    assert [(row["clustering"], row["mark"], row["separation"], row["validity"]) for row in table.rows] == [
        ("subspaces 2 + 4", "chosen", 1.31, 0.655),
        ("subspace 1", "next", 0.92, 0.46),
    ]


def test_lone_choice_has_no_next(run_folder, edit_json):
    run = change(run_folder, edit_json, ranking=[0])
    assert "separation 1.310; nothing else was eligible." in describe_choice(run)
    assert len(build_choice(run).rows) == 1


def test_rule_of_least_noise_names_the_share_of_noise(run_folder, edit_json):
    run = change(run_folder, edit_json, rule=CHOICE_RULES["least_noise"].to_row())
    assert "Chosen: subspaces 2 + 4, noise share 0.031; next: subspace 1, 0.031." in describe_choice(run)
    assert "Noise % (rule)" in [column.title for column in build_choice(run).columns]


def test_nothing_found_says_what_spoke_against_all(run_folder, edit_json):
    run = change(run_folder, edit_json, chosen=-1, tasks=[], ranking=[])
    assert describe_choice(run).startswith("Not eligible: 2 of 4 candidates (")
    assert build_choice(run) is None
    assert build_factors(run) is None


@pytest.mark.parametrize(
    ("live", "advice"), [(5, "are live."), (3, "are live."), (2, "lower model.subspaces"), (1, "is live: fewer")]
)
def test_live_subspaces_are_counted_with_advice(live, advice, run_folder, edit_json):
    text = describe_live(change(run_folder, edit_json, live_subspaces=live))
    assert text.startswith(f"{live} of 5 free subspaces")
    assert advice in text


def test_more_subspaces_are_advised_where_all_live_and_none_joins_another(run_folder, edit_json):
    run = change(run_folder, edit_json, live_subspaces=5)
    for one in run.discovery["candidates"]:
        one["subspaces"] = one["subspaces"][:1]
    assert "raise model.subspaces" in describe_live(run)


def test_faults_are_counted_by_their_codes(run_folder):
    run = load_run(run_folder, "demo")
    for one, code in zip(run.discovery["candidates"], ("dead", "dead", "with_too_many_outliers", "dead"), strict=True):
        one["fault"] = {"code": code, "text": f"{code} by some number"}
    assert describe_rejected(run) == "Not eligible: 4 of 4 candidates (3 dead, 1 with too many outliers)."


def test_factors_of_the_chosen_clusters_are_scored(run_folder):
    rows = build_factors(load_run(run_folder, "demo")).rows
    assert rows[0] == {
        "factor": "floor hue",
        **dict.fromkeys(("homogeneity", "completeness", "v_measure", "ami"), 0.997),
    }
