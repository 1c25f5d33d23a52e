"""Train every method that takes labels on the discovered labels and on every control: do the discovered ones add anything?

    python benchmarks/controls.py [--sets digits fashion-500 ...] [--methods hard_sharing nddr ...]

A set is a config with the number of labels changed. Discovery runs once for each set, under a seed on which nothing was
tuned. Then each method is one run of its own with single-task learning beside it. A finished part is kept in
benchmarks/data/controls/, so the command can be stopped and repeated. The tables of docs/results.md are written from
these files. `--data FOLDER --out FOLDER multitask.seeds=1` tries a part without touching them.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from study import call, write_table

from detaux.multitask.statistics import adjust_holm, summarize

DATA = Path(__file__).with_name("data") / "controls"
SEED = 20  # of discovery, and the first of the training seeds; the presets were tuned on seeds 0 to 4
# set -> (title, config, keys). Learning rate and augmentation are those that benchmarks/tune_stl.py ranked first for
# single-task learning. 1,020 images of Fashion-MNIST are for validation, as somebody with few labels would keep few.
# Its trials have one weight, and fewer epochs where there are more labels, to fit into hours
SETS: dict[str, tuple[str, str, list[str]]] = {
    "digits": (
        "Digits, odd or even, 121 labels",
        "configs/digits.yaml",
        ["multitask.lr=0.003", "multitask.crop=1"],
    ),
    **{
        f"fashion-{labels}": (
            f"Fashion-MNIST, four groups, {labels:,} labels",
            "configs/fashion_mnist.yaml",
            [
                *("data.validation_fraction=0.017", f"data.labelled_fraction={labels / 58980:.6f}"),
                *(f"multitask.epochs={epochs}", "multitask.weights=[1]"),
                *("multitask.lr=0.001", "multitask.crop=2"),  # of 500 labels, on seeds 17 to 19
            ],
        )
        for labels, epochs in ((500, 20), (2000, 10), (10000, 4))
    },
}
ORACLES = {"digits": "digit"}  # the factor of the other sets is the class
SEEDS = {"hard_sharing": 5, "nddr": 3, "mti": 3, "auxilearn_combine": 3}
# some trials here are too short for the preset's 30 steps of the network for each step of the loss
METHOD_KEYS = {
    "auxilearn_combine": ["multitask.auxilearn.every=5"],
    # MTI-Net needs an HRNet, so STL has the same one. A trial takes minutes, so there is one weight
    "mti": [
        *("multitask.backbone=hrnet_w18_small_v2", "multitask.mti.backbone=hrnet_w18_small_v2"),
        "multitask.weights=[1]",
    ],
}
CONTROLS = ("random", "permuted", "within_class", "rotation", "entangled", "correlated", "constant", "oracle")
KEPT = ("rows", "summary", "chosen", "facts")


def run_discovery(name: str, root: Path, keys: list[str]) -> Path:
    """Run the stages before multitask, and the discovery of the control `entangled`. Return the run's folder."""
    _, config, own = SETS[name]
    folder = root / name / "discovery"
    quick = ["multitask.methods=[stl]", "multitask.controls=[entangled]", "multitask.seeds=1", "multitask.epochs=1"]
    call("run", config, f"run.dir={folder}", f"run.seed={SEED}", *own, *quick, "multitask.weights=[1]", *keys)
    return folder


def run_part(name: str, method: str, root: Path, keys: list[str]) -> Path:
    """Train one method on one set, on the discovery that is there. Return the stage's folder."""
    _, config, own = SETS[name]
    base, folder = run_discovery(name, root, keys), root / name / method
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("disentangle", "discover", "variants"):
        if (base / part).is_dir() and not (folder / part).exists():
            shutil.copytree(base / part, folder / part, copy_function=os.link)
    call(
        "run",
        config,
        *(f"run.dir={folder}", f"run.seed={SEED}", f"data.shards={base / 'shards'}"),
        *own,
        *METHOD_KEYS.get(method, []),
        *(f"multitask.methods=[stl,{method}]", f"multitask.control_methods=[{method}]"),
        f"multitask.controls=[{','.join(CONTROLS)}]",
        *(f"multitask.oracle={ORACLES.get(name, 'class')}", f"multitask.seeds={SEEDS[method]}"),
        *keys,
    )
    return folder / "multitask"


def keep(stage: Path, path: Path) -> None:
    """Write the rows of a finished part and what made them to the data of the repository."""
    metrics, record = (json.loads((stage / file).read_text()) for file in ("metrics.json", "record.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"commit": record["commit"], "seconds": record["seconds"], **{key: metrics[key] for key in KEPT}}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def find_line(summary: list[dict[str, Any]], method: str, labels: str, weight: float) -> dict[str, Any] | None:
    """Return the line on the test split of a setting, or None if it was not trained."""
    setting = (method, labels, weight, "test")
    lines = (line for line in summary if (line["method"], line["labels"], line["weight"], line["split"]) == setting)
    return next(lines, None)


def find_weight(summary: list[dict[str, Any]], method: str) -> float:
    """Return the weight of the discovered labels that validation ranks first. Controls are shown at the same weight."""
    lines = [line for line in summary if (line["method"], line["labels"]) == (method, "discovered")]
    ranked = [line for line in lines if line["split"] == "validation"]
    return float(max(ranked, key=lambda line: line["accuracy_mean"])["weight"])


def describe_difference(line: dict[str, Any] | None, kind: str) -> str:
    """Return a cell: a paired difference in points with its interval. `kind` is gain (over STL) or lead."""
    if line is None or line[f"{kind}_mean"] is None:
        return "-"
    points = [None if line[f"{kind}_{end}"] is None else 100 * line[f"{kind}_{end}"] for end in ("mean", "low", "high")]
    mean, low, high = (None if value is None else f"{round(value, 2) + 0.0:+.2f}" for value in points)
    return f"{mean}" if low is None else f"{mean} ({low} to {high})"


def make_table(name: str, data: Path) -> list[str]:
    """Return the lines of a set's two tables, from the kept parts: a column for each method, a row for each labels."""
    paths = {method: data / name / f"{method}.json" for method in SEEDS}
    parts = {method: json.loads(path.read_text()) for method, path in paths.items() if path.is_file()}
    if not parts:
        return []
    summaries = {method: summarize(part["rows"]) for method, part in parts.items()}
    weights = {method: find_weight(summary, method) for method, summary in summaries.items()}
    labels = dict.fromkeys(
        line["labels"] for summary in summaries.values() for line in summary if line["kind"] != "stl"
    )
    head = ["| labels | " + " | ".join(parts) + " |", "| --- " * (len(parts) + 1) + "|"]

    def make_rows(kind: str) -> list[str]:
        rows = []
        for one in labels:
            found = [find_line(summary, method, one, weights[method]) for method, summary in summaries.items()]
            cells = [describe_difference(line, kind) for line in found]
            rows += [f"| {one} | {' | '.join(cells)} |"] if set(cells) != {"-"} else []
        return rows

    lines = [f"**{SETS[name][0]}**: points gained over STL", "", *head]
    baselines = [find_line(summary, "stl", "none", 0.0) for summary in summaries.values()]
    cells = [f"{100 * line['accuracy_mean']:.2f}, {line['seeds']} seeds" for line in baselines if line]
    lines.append(f"| STL, accuracy in % | {' | '.join(cells)} |")
    lines.append(f"| weight of the rows below | {' | '.join(f'{weight:g}' for weight in weights.values())} |")
    lines += [
        *make_rows("gain"),
        "",
        f"**{SETS[name][0]}**: points that the discovered labels gain more than",
        "",
        *head,
    ]
    commits = ", ".join(sorted({part["commit"][:10] for part in parts.values()}))
    hours = sum(part["seconds"] for part in parts.values()) / 3600
    return [*lines, *make_rows("lead"), "", f"Commit {commits}; {hours:.1f} hours.", ""]


def find_selected(part: dict[str, Any]) -> dict[str, Any]:
    """Return the line on the test split of the setting that validation chose, which may be STL."""
    return next(line for line in part["summary"] if (line["method"], line["split"]) == ("selected", "test"))


def make_harm_table(data: Path) -> list[str]:
    """Return the lines of a table of what validation selected in each part: does any model harm, compared with STL?

    The p-values are adjusted by Holm over all parts. A part harms if its gain is negative and its p below .05.
    """
    paths = [(name, method, data / name / f"{method}.json") for name in SETS for method in SEEDS]
    parts = [(name, method, json.loads(path.read_text())) for name, method, path in paths if path.is_file()]
    if not parts:
        return []
    selected = [find_selected(part) for _, _, part in parts]
    lines = ["**What validation selected, against STL**", "", "| set | method | selected | gain | p, Holm | harms |"]
    lines.append("| --- " * 6 + "|")
    for (name, method, part), line, p in zip(
        parts, selected, adjust_holm([x["gain_p"] for x in selected]), strict=True
    ):
        chosen = part["chosen"]
        setting = "STL" if chosen["method"] == "stl" else f"{chosen['labels']}, weight {chosen['weight']:g}"
        harms = "yes" if line["gain_mean"] < 0 and p is not None and p < 0.05 else "not shown"
        gain = describe_difference(line, "gain")
        lines.append(
            f"| {SETS[name][0]} | {method} | {setting} | {gain} | {'-' if p is None else f'{p:.3f}'} | {harms} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=list(SEEDS), default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/controls"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--table", action="store_true", help="write the tables of the kept parts and train nothing")
    parser.add_argument("keys", nargs="*", help="key=value for every run")
    arguments = parser.parse_intermixed_args()
    for name in [] if arguments.table else arguments.sets:
        for method in arguments.methods:
            path = arguments.data / name / f"{method}.json"
            if not path.is_file():
                started = time.monotonic()
                keep(run_part(name, method, arguments.out, arguments.keys), path)
                print(f"{name}, {method}: {time.monotonic() - started:.0f} s", flush=True)
    if arguments.data == DATA:
        tables = [line for name in SETS for line in make_table(name, DATA)]
        write_table("controls", [*tables, *make_harm_table(DATA)])


if __name__ == "__main__":
    main()
