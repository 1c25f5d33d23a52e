"""Fill the cells of the paper's tables with numbers of runs. Only a run of the same task fills a cell."""

from collections.abc import Sequence
from typing import Any

from scipy import stats

from detaux.config.variants import MARK
from detaux.report.collect import OtherDiscovery, Run
from detaux.report.effect import DISCOVERED, Summary, find_split, get_setting, is_stl, read_validation, select_rows
from detaux.report.paper_settings import DISCOVERY_STAGES, list_settings, load_paper, name_config, show_settings
from detaux.report.published import CELLS, DATASETS, TEST_DATASET, TEST_GAIN, TEST_P, TESTED, Cell, DataSet
from detaux.report.sentences import format_p, format_points, name_method
from detaux.report.table import Row

NOT_RUN = "not run"
PRETRAINED = ("hard_sharing", "nddr")  # methods on multitask.backbone that the paper pretrains on some data sets
FIELDS = (
    *("table", "row", "column", "dataset", "measure", "paper", "paper_change", "paper_is_quoted", "status"),
    *("ours", "ours_low", "ours_high", "seeds", "ours_change", "ours_change_low", "ours_change_high"),
    *("setting", "split", "run", "commit", "finished", "differs", "discovery_differs"),
)


def _is_same_task(run: Run, dataset: str) -> bool:
    """Return whether a run has the principal task of the paper's data set.

    Other classes of the same images, other noise, or images of another split rule that the task demands are another.
    """
    known, manifest = DATASETS[dataset], run.manifest
    return (
        manifest is not None
        and manifest.dataset == dataset
        and len(manifest.classes) == known.classes
        and known.principal in (None, manifest.principal)
        and (run.get_setting("data", "noise") or 0.0) == known.noise
        and known.split in (None, manifest.split.get("rule"))
    )


def _find_maker(run: Run, labels: str) -> Run | OtherDiscovery | None:
    """Return whose discovery made the labels of a row: the run's own or a variant; None if its files are missing."""
    name = labels.partition(MARK)[2]
    return run.variants.get(name) if name else run


def _fits(run: Run, cell: Cell, row: Summary) -> bool:
    """Return whether a row of metrics.json is of the cell's method, with labels as the cell has: no control fits."""
    # a cell of Table 2 compares labels, so each has the same search: no rule for the losses
    method = row["method"] if cell.table == "table2" else row["method"].partition("+")[0]
    if method != cell.method:
        return False
    if cell.clusterer is None:
        return bool(row["labels"] == "none")
    if row["labels"] not in (DISCOVERED, f"{DISCOVERED}{MARK}{cell.clusterer}"):
        return False
    maker = _find_maker(run, row["labels"])
    return maker is not None and maker.has_detaux_labels and maker.discovery.get("clusterer") == cell.clusterer


def find_row(run: Run, cell: Cell) -> Summary | None:
    """Return the row of the reported split that validation ranks first among those of the cell's method, or None."""
    if run.multitask is None:
        return None
    validation = read_validation(run.multitask)
    rows = [row for row in select_rows(run.multitask, find_split(run.multitask)) if _fits(run, cell, row)]
    return max(rows, key=lambda row: validation.get(get_setting(row), -1.0), default=None)


def _describe_setting(row: Summary) -> str:
    """Name the method and the weight of a row, to show which setting fills a cell."""
    name = name_method(row["method"])
    return name if row["labels"] == "none" else f"{name}, weight {row['weight']:g}"


def _list_data_differences(run: Run, known: DataSet) -> list[str]:
    """Say whether a run has fewer images than the paper."""
    assert run.manifest is not None
    images = sum(run.manifest.count(split) for split in ("train", "validation", "test"))
    return [f"{images:,} of {known.images:,} images"] if images < known.images else []


def _list_training_differences(run: Run, cell: Cell, labels: str) -> list[str]:
    """List what differs in the multi-task training of a cell's row: labels, pretraining, or the reported split."""
    assert run.multitask is not None
    found = []
    facts = run.multitask.get("facts") or {}
    labelled, train = facts.get("labelled_images"), facts.get("train_images")
    if labelled is not None and train is not None and labelled < train:
        found.append(f"{labelled:,} of {train:,} training images labelled")
    maker = None if labels == "none" else _find_maker(run, labels)
    if maker is not None and maker.has_edited_labels:
        found.append("labels were edited after discovery")
    if DATASETS[cell.dataset].is_pretrained and cell.method in PRETRAINED:
        found += [] if run.get_setting("multitask", "pretrained") else ["backbone from random weights"]
    if cell.method == "mti" and not (run.get_setting("multitask", "mti") or {}).get("pretrained"):
        found.append("MTI from random weights")
    if find_split(run.multitask) != "test":
        found.append("validation split, because there are no test images")
    return found


def _describe_differences(run: Run, cell: Cell, row: Summary | None) -> Row:
    """Say what the files of a run show to differ from the paper. `row` is the row that fills the cell, None if no accuracy.

    Settings of disentangling and discovery are counted in `differs`, because they are many and the same for all cells of
    a run. `discovery_differs` lists them.
    """
    found = _list_data_differences(run, DATASETS[cell.dataset])
    if row is not None:
        found += _list_training_differences(run, cell, row["labels"])
    if run.is_upper_bound:
        found.append("upper bound: pairs used ground truth")
    if load_paper(cell.dataset) is None:
        found.append(f"settings not compared, because {name_config(cell.dataset)} is not installed")
    has_labels = cell.clusterer is not None
    stages = ["shards"] if row is None else ["shards", "multitask"]
    found += show_settings(list_settings(run, cell.dataset, stages, "" if row is None else row["method"], has_labels))
    discovery = list_settings(run, cell.dataset, DISCOVERY_STAGES) if has_labels else []
    if discovery:
        found.append(f"{len(discovery)} setting{'s' if len(discovery) > 1 else ''} of disentangling and discovery")
    return {"differs": "; ".join(found), "discovery_differs": "; ".join(show_settings(discovery)) or None}


def _read_accuracy(run: Run, cell: Cell) -> Row | None:
    row = find_row(run, cell)
    if row is None:
        return None
    gains = (
        dict.fromkeys(("mean", "low", "high"))
        if is_stl(row)
        else {name: row.get(f"gain_{name}") for name in ("mean", "low", "high")}
    )
    return {
        "ours": row["accuracy_mean"],
        "ours_low": row.get("accuracy_low"),
        "ours_high": row.get("accuracy_high"),
        "seeds": row["seeds"],
        "ours_change": gains["mean"],
        "ours_change_low": gains["low"],
        "ours_change_high": gains["high"],
        "setting": _describe_setting(row),
        "split": row["split"],
        "source": row,
    }


def _read_information(run: Run, cell: Cell) -> Row | None:
    chosen = run.chosen
    if chosen is None or not run.has_detaux_labels or run.discovery.get("clusterer") != cell.clusterer:
        return None
    value = chosen["principal"].get(cell.measure)
    return None if value is None else {"ours": value, "split": "train"}


def _find_ours(runs: Sequence[Run], cell: Cell) -> Row | None:
    """Return what the first run that has the cell's number says of it, or None. No run is preferred for its number."""
    for run in runs:
        if not _is_same_task(run, cell.dataset):
            continue
        stage = "multitask" if cell.measure == "accuracy" else "discover"
        found = _read_accuracy(run, cell) if stage == "multitask" else _read_information(run, cell)
        if found is not None:
            record, source = run.records.get(stage, {}), found.pop("source", None)
            return {
                **found,
                "run": run.name,
                "commit": record.get("commit"),
                "finished": record.get("finished"),
                **_describe_differences(run, cell, source),
            }
    return None


def fill_cells(name: str, runs: Sequence[Run]) -> list[Row]:
    """Return a row for each cell of one of the paper's tables, with the number of a run beside it or `not run`.

    A run whose config asks for this table comes first, then the order in which the runs were given.
    """
    ordered = sorted(runs, key=lambda run: name not in (run.get_setting("report", "published") or []))
    rows = []
    for cell in CELLS:
        if cell.table != name:
            continue
        ours = _find_ours(ordered, cell)
        rows.append(
            {
                **dict.fromkeys(FIELDS),
                "table": name,
                "row": cell.row,
                "column": cell.column,
                "dataset": cell.dataset,
                "measure": cell.measure,
                "paper": cell.value,
                "paper_change": cell.change,
                "paper_is_quoted": cell.is_quoted,
                "status": "run" if ours else NOT_RUN,
                **(ours or {}),
            }
        )
    return rows


def list_misprints(rows: list[Row]) -> list[tuple[Row, float]]:
    """List the cells whose printed change is not the difference of the paper's own numbers, with that difference."""
    stl = {row["dataset"]: row["paper"] for row in rows if row["row"] == "STL"}
    changes = [(row, row["paper"] - stl[row["dataset"]]) for row in rows if row["paper_change"] is not None]
    return [(row, change) for row, change in changes if abs(change - row["paper_change"]) > 5e-4]


def _list_seeds(run: Run, method: str) -> list[float]:
    """Return the accuracy of each seed on the reported split, of the row that fills the method's cell."""
    cells = (cell for cell in CELLS if cell.method == method and cell.table == "table1")
    found = find_row(run, next(cells))
    rows = (run.multitask or {}).get("rows", [])
    if found is None:
        return []
    return [
        row["accuracy"] for row in rows if row["split"] == found["split"] and get_setting(row) == get_setting(found)
    ]


def describe_test(dataset: str, runs: Sequence[Run]) -> str | None:
    """Compare MTI with MAXL by the two-sample t-test of the paper's appendix.

    Return None if no run of the data set has both rows with at least two seeds.
    """
    for run in runs:
        if not _is_same_task(run, dataset):
            continue
        first, second = (_list_seeds(run, method) for method in TESTED)
        if min(len(first), len(second)) < 2:
            continue
        result: Any = stats.ttest_ind(first, second)
        gain = sum(first) / len(first) - sum(second) / len(second)
        p = "no p, because all seeds agree" if result.pvalue != result.pvalue else format_p(float(result.pvalue))
        text = (
            f"{DATASETS[dataset].title}, MTI + Detaux against MAXL, two-sample t-test over {len(first)} and {len(second)} "
            f"seeds: {format_points(100 * gain)} points, {p}."
        )
        if dataset != TEST_DATASET:
            return text
        return f"{text} The paper: {format_points(100 * TEST_GAIN, 1)} points over five seeds, p = {TEST_P}."
    return None
