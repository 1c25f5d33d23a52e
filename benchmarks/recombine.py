"""Compare training on recombined images with plain training and plain augmentation, where a known factor follows the label.

    python benchmarks/recombine.py [--sets scenes-90 ...] [--recipes plain recombined ...] [--seeds 1 2 3]
    python benchmarks/recombine.py --table

In the training images of a set, a factor follows the principal label; in its test images it does not. All recipes train
the same network (single-task learning) with the same steps. A seed draws the images that are kept and the split, and
begins all trainings. The accuracies are those on the test split: of all images, of those in which the factor does not
follow the label, and of the worst group, which is a class with a value of the factor (of more than MOST_GROUPS, only a
value). Ground truth serves only to score. A finished recipe is kept in benchmarks/data/recombine/, so the command can be
stopped and repeated. `--table` writes the tables of docs/results.md from these files and trains nothing.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from study import NOTHING_FOUND, build_set, call, write_table
from torch import Tensor

from detaux.artefacts import LABELS_NAME, MODEL_FILE
from detaux.config import load_config
from detaux.data.labels_file import write_labels
from detaux.data.schema import read_manifest
from detaux.data.split import load_split
from detaux.multitask.batches import iterate_evaluation
from detaux.multitask.classifier import load_classifier
from detaux.multitask.methods.base import TaskSpec
from detaux.runtime.record import read_commit

DATA = Path(__file__).with_name("data") / "recombine"
SEED_USED = 0  # for trials of the idea; it is in no table
SPARSE, GLYPHS = "configs/quickstart-sparse.yaml", "configs/glyphs.yaml"
MOST_GROUPS = 50  # classes times values
# discovery only gives the stage the labels that it needs: nothing here trains on them
CHEAP = (
    "discover.sources=[subspace]",
    "discover.cross_prediction.rounds=0",
    "discover.choose=separation",
    *("discover.min_recognition=0", "discover.min_attraction=0", "discover.max_outlier_fraction=1"),
)
ALONE = (
    *("multitask.methods=[stl]", "multitask.controls=[]", "multitask.seeds=1", "multitask.select=fixed"),
    *("multitask.least_steps=1000", "multitask.batch_size=64", "multitask.lr=0.002", "run.threads=1"),
    "multitask.keep=last",  # in the validation images, the factor follows the label too
)


@dataclass(frozen=True)
class ShortcutSet:
    """Hold a set: its preset, the keys that make the data, and the factor that follows the label."""

    title: str
    preset: str
    keys: tuple[str, ...]
    factor: str


SETS: dict[str, ShortcutSet] = {
    "scenes-90": ShortcutSet(
        "scenes, the wall follows the scale in 90 %", SPARSE, ("data.correlate={wall_hue: 0.9}",), "wall_hue"
    ),
    "scenes-95": ShortcutSet("the same in 95 %", SPARSE, ("data.correlate={wall_hue: 0.95}",), "wall_hue"),
    "scenes-90-noise": ShortcutSet(
        "90 %, and 15 % salt and pepper",
        SPARSE,
        ("data.correlate={wall_hue: 0.9}", "data.noise=0.15"),
        "wall_hue",
    ),
    "scenes-300": ShortcutSet("300 scenes, independent factors", SPARSE, ("data.grid_fraction=0.094",), "wall_hue"),
    "glyphs-90": ShortcutSet(
        "letters, the font follows the letter in 90 %",
        GLYPHS,
        ("data.correlate={font: 0.9}",),
        "font",
    ),
}
TRUE_GROUPS = "balanced"  # trains on labels that are the factor itself
RECIPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": ("plain", ()),
    TRUE_GROUPS: ("draws balanced by the true factor (upper bound)", ("multitask.methods=[balanced]",)),
    "shifts": ("shifts of two pixels", ("multitask.crop=2",)),
    "shifts_mixup": ("shifts and mixup", ("multitask.crop=2", "multitask.mixup=0.4")),
    "recombined": ("recombined", ("multitask.recombine=0.5",)),
    "recombined_shifts": ("recombined, shifts", ("multitask.recombine=0.5", "multitask.crop=2")),
    "recombined_shifts_mixup": (
        "recombined, shifts and mixup",
        ("multitask.recombine=0.5", "multitask.crop=2", "multitask.mixup=0.4"),
    ),
}
HEAD = ("set", "recipe", "accuracy", "where the factor does not follow", "worst group", "s of training")


def score_answers(is_right: Tensor, labels: Tensor, values: Tensor, sizes: tuple[int, int]) -> dict[str, float]:
    """Return the accuracy of all images, of those whose value does not follow the label, and of the worst group.

    `is_right`, `labels` and `values` are [N]; `sizes` are the numbers of classes and of values.
    """
    classes, count = sizes
    groups = labels * count + values if classes * count <= MOST_GROUPS else values
    is_other = values != labels % count
    return {
        "accuracy": float(is_right.float().mean()),
        "apart": float(is_right[is_other].float().mean()),
        "worst": min(float(is_right[groups == group].float().mean()) for group in groups.unique()),
    }


@torch.no_grad()
def measure(root: Path, shards: Path, config: str, keys: list[str], factor: str) -> dict[str, float]:
    """Return the accuracies of the classifier in the run folder `root` on the test split."""
    settings, manifest = load_config(config, keys), read_manifest(shards)
    split = load_split(shards, "test", settings.data, torch.device("cpu"))
    spec, (method,) = (
        TaskSpec(settings.multitask, manifest.side, [len(manifest.classes)], 0.0),
        settings.multitask.methods,
    )
    network = load_classifier(root / "multitask" / MODEL_FILE, method, spec, split.images.device, "train again").eval()
    batches = iterate_evaluation(split.images, split.labels, settings.data.noise)
    is_right = torch.cat([network(images)[0].argmax(1) == labels for _, images, labels in batches])
    assert split.factors is not None
    values = split.factors[:, list(manifest.factors).index(factor)]
    return score_answers(is_right, split.labels, values, (len(manifest.classes), manifest.factors[factor]))


def write_true_labels(path: Path, shards: Path, config: str, keys: list[str], factor: str) -> None:
    """Replace the discovered labels by the values of a known factor, marked as an upper bound."""
    split, manifest = (
        load_split(shards, "train", load_config(config, keys).data, torch.device("cpu")),
        read_manifest(shards),
    )
    assert split.factors is not None
    values = split.factors[:, list(manifest.factors).index(factor)].unique(return_inverse=True)[1].numpy()
    columns = {"key": split.keys, "aux_0": values, "probability_0": np.ones(len(values), np.float32)}
    write_labels(path, columns, is_upper_bound=True)


def locate(name: str, recipe: str, seed: int, data: Path) -> Path:
    """Return the file that keeps a recipe."""
    return data / f"{name}-{recipe}-seed{seed}.json"


def run_set(name: str, recipes: list[str], seed: int, out: Path, data: Path) -> None:
    """Train the recipes of a set that are not kept, on one disentangler, and keep their accuracies."""
    one, commit = SETS[name], read_commit(Path(__file__).parents[1])
    missing = [recipe for recipe in recipes if not locate(name, recipe, seed, data).is_file()]
    if not missing:
        return
    root = out / f"{name}-seed{seed}"
    own = [*one.keys, f"data.split_seed={seed}"]
    shards = build_set(one.preset, root, own)
    common = [f"run.dir={root}", f"run.seed={seed}", f"data.shards={shards}", *own, *CHEAP, *ALONE]
    call("disentangle", one.preset, *common)
    if call("discover", one.preset, *common, allowed=(0, NOTHING_FOUND)) == NOTHING_FOUND:
        call("discover", one.preset, *common, "discover.clusterer=kmeans", "discover.clusters=2")
    for recipe in sorted(missing, key=lambda one: one == TRUE_GROUPS):  # its labels stay for no other recipe
        keys = [*common, *RECIPES[recipe][1]]
        if recipe == TRUE_GROUPS:
            write_true_labels(root / "discover" / LABELS_NAME, shards, one.preset, keys, one.factor)
        call("multitask", one.preset, *keys)
        facts = json.loads((root / "multitask" / "metrics.json").read_text())
        row = {
            "set": name,
            "recipe": recipe,
            "seed": seed,
            **measure(root, shards, one.preset, keys, one.factor),
            "images": facts["facts"]["train_images"],
            "seconds": round(facts["rows"][0]["seconds"], 1),
            "commit": commit,
        }
        data.mkdir(parents=True, exist_ok=True)
        locate(name, recipe, seed, data).write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        print(f"{name}, {recipe}, seed {seed}: {row['accuracy']:.3f}, worst {row['worst']:.2f}", flush=True)


def show_values(values: list[float]) -> str:
    """Return the mean of values and, if there are several, the least and largest."""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def make_table(data: Path) -> list[str]:
    """Return the lines of the table: for each set its recipes, with means and ranges over seeds."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
    for name, one in SETS.items():
        for recipe, (title, _) in RECIPES.items():
            found = [json.loads(path.read_text()) for path in sorted(data.glob(f"{name}-{recipe}-seed*.json"))]
            rows = [row for row in found if row["seed"] != SEED_USED]
            if rows:
                cells = [show_values([row[key] for row in rows]) for key in ("accuracy", "apart", "worst")]
                seconds = statistics.median(row["seconds"] for row in rows)
                lines.append(f"| {one.title} | {title} | {' | '.join(cells)} | {seconds:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/recombine"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--table", action="store_true", help="write the table of the kept runs and train nothing")
    arguments = parser.parse_args()
    for seed in [] if arguments.table else arguments.seeds:
        for name in arguments.sets:
            run_set(name, arguments.recipes, seed, arguments.out, arguments.data)
    if arguments.data == DATA:
        write_table("recombine", make_table(DATA))


if __name__ == "__main__":
    main()
