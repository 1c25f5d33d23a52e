"""Make runs of the paper's data sets from a run folder made by hand, and find the cells that they fill."""

import functools
import json
import shutil

from detaux.config import load_config
from detaux.config.frozen import config_to_dict
from detaux.config.shipped import find_shipped
from detaux.report.collect import load_run
from detaux.report.paper_cells import fill_cells
from detaux.runtime.files import write_json


def change_json(path, change):
    """Load a JSON object, let `change` edit it in place, write it back."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    write_json(path, value)


def find_cell(name, runs, row, dataset="svhn"):
    return next(one for one in fill_cells(name, runs) if (one["row"], one["dataset"]) == (row, dataset))


def change(run, settings):
    """Set dotted keys in all frozen configs of a run."""
    for config in run.configs.values():
        for dotted, value in settings.items():
            *parts, name = dotted.split(".")
            functools.reduce(dict.__getitem__, parts, config)[name] = value


def make_lines(method, labels, weight, validation, test, kind="method"):
    """Summary lines of a setting on both splits, with a gain of its test accuracy over 0.8."""
    line = {"kind": kind, "method": method, "labels": labels, "weight": weight, "seeds": 3, "gain_p": 0.5}
    return [
        {
            **line,
            "split": split,
            "accuracy_mean": mean,
            "accuracy_low": mean - 0.01,
            "accuracy_high": mean + 0.01,
            "gain_mean": mean - 0.8,
            "gain_low": mean - 0.81,
            "gain_high": mean - 0.79,
        }
        for split, mean in (("validation", validation), ("test", test))
    ]


SUMMARY = [
    *make_lines("stl", "none", 0.0, 0.80, 0.80, "stl"),
    *make_lines("hard_sharing", "discovered", 0.2, 0.70, 0.99),  # best on test, worst on validation
    *make_lines("hard_sharing+uncertainty", "discovered", 1.0, 0.90, 0.85),
    *make_lines("hard_sharing", "random", 1.0, 0.99, 0.99, "control"),
    *make_lines("hard_sharing", "discovered@kmeans", 1.0, 0.75, 0.83, "variant"),
    *make_lines("mti", "discovered", 0.2, 0.92, 0.91),
    *make_lines("maxl", "none", 0.0, 0.88, 0.87),
    *make_lines("nddr", "random", 0.2, 0.99, 0.99, "control"),
    *make_lines("auxilearn_combine", "discovered", 0.2, 0.88, 0.87),
]


def make_run(
    run_folder,
    dataset="svhn",
    classes=10,
    principal="class",
    manifest=None,
    multitask=None,
    discovery=None,
    settings=None,
    kmeans=None,
):
    """Make a run folder a run of a data set, edit its files and load it.

    Its settings are the paper's, but for `settings`, and a variant of discovery by k-means chose a candidate.
    """
    values = {"dataset": dataset, "principal": principal, "classes": [str(one) for one in range(classes)]}
    values["split"] = {"rule": "published"}
    change_json(
        run_folder / "multitask" / "metrics.json", lambda tree: tree.update(summary=SUMMARY, **(multitask or {}))
    )
    variant = run_folder / "variants" / "kmeans" / "discover"
    shutil.copytree(run_folder / "discover", variant, dirs_exist_ok=True)
    change_json(variant / "discovery.json", lambda tree: tree.update({"clusterer": "kmeans", **(kmeans or {})}))
    change_json(run_folder / "discover" / "discovery.json", lambda tree: tree.update(discovery or {}))
    paper = load_config(find_shipped(f"configs/paper/{dataset}.yaml"))
    values["side"] = paper.data.side
    change_json(run_folder / "shards" / "manifest.json", lambda tree: tree.update(values, **(manifest or {})))
    run = load_run(run_folder, "demo")
    for config in run.configs.values():
        config.update(config_to_dict(paper))
        config["multitask"]["mti"]["pretrained"] = "hrnet.pth"
    change(run, settings or {})
    return run
