"""What the page, its tables and its figures say, against what the run's files hold."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pages import read_table, read_tags, read_text
from PIL import Image

from detaux.config.schema import ReportConfig
from detaux.errors import UserError
from detaux.report.build import build_report

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} \"' & | $x$"


def test_accuracy_table_matches_metrics_json(found_page):
    path = found_page.parents[1] / "multitask" / "metrics.json"
    summary = json.loads(path.read_text(encoding="utf-8"))["summary"][:-2]  # less what repeats the choice
    titles, rows = read_table(found_page, "accuracy")
    validation, accuracy = titles.index("Validation accuracy %"), titles.index("Test accuracy %")
    gain = titles.index("Gain over STL, points")
    for split, column in (("validation", validation), ("test", accuracy)):
        expected = [round(100 * row["accuracy_mean"], 2) for row in summary if row["split"] == split]
        assert [float(row[column]) for row in rows] == expected
    test = [row for row in summary if row["split"] == "test"]
    for row, cells in zip(test, rows, strict=True):
        low, high = map(float, cells[accuracy + 1].split(" to "))
        assert (low, high) == (round(100 * row["accuracy_low"], 2), round(100 * row["accuracy_high"], 2))
    numbers = [float(cells[gain].replace("\N{MINUS SIGN}", "-")) for cells in rows[1:]]
    assert numbers == [round(100 * row["gain_mean"], 2) for row in test[1:]]


def test_accuracy_csv_keeps_unrounded_numbers(found_page):
    with (found_page.parent / "tables" / "accuracy.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["accuracy_mean"]) for row in rows] == [0.8312, 0.8437, 0.8361, 0.8289, 0.8174]
    assert rows[1]["mark"] == "chosen"
    assert rows[3]["mark"] == "control"


@pytest.mark.parametrize("name", ["candidates", "relations", "variance", "accuracy"])
def test_markdown_table_has_as_many_cells_in_every_line(found_page, name):
    lines = (found_page.parent / "tables" / f"{name}.md").read_text(encoding="utf-8").splitlines()[2:]
    assert len(lines) >= 6
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_candidates_table_shows_scores_and_marks_one_as_chosen(found_page):
    titles, rows = read_table(found_page, "candidates")
    assert [row[0].split()[-1] for row in rows].count("chosen") == 1
    assert rows[0][0] == "subspaces 2 + 4 chosen"
    assert [float(row[titles.index("Separation (rule)")]) for row in rows[:2]] == [1.31, 0.92]
    assert rows[2][titles.index("Why not chosen")] == "42.0% outliers, more than discover.max_outlier_fraction"
    assert [row[0] for row in rows[4:]] == [
        "baseline: latents",
        "baseline: latents within class",
        "principal subspace 0",
    ]


def test_page_embeds_every_picture_and_links_nothing_outside(found_page):
    for tag, attributes in read_tags(found_page):
        assert tag not in ("script", "iframe", "object", "embed")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#"))
    assert found_page.stat().st_size < 3_000_000


def test_page_has_one_heading_and_unique_ids(comparison_page):
    tags = read_tags(comparison_page)
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in tags].count("h1") == 1
    references = [value[1:] for _, attributes in tags if (value := attributes.get("href") or "").startswith("#")]
    assert set(references) <= set(ids)


def test_figures_are_written_beside_the_page(found_page):
    figures = found_page.parent / "figures"
    names = {
        "accuracy",
        "gain",
        "cost",
        "epochs",
        "losses",
        "betas",
        "oracle_share",
        "pairs",
        "pca_subspace",
        "pca_encoder",
        "traversal",
    }
    assert names | {f"cluster-{number}" for number in range(5)} == {path.stem for path in figures.iterdir()}
    for path in figures.iterdir():
        with Image.open(path) as image:
            assert image.convert("RGB").getextrema() != ((255, 255),) * 3


def test_headline_states_gain_with_interval_and_control(found_page):
    text = read_text(found_page)
    assert "Detaux found a hidden task: 4 clusters among 2,700 training images, in subspaces 2 and 4." in text
    assert "+1.25 points over STL (95% interval +0.47 to +2.03, 3 paired seeds): a gain." in text
    assert "Random labels at weight 0.2 changed it by \N{MINUS SIGN}0.23" in text
    assert "No ground truth beyond the principal label was used in training or choice (pair rule: mined)" in text
    assert "upper bound" not in text.lower()


@pytest.mark.parametrize(
    ("gain", "verdict"), [((0.01, -0.002, 0.022), "no gain shown"), ((-0.02, -0.03, -0.01), "a loss")]
)
@pytest.mark.usefixtures("unrendered")
def test_headline_verdict_follows_the_interval(run_folder, edit_json, gain, verdict):
    names = ("gain_mean", "gain_low", "gain_high")

    def change(multitask):
        for row in multitask["summary"][2:4]:
            row.update(zip(names, gain, strict=True))

    edit_json(run_folder / "multitask" / "metrics.json", change)
    text = read_text(build_report([run_folder], run_folder / "report", ReportConfig()))
    assert f"paired seeds): {verdict}." in text


@pytest.mark.usefixtures("unrendered")
def test_headline_says_so_where_validation_chose_stl(run_folder, edit_json):
    chosen = {"method": "stl", "labels": "none", "weight": 0.0, "by": "mean validation accuracy"}

    def change(multitask):
        multitask["chosen"] = chosen
        for row in multitask["summary"][-2:]:
            row.update(weight=0.0, accuracy_mean=0.99, gain_mean=0.0, gain_low=0.0, gain_high=0.0)

    edit_json(run_folder / "multitask" / "metrics.json", change)
    page = build_report([run_folder], run_folder / "report", ReportConfig())
    text = read_text(page)
    assert "by mean validation accuracy the single-task network (STL) was chosen" in text
    assert (
        "best auxiliary setting on validation, hard sharing with the discovered labels at weight 0.2, changed" in text
    )
    assert read_table(page, "accuracy")[1][0][0] == "STL chosen"


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [(1, "one seed gives no interval"), (5, "the same in all 5 paired seeds, which gives no interval")],
)
@pytest.mark.usefixtures("unrendered")
def test_headline_without_an_interval_claims_no_gain(run_folder, edit_json, seeds, reason):
    def change(multitask):
        for row in multitask["summary"]:
            row.update(seeds=seeds, gain_low=None, gain_high=None, accuracy_low=None, accuracy_high=None)

    edit_json(run_folder / "multitask" / "metrics.json", change)
    text = read_text(build_report([run_folder], run_folder / "report", ReportConfig()))
    assert f"+1.25 points over STL ({reason}): no gain shown." in text


@pytest.mark.parametrize(
    ("p", "reading"), [(1e-9, "p < 0.001: independence is rejected"), (0.4, "p = 0.400: independence is not rejected")]
)
@pytest.mark.usefixtures("unrendered")
def test_headline_reads_small_p_as_rejection(run_folder, edit_json, p, reading):
    path = run_folder / "discover" / "discovery.json"
    edit_json(path, lambda discovery: discovery["candidates"][0]["principal"].update(chi2_p=p))
    assert reading in read_text(build_report([run_folder], run_folder / "report", ReportConfig()))


def test_page_without_a_task_gives_scores_and_advice(nothing_page):
    text = read_text(nothing_page)
    assert "No hidden task was found: none of 4 candidates in 2,700 training images" in text
    assert "What to try" in text
    assert "lower discover.min_cluster_fraction" in text
    assert "multitask stage has not run" in text
    _, rows = read_table(nothing_page, "candidates")
    assert len(rows) == 7
    assert not any(row[0].endswith("chosen") for row in rows)


@pytest.mark.usefixtures("unrendered")
def test_page_without_a_task_ignores_an_older_multitask(run_folder, edit_json):
    edit_json(run_folder / "discover" / "discovery.json", lambda discovery: discovery.update(chosen=-1, tasks=[]))
    text = read_text(build_report([run_folder], run_folder / "report", ReportConfig()))
    assert "not been measured" in text
    assert "+1.25" not in text


@pytest.mark.usefixtures("unrendered")
def test_chosen_baseline_is_named_as_one(run_folder, edit_json):
    edit_json(run_folder / "discover" / "discovery.json", lambda discovery: discovery.update(chosen=4, tasks=[4]))
    page = build_report([run_folder], run_folder / "report", ReportConfig())
    assert "7 clusters among 2,700 training images, by a plain baseline" in read_text(page)
    assert "The chosen clusters (baseline: latents)" in read_text(page)
    assert [row[0] for row in read_table(page, "candidates")[1] if row[0].endswith("chosen")] == [
        "baseline: latents chosen"
    ]


@pytest.mark.usefixtures("unrendered")
def test_page_without_multitask_keeps_the_rest(run_folder):
    shutil.rmtree(run_folder / "multitask")
    page = build_report([run_folder], run_folder / "report", ReportConfig())
    text = read_text(page)
    assert "The effect on the principal task has not been measured" in text
    assert read_table(page, "candidates")[1][0][0] == "subspaces 2 + 4 chosen"
    assert not (page.parent / "tables" / "accuracy.csv").exists()


@pytest.mark.usefixtures("unrendered")
def test_report_without_a_task_takes_away_the_older_numbers(run_folder, edit_json):
    report = run_folder / "report"
    build_report([run_folder], report, ReportConfig())
    (report / "tables" / "notes.md").touch()
    edit_json(run_folder / "discover" / "discovery.json", lambda discovery: discovery.update(chosen=-1, tasks=[]))
    build_report([run_folder], report, ReportConfig())
    names = {path.name for folder in ("tables", "figures") for path in (report / folder).iterdir()}
    assert {"candidates.csv", "notes.md", "losses.png"} <= names
    assert not names & {"accuracy.csv", "accuracy.md", "accuracy.png", "gain.png", "pca_subspace.png", "cluster-0.png"}


@pytest.mark.usefixtures("unrendered")
def test_page_without_factors_or_manifest_is_built(run_folder, edit_json):
    (run_folder / "disentangle" / "scores.json").write_text("{}", encoding="utf-8")
    (run_folder / "shards" / "manifest.json").unlink()

    def forget(discovery):
        for one in [*discovery["candidates"], *discovery["baselines"], discovery["principal_subspace"]]:
            one["factors"] = {}

    edit_json(run_folder / "discover" / "discovery.json", forget)
    text = read_text(build_report([run_folder], run_folder / "report", ReportConfig()))
    assert "V-measure" not in text.split("How to read the columns")[0]


def test_upper_bound_is_marked_wherever_numbers_stand(comparison_page):
    text = read_text(comparison_page)
    assert "Upper bound: the training pairs (rule one_factor) were made with ground-truth factors" in text
    for caption in ("Every candidate and its scores", "Accuracy on the test split; gains are paired by seed"):
        assert f"{caption} (upper bound: pairs used ground truth)" in text
    _, rows = read_table(comparison_page, "comparison")
    assert [row[0] for row in rows] == ["mined", "bound upper bound"]


def test_comparison_has_a_row_per_run_and_its_own_files(comparison_page):
    titles, rows = read_table(comparison_page, "comparison")
    first = dict(zip(titles, rows[0], strict=True))
    assert first["Chosen"] == "subspaces 2 + 4"
    assert float(first["NMI with principal label"]) == pytest.approx(0.0042, abs=5e-4)
    assert (float(first["Best V-measure"]), first["Hidden factor matched"]) == (0.997, "floor hue")
    assert first["Gain over STL, points (95% interval)"] == "+1.25 (+0.47 to +2.03): a gain"
    tables = {path.name for path in (comparison_page.parent / "tables").iterdir()}
    assert {"comparison.csv", "run-1-accuracy.csv", "run-2-accuracy.md"} <= tables


def test_hostile_names_are_shown_as_text(run_folder, edit_json):
    def poison(manifest):
        manifest.update(dataset=HOSTILE, classes=[HOSTILE], principal=HOSTILE, factors={HOSTILE: 2})
        manifest["quarantined"] = [{"file": HOSTILE, "reason": HOSTILE}]

    def poison_discovery(discovery):
        discovery["rule"] = dict.fromkeys(("name", "score", "better", "meaning"), HOSTILE)
        for candidate in discovery["candidates"]:
            candidate.update(fault={"code": HOSTILE, "text": HOSTILE}, factors={HOSTILE: {"v_measure": 0.5}})

    edit_json(run_folder / "shards" / "manifest.json", poison)
    edit_json(run_folder / "discover" / "discovery.json", poison_discovery)
    edit_json(
        run_folder / "multitask" / "metrics.json",
        lambda multitask: [row.update(labels=HOSTILE) for row in multitask["summary"][2:6]],
    )
    edit_json(run_folder / "multitask" / "record.json", lambda record: record.update(commit=HOSTILE))
    hostile_run = run_folder.rename(run_folder.with_name("a\"b<i>'&"))
    page = build_report([hostile_run], hostile_run / "report", ReportConfig(title=HOSTILE))
    tags = read_tags(page)
    assert not [tag for tag, _ in tags if tag in ("script", "i")]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in tags if tag == "img")
    text = read_text(page)
    assert text.count("<script>alert(1)</script>") >= 12
    assert "{{ 7 * 7 }}" in text
    markdown = (page.parent / "tables" / "candidates.md").read_text(encoding="utf-8")
    assert "<script" not in markdown


@pytest.mark.usefixtures("unrendered")
def test_examples_per_cluster_follow_the_config(run_folder):
    def width_of_first_card(examples):
        build_report([run_folder], run_folder / "report", ReportConfig(examples=examples))
        with Image.open(run_folder / "report" / "figures" / "cluster-0.png") as image:
            return image.width

    one, two = width_of_first_card(1), width_of_first_card(2)
    assert one == 32
    assert two == 2 * 32 + 2


@pytest.mark.usefixtures("unrendered")
def test_names_of_the_example_images_are_shown(run_folder):
    path = run_folder / "discover" / "gallery.npz"
    with np.load(path) as arrays:
        gallery = dict(arrays)
    gallery["example_names"] = np.array([f"写真/{place:03d}.png" for place in range(len(gallery["example_labels"]))])
    np.savez(path, **gallery)
    text = read_text(build_report([run_folder], run_folder / "report", ReportConfig(examples=2)))
    for label in np.unique(gallery["example_labels"]):
        names = gallery["example_names"][gallery["example_labels"] == label]
        assert ", ".join(names[:2]) in text
        assert names[2] not in text


def test_large_photographs_still_make_a_small_page(run_folder):
    path = run_folder / "discover" / "gallery.npz"
    random = np.random.default_rng(0)
    with np.load(path) as arrays:
        gallery = dict(arrays)
    gallery["examples"] = random.integers(0, 256, (50, 128, 128, 3), np.uint8)
    gallery["traversal"] = random.integers(0, 256, (5, 9, 128, 128, 3), np.uint8)
    np.savez(path, **gallery)
    page = build_report([run_folder], run_folder / "report", ReportConfig())
    assert page.stat().st_size < 3_000_000


@pytest.mark.usefixtures("unrendered")
def test_grey_pictures_are_shown(run_folder):
    path = run_folder / "discover" / "gallery.npz"
    with np.load(path) as arrays:
        gallery = dict(arrays)
    for name in ("examples", "traversal"):
        gallery[name] = gallery[name][..., :1]
    np.savez(path, **gallery)
    page = build_report([run_folder], run_folder / "report", ReportConfig())
    assert len(re.findall(r"<img ", page.read_text(encoding="utf-8"))) == 52


def test_same_run_gives_the_same_page_wherever_it_lies(found_page, run_folder):
    """The second page is made by the command, in a process of its own, which starts fast: it imports no torch."""
    code = f"""
import sys
from detaux.cli import run_command
assert run_command(["report", {str(run_folder)!r}, "--out", {str(run_folder / "again")!r}]) == 0
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (run_folder / "again" / found_page.name).read_bytes() == found_page.read_bytes()


def test_run_without_discovery_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"discovery\.json does not exist"):
        build_report([tmp_path], tmp_path / "report", ReportConfig())


def test_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least one run"):
        build_report([], tmp_path, ReportConfig())
