"""Which numbers of which runs fill the paper's cells, on runs whose best test number is another one."""

import functools
import shutil

import paper_runs
import pytest
from paper_runs import SUMMARY, find_cell, make_lines
from scipy import stats

from detaux.report.collect import load_run
from detaux.report.paper_cells import describe_test, fill_cells
from detaux.runtime.files import hash_file, write_json

SEEDS = {"mti": (0.96, 0.95, 0.97), "maxl": (0.90, 0.93, 0.91)}


@pytest.fixture
def make_run(run_folder):
    return functools.partial(paper_runs.make_run, run_folder)


def test_cell_has_the_setting_that_validation_ranks_first_and_not_the_best_on_test(make_run):
    cell = find_cell("table1", [make_run()], "MTL-HPS + Detaux")
    assert (cell["paper"], cell["paper_change"], cell["status"]) == (0.954, -0.002, "run")
    assert (cell["ours"], cell["ours_low"], cell["ours_high"], cell["seeds"]) == (0.85, 0.84, 0.86, 3)
    assert cell["ours_change"] == pytest.approx(0.05)
    assert cell["setting"] == "hard sharing with uncertainty weighting, weight 1"
    assert (cell["run"], cell["split"], cell["finished"]) == ("demo", "test", "2026-11-24T12:00:00Z")
    assert cell["commit"] == "5b1f" * 10


@pytest.mark.parametrize("row", ["NDDR + Detaux", "AuxiLearn"])
def test_cell_of_a_method_with_only_controls_or_another_mode_is_not_run(make_run, row):
    cell = find_cell("table1", [make_run()], row)
    assert (cell["status"], cell["ours"], cell["run"]) == ("not run", None, None)


def test_method_with_its_own_labels_and_stl_fill_their_cells(make_run):
    run = make_run()
    assert find_cell("table1", [run], "MAXL")["ours"] == 0.87
    stl = find_cell("table1", [run], "STL")
    assert (stl["ours"], stl["ours_change"], stl["setting"]) == (0.80, None, "STL")


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "cifar10"},
        {"classes": 2},  # the same pictures, grouped into two classes
        {"dataset": "faces", "classes": 6, "principal": "age"},
    ],
)
def test_run_of_another_task_fills_no_cell_of_the_data_set(make_run, changes):
    run = make_run(**changes)
    dataset = "faces" if changes.get("dataset") == "faces" else "svhn"
    for name in ("table1", "table2", "table3"):
        assert not [one for one in fill_cells(name, [run]) if one["dataset"] == dataset and one["status"] == "run"]


def test_clusters_of_each_algorithm_fill_their_own_row(make_run):
    faces = make_run("faces", 6, "expression")
    cells = {one["row"]: one for one in fill_cells("table2", [faces]) if one["dataset"] == "faces"}
    assert {row: cell["ours"] for row, cell in cells.items()} == {
        "STL": 0.80,
        "HDBSCAN": 0.99,  # that of plain hard sharing, which the other algorithms have too
        "KMeans": 0.83,
        "KMeans++": None,
        "MeanShift": None,
    }
    kmeans = make_run("faces", 6, "expression", discovery={"clusterer": "kmeans++"})
    assert find_cell("table2", [kmeans], "KMeans++", "faces")["ours"] == 0.99
    assert find_cell("table2", [kmeans], "HDBSCAN", "faces")["status"] == "not run"


ELSEWHERE = [{"source": "encoder", "subspaces": []}, {"source": "graph", "subspaces": []}, {"source": "mixture"}]


def choose_elsewhere(make_run, changes):
    """What changes a discovery so that its chosen candidate is not one that its clusterer found in a subspace."""
    first, *others = make_run().discovery["candidates"]
    return {"candidates": [{**first, **changes}, *others]}


@pytest.mark.parametrize("changes", [*ELSEWHERE, None])
def test_clusters_without_disentangling_fill_no_cell_of_detaux(make_run, changes):
    discovery = choose_elsewhere(make_run, changes) if changes else {"chosen": 4, "tasks": [4]}
    run = make_run(discovery=discovery)
    assert find_cell("table1", [run], "MTL-HPS + Detaux")["status"] == "not run"
    assert find_cell("table3", [run], "SVHN")["status"] == "not run"
    assert find_cell("table1", [run], "STL")["status"] == "run"


@pytest.mark.parametrize("kmeans", [*ELSEWHERE, {"chosen": 4}, {"clusterer": "meanshift"}])
def test_variant_that_chose_no_task_of_its_clusterer_fills_no_cell(make_run, kmeans):
    changes = choose_elsewhere(make_run, kmeans) if "source" in kmeans else kmeans
    run = make_run("faces", 6, "expression", kmeans=changes)
    assert find_cell("table2", [run], "KMeans", "faces")["status"] == "not run"
    assert find_cell("table2", [run], "HDBSCAN", "faces")["status"] == "run"


def test_variant_without_its_files_fills_no_cell(make_run, run_folder):
    make_run("faces", 6, "expression")
    shutil.rmtree(run_folder / "variants")
    assert find_cell("table2", [load_run(run_folder, "demo")], "KMeans", "faces")["status"] == "not run"


def test_variant_of_its_clusterer_fills_its_cell_beside_a_baseline(make_run):
    run = make_run("faces", 6, "expression", discovery={"chosen": 4, "tasks": [4]})
    assert find_cell("table2", [run], "KMeans", "faces")["ours"] == 0.83
    assert find_cell("table2", [run], "HDBSCAN", "faces")["status"] == "not run"


@pytest.mark.parametrize(
    ("folder", "edited"),
    [
        ("discover", ["MTL-HPS + Detaux", "MTI + Detaux", "HDBSCAN"]),
        ("variants/kmeans/discover", ["KMeans"]),
        ("nothing", []),
    ],
)
def test_cells_of_edited_labels_are_marked(make_run, run_folder, folder, edited):
    make_run("faces", 6, "expression")
    for name in ("discover", "variants/kmeans/discover"):
        path = run_folder / name / "labels.parquet"
        written = "another file's" if name == folder else hash_file(path)
        write_json(path.with_name("record.json"), {"outputs": {"labels.parquet": written}})
    cells = [cell for name in ("table1", "table2") for cell in fill_cells(name, [load_run(run_folder, "demo")])]
    assert [cell["row"] for cell in cells if "labels were edited" in (cell["differs"] or "")] == edited


@pytest.mark.parametrize(
    ("noise", "rule", "status"),
    [(0.15, "combination", "run"), (0.0, "combination", "not run"), (0.15, "random", "not run")],
)
def test_shapes_count_only_with_the_papers_noise_and_split(make_run, noise, rule, status):
    run = make_run("shapes3d", 8, "scale", manifest={"split": {"rule": rule}})
    for config in run.configs.values():
        config["data"]["noise"] = noise
    assert find_cell("table1", [run], "STL", "shapes3d")["status"] == status


def test_noise_that_the_paper_does_not_add_is_another_task(make_run):
    run = make_run()
    for config in run.configs.values():
        config["data"]["noise"] = 0.1
    assert find_cell("table1", [run], "STL")["status"] == "not run"


def test_another_split_rule_other_epochs_and_random_weights_are_said(make_run):
    images = "4,000 of 99,289 images; 270 of 2,700 training images labelled"
    assert find_cell("table1", [make_run()], "MTI + Detaux")["differs"] == images
    settings = {"multitask.epochs": 20, "multitask.mti.pretrained": None}
    run = make_run(manifest={"split": {"rule": "random"}}, settings=settings)
    end = "data: split=random (published)"
    epochs = f"{end}; multitask: epochs=20 (150)"
    assert find_cell("table1", [run], "STL")["differs"] == f"{images}; {epochs}"
    assert find_cell("table1", [run], "MTI + Detaux")["differs"] == f"{images}; MTI from random weights; {epochs}"
    assert find_cell("table3", [run], "SVHN")["differs"] == f"4,000 of 99,289 images; {end}"


def test_information_is_that_of_the_chosen_clusters(make_run):
    cells = [one for one in fill_cells("table3", [make_run()]) if one["dataset"] == "svhn"]
    assert [(one["column"], one["paper"], one["ours"]) for one in cells] == [
        ("NMI", 0.0033, 0.0042),
        ("AMI", 0.0030, 0.0013),
    ]


def test_fewer_images_and_labels_and_missing_test_images_are_said(make_run):
    lines = [line for line in SUMMARY if line["split"] == "validation"]
    run = make_run(multitask={"facts": {"train_images": 2700, "labelled_images": 270}})
    run.multitask["summary"] = lines
    cell = find_cell("table1", [run], "STL")
    assert cell["split"] == "validation"
    assert cell["differs"] == (
        "4,000 of 99,289 images; 270 of 2,700 training images labelled; validation split, because there are no test images"
    )


def test_upper_bound_is_said(make_run):
    pairs = {"rule": "one_factor", "uses_ground_truth": True}
    assert "upper bound" in find_cell("table1", [make_run(discovery={"pairs": pairs})], "STL")["differs"]


def test_run_whose_config_asks_for_the_table_comes_first(make_run):
    """The other run is given first and has the better number."""
    better, asking = make_run(), make_run()
    better.multitask["summary"] = make_lines("stl", "none", 0.0, 0.99, 0.99, "stl")
    for config in asking.configs.values():
        config["report"]["published"] = ["table1"]
    assert find_cell("table1", [better, asking], "STL")["ours"] == 0.80
    assert find_cell("table2", [better, asking], "STL", "faces")["status"] == "not run"


def test_interval_is_missing_for_one_seed(make_run):
    run = make_run()
    for line in run.multitask["summary"]:
        line.update(seeds=1, accuracy_low=None, accuracy_high=None)
    cell = find_cell("table1", [run], "MTI + Detaux")
    assert (cell["ours"], cell["ours_low"], cell["seeds"]) == (0.91, None, 1)


def make_rows():
    """Rows of seeds of MTI at two weights and of MAXL; only those of the weight that fills the cell may count."""
    settings = [("mti", "discovered", 0.2, SEEDS["mti"]), ("mti", "discovered", 1.0, (0.1, 0.2, 0.3))]
    settings.append(("maxl", "none", 0.0, SEEDS["maxl"]))
    return [
        {"method": method, "labels": labels, "weight": weight, "seed": seed, "split": split, "accuracy": value + shift}
        for method, labels, weight, values in settings
        for seed, value in enumerate(values)
        for split, shift in (("validation", 0.01 * seed), ("test", 0.0))
    ]


def test_t_test_is_scipys_over_the_seeds_of_both_rows(make_run):
    run = make_run(multitask={"rows": make_rows()})
    p = stats.ttest_ind(SEEDS["mti"], SEEDS["maxl"]).pvalue
    text = describe_test("svhn", [run])
    assert f"over 3 and 3 seeds: +4.67 points, p = {p:.3f}." in text
    assert text.endswith("The paper: +1.1 points over five seeds, p = 0.0004.")
    assert describe_test("cifar10", [run]) is None


def test_t_test_needs_two_seeds_of_both(make_run):
    rows = [row for row in make_rows() if row["method"] == "mti" or row["seed"] == 0]
    assert describe_test("svhn", [make_run(multitask={"rows": rows})]) is None
