"""Count the hidden factors that discovery finds beside the grid on which the quickstart was tuned.

    python benchmarks/factors.py [--sets scenes-23 ...] [--recipes pairs conditional] [--seeds 1 2 3]
    python benchmarks/factors.py --table

A set is a config with keys that thin it out, tie a factor to the label, or add noise. A recipe is how hidden factors
are looked for: by mined pairs (the quickstart with one training) or without pairs (configs/_conditional.yaml). No
recipe reads ground truth. The recipe without pairs was first seen on seed 0, which stays out of the table. A finished
run is kept in benchmarks/data/factors/, so the command can be stopped and repeated. `--table` writes the table of
docs/results.md from these files and trains nothing.
"""

import argparse
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study import build_set, run_once, write_table

DATA = Path(__file__).with_name("data") / "factors"
PAIRS, CONDITIONAL = ("configs/quickstart.yaml", ["model.restarts=1"]), ("configs/quickstart-sparse.yaml", [])
RECIPES = {"pairs": PAIRS, "conditional": CONDITIONAL}
WALL = "data.correlate={{wall_hue: {}}}"
# set -> (title, keys)
SETS: dict[str, tuple[str, list[str]]] = {
    "scenes": ("4,000 scenes", ["data.grid_fraction=1"]),
    "scenes-50": ("half of the scenes", ["data.grid_fraction=0.5"]),
    "scenes-23": ("23 % of the scenes", ["data.grid_fraction=0.23"]),
    "scenes-23-wall70": (
        "23 %, the wall follows the label in 70 %",
        ["data.grid_fraction=0.23", WALL.format(0.7)],
    ),
    "scenes-23-wall90": (
        "23 %, the wall follows the label in 90 %",
        ["data.grid_fraction=0.23", WALL.format(0.9)],
    ),
    "scenes-noise": ("4,000 scenes, 15 % salt and pepper", ["data.grid_fraction=1", "data.noise=0.15"]),
}
GLYPHS = "glyphs"  # has its own config, and no recipe by pairs
TUNED = 0  # the seed on which settings were seen
HEAD = ("set", "recipe", "V of the choice, by seed", "hidden factors with V >= .9", "median s")


def list_runs() -> dict[tuple[str, str], tuple[str, str, list[str]]]:
    """Return (set, recipe) -> (title, config, keys), in the order of the table."""
    runs = {
        (name, recipe): (title, config, [*keys, *own])
        for name, (title, keys) in SETS.items()
        for recipe, (config, own) in RECIPES.items()
    }
    return runs | {(GLYPHS, "conditional"): ("letters in twelve fonts", "configs/glyphs.yaml", [])}


def run_seed(name: str, recipe: str, seed: int, out: Path, data: Path) -> None:
    """Run one seed, unless its outcome is kept, and keep it."""
    path = data / f"{name}-{recipe}-seed{seed}.json"
    if path.is_file():
        return
    _, config, keys = list_runs()[name, recipe]
    shards = build_set(config, out / name, keys)
    outcome = run_once(config, keys, seed, shards, out / f"{name}-{recipe}-seed{seed}")
    data.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    print(f"{name}, {recipe}, seed {seed}: V {outcome.v_measure:.2f} {outcome.factor}", flush=True)


def read_outcomes(name: str, recipe: str, data: Path) -> list[dict[str, Any]]:
    """Return the kept outcomes in the order of their seeds, without the one that was tuned on."""
    found = [json.loads(path.read_text()) for path in data.glob(f"{name}-{recipe}-seed*.json")]
    return sorted((one for one in found if one["seed"] != TUNED), key=lambda one: one["seed"])


def make_table(data: Path) -> list[str]:
    """Return the lines of the table from the kept outcomes."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
    for (name, recipe), (title, _, _) in list_runs().items():
        outcomes = read_outcomes(name, recipe, data)
        if not outcomes:
            continue
        choices = ", ".join(f"{one['v_measure']:.2f} {one['factor'].replace('_', ' ')}" for one in outcomes)
        counts = ", ".join(str(one["found"]) for one in outcomes)
        seconds = statistics.median(one["seconds"] for one in outcomes)
        lines.append(f"| {title} | {recipe} | {choices} | {counts} | {seconds:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, GLYPHS], default=[*SETS, GLYPHS])
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/factors"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--table", action="store_true", help="write the table of the kept runs and train nothing")
    arguments = parser.parse_args()
    for name, recipe in [] if arguments.table else list_runs():
        for seed in arguments.seeds if name in arguments.sets and recipe in arguments.recipes else ():
            run_seed(name, recipe, seed, arguments.out, arguments.data)
    if arguments.data == DATA:
        write_table("factors", make_table(DATA))


if __name__ == "__main__":
    main()
