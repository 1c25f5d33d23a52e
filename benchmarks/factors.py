"""Compare how well Detaux and plain clusterings find the hidden factors of several sets.

    python benchmarks/factors.py [--sets scenes-23 ...] [--recipes default kmeans ...] [--seeds 1 2 3]
    python benchmarks/factors.py --table

A set is data by its keys, with a metric: V-measure, or adjusted mutual information (AMI) if classes hide within a
class. A recipe is a way to look for hidden factors: a config of Detaux with keys, or a plain clustering of
benchmarks/clusterings.py. No recipe of Detaux reads ground truth, and its score is that of its choice. A clustering
that depends on a number is run with several, and its score is the best of these. A finished run is kept in
benchmarks/data/factors/, so the command can be stopped and repeated. Recipes with the same training share it. Seconds
are those of one core; if a stage was stopped and continued, only those of its last process count. `--table` writes
the table of docs/results.md from these files and trains nothing.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from clusterings import CLUSTERINGS, run_clusterings, select_hidden
from study import FOUND, NOTHING_FOUND, STAGES, build_set, call, write_table

from detaux.data.schema import read_manifest
from detaux.runtime.record import read_commit

DATA = Path(__file__).with_name("data") / "factors"
HEAD = ("set", "recipe", "score, factor and clusters, by seed", "hidden factors of at least .9", "median s")
ONE_CORE = ("run.threads=1", "discover.cross_prediction.processes=1")  # so that seconds compare
METRICS = {"v": "v_measure", "ami": "ami"}  # -> name in discovery.json
SPARSE, GLYPHS, DIGITS = "configs/quickstart-sparse.yaml", "configs/glyphs.yaml", "configs/digits.yaml"
PRESET, CONDITIONAL = "preset", "conditional"


@dataclass(frozen=True)
class FactorSet:
    """Hold a set: its preset, the keys that make the data, and a metric.

    `conditional` is the preset of the conditional code; that of the set itself unless said. `tuned` are the seeds with
    which settings were chosen; they are in no table.
    """

    title: str
    preset: str
    keys: tuple[str, ...]
    metric: str = "v"
    conditional: str | None = None
    tuned: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Recipe:
    """Hold a recipe of Detaux. `config` may stand for the PRESET of the set, or for its CONDITIONAL one."""

    title: str
    config: str
    keys: tuple[str, ...] = ()

    def select_config(self, one: FactorSet) -> str:
        """Return the config by which the recipe runs on a set."""
        return {PRESET: one.preset, CONDITIONAL: one.conditional or one.preset}.get(self.config, self.config)

    def name_training(self, one: FactorSet) -> str:
        """Name the training. Recipes that differ only in keys of discovery share it."""
        keys = [key.partition(".")[2] for key in self.keys if not key.startswith("discover.")]
        return "-".join([Path(self.select_config(one)).parent.name, Path(self.select_config(one)).stem, *keys])


SCENES = ("data.side=32", "data.split=random", "data.test_fraction=0.2", "data.validation_fraction=0.1")
LETTERS = (
    "data.source=glyphs",
    "data.side=32",
    "data.split=random",
    "data.test_fraction=0.3333",
    "data.validation_fraction=0.1",
)
PARITY = (
    "data.source=digits",
    "data.principal={even: [0, 2, 4, 6, 8], odd: [1, 3, 5, 7, 9]}",
    "data.side=16",
    "data.split=random",
    "data.test_fraction=0.25",
    "data.validation_fraction=0.1",
    "data.labelled_fraction=0.1",
)


def _make_scenes(title: str, *keys: str) -> FactorSet:
    return FactorSet(title, SPARSE, (*SCENES, *keys))


SETS: dict[str, FactorSet] = {
    "scenes": _make_scenes("4,000 scenes", "data.grid_fraction=1"),
    "scenes-50": _make_scenes("half of the scenes", "data.grid_fraction=0.5"),
    "scenes-23": _make_scenes("23 % of the scenes", "data.grid_fraction=0.23"),
    "scenes-23-wall70": _make_scenes(
        "23 %, wall follows the label in 70 %", "data.grid_fraction=0.23", "data.correlate={wall_hue: 0.7}"
    ),
    "scenes-23-wall90": _make_scenes(
        "23 %, wall follows the label in 90 %", "data.grid_fraction=0.23", "data.correlate={wall_hue: 0.9}"
    ),
    "scenes-noise": _make_scenes("4,000 scenes, 15 % salt and pepper", "data.grid_fraction=1", "data.noise=0.15"),
    "scenes-50-tenth": _make_scenes(
        "half of the scenes, a tenth of the labels", "data.grid_fraction=0.5", "data.labelled_fraction=0.1"
    ),
    "glyphs": FactorSet("letters in twelve fonts", GLYPHS, (*LETTERS, "data.principal=letter"), tuned=(0, 1, 3)),
    "glyphs-family": FactorSet("the same, family as the task", GLYPHS, (*LETTERS, "data.principal=family")),
    "digits": FactorSet("digits, odd or even, 121 labels", DIGITS, PARITY, "ami", SPARSE),
}
RECIPES: dict[str, Recipe] = {
    "default": Recipe("Detaux, the set's preset", PRESET),
    "everything": Recipe(
        "conditional code, graph and layout", CONDITIONAL, ("discover.sources=[subspace,mixture,graph,layout]",)
    ),
    "parts": Recipe(
        "independent parts of the code (ICA), no judge",
        CONDITIONAL,
        (
            "discover.sources=[subspace]",
            "discover.cross_prediction.rounds=0",
            "discover.choose=separation",
            "discover.min_recognition=0",
            "discover.min_attraction=0",
        ),
    ),
    "pairs": Recipe("mined pairs, one training", "configs/quickstart.yaml", ("model.restarts=1",)),
    "paper": Recipe("the paper's forms", "configs/paper/quickstart-grid.yaml"),
    "official": Recipe("the official code's forms", "configs/official/quickstart-grid.yaml"),
}
NAMES = (*RECIPES, *CLUSTERINGS)


def read_discovery(root: Path, shards: Path, metric: str) -> dict[str, Any]:
    """Return the scores of a discovery: of the choice, and of the best candidate without a fault for each factor."""
    files = (root / "discover/discovery.json", root / "disentangle/record.json")
    discovery, record = (json.loads(one.read_text()) for one in files)
    hidden, measure = select_hidden(read_manifest(shards)), METRICS[metric]
    everything = {one["index"]: one for one in discovery["candidates"] + discovery["baselines"]}
    chosen = everything.get(discovery["chosen"])
    passing = [everything[index] for index in discovery["ranking"]]
    scores = {name: [one["factors"][name][measure] for one in passing] for name in hidden}
    found = {name: chosen["factors"][name][measure] for name in hidden} if chosen else {"none": 0.0}
    factor = max(found, key=lambda name: found[name])
    return {
        "score": found[factor],
        "factor": factor,
        "clusters": chosen["clusters"] if chosen else 0,
        "source": (chosen.get("source") or chosen.get("name")) if chosen else None,
        "principal_nmi": chosen["principal"]["nmi"] if chosen else 0.0,
        "found": {name: max(values, default=0.0) for name, values in scores.items()},
        "seconds": round(discovery["seconds"] + record["seconds"], 1),
        "trained_by": record["commit"],
    }


def run_recipe(name: str, recipe: str, seed: int, out: Path) -> dict[str, Any]:
    """Train and discover by a recipe of Detaux, and return its scores."""
    one, plan = SETS[name], RECIPES[recipe]
    shards = build_set(one.preset, out / name, one.keys)
    root = out / f"{name}-{plan.name_training(one)}-seed{seed}"
    keys = [f"run.dir={root}", f"run.seed={seed}", f"data.shards={shards}", *ONE_CORE, *one.keys, *plan.keys]
    for stage in STAGES:
        call(stage, plan.select_config(one), *keys, allowed=(0, NOTHING_FOUND) if stage == "discover" else (0,))
    return read_discovery(root, shards, one.metric)


def locate(name: str, recipe: str, seed: int, data: Path) -> Path:
    """Return the file that keeps a run."""
    return data / f"{name}-{recipe}-seed{seed}.json"


def run_set(name: str, recipes: list[str], seed: int, out: Path, data: Path) -> None:
    """Run the recipes of a set with one seed, unless their outcomes are kept, and keep these."""
    one, commit = SETS[name], read_commit(Path(__file__).parents[1])
    missing = [recipe for recipe in recipes if not locate(name, recipe, seed, data).is_file()]
    plain = [recipe for recipe in missing if recipe in CLUSTERINGS]

    def keep(recipe: str, found: dict[str, Any]) -> None:
        row = {"set": name, "recipe": recipe, "seed": seed, "metric": one.metric, **found, "commit": commit}
        data.mkdir(parents=True, exist_ok=True)
        locate(name, recipe, seed, data).write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        print(f"{name}, {recipe}, seed {seed}: {found['score']:.2f} {found['factor']}", flush=True)

    if plain:
        shards = build_set(one.preset, out / name, one.keys)
        for recipe, found in run_clusterings(one.preset, list(one.keys), shards, seed, one.metric, plain).items():
            keep(recipe, found)
    for recipe in missing:
        if recipe in RECIPES:
            keep(recipe, run_recipe(name, recipe, seed, out))


def read_rows(data: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the kept runs by set and recipe, in the order of their seeds, without the seeds that were tuned on."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, one in SETS.items():
        for recipe in NAMES:
            found = [json.loads(path.read_text()) for path in data.glob(f"{name}-{recipe}-seed*.json")]
            kept = (row for row in found if row["seed"] not in one.tuned)
            rows[name, recipe] = sorted(kept, key=lambda row: row["seed"])
    return rows


def make_table(data: Path) -> list[str]:
    """Return the lines of the table: for each set its recipes, with score, best factor and clusters by seed."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
    for (name, recipe), rows in read_rows(data).items():
        if not rows:
            continue
        title = RECIPES[recipe].title if recipe in RECIPES else CLUSTERINGS[recipe][0]
        scores = ", ".join(f"{one['score']:.2f} {one['factor'].replace('_', ' ')} ({one['clusters']})" for one in rows)
        counts = ", ".join(str(sum(value >= FOUND for value in one["found"].values())) for one in rows)
        seconds = statistics.median(one["seconds"] for one in rows)
        lines.append(f"| {SETS[name].title} | {title} | {scores} | {counts} | {seconds:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--recipes", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/factors"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--table", action="store_true", help="write the table of the kept runs and train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so that the seconds of clusterings compare too
    for seed in [] if arguments.table else arguments.seeds:
        for name in arguments.sets:
            run_set(name, arguments.recipes, seed, arguments.out, arguments.data)
    if arguments.data == DATA:
        write_table("factors", make_table(DATA))


if __name__ == "__main__":
    main()
