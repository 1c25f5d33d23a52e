"""Count the sets without a hidden factor in which discovery chooses a task all the same.

    python benchmarks/false_alarms.py [--kinds noise position ...] [--seeds 1 2 3 4]
    python benchmarks/false_alarms.py --table

Each kind draws pictures in which nothing but the principal label has separate values. The rest is noise, or changes
without steps: a place, a brightness, a field. So the right answer is "no hidden task" (exit code 3). A finished set is
kept in benchmarks/data/false_alarms/, so the command can be stopped and repeated. `--table` writes the table of
docs/results.md from these files and trains nothing.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from study import NOTHING_FOUND, build_set, call, write_table

DATA = Path(__file__).with_name("data") / "false_alarms"
CONFIG = "benchmarks/false_alarms.yaml"
IMAGES, SIDE, CLASSES = 1500, 32, 3


def draw_noise(random: np.random.Generator, label: int) -> np.ndarray:
    """Draw white noise whose mean is that of the class."""
    return random.normal(90 + 40 * label, 40, (SIDE, SIDE, 3))


def draw_label_only(random: np.random.Generator, label: int) -> np.ndarray:
    """Draw the class's shape in the middle of a picture, and a little noise."""
    return 60 + 150 * _draw_shape(label, SIDE / 2, SIDE / 2)[..., None] + random.normal(0, 8, (SIDE, SIDE, 3))


def draw_position(random: np.random.Generator, label: int) -> np.ndarray:
    """Draw the class's shape at any place."""
    row, column = random.uniform(8, SIDE - 8, 2)
    return 60 + 150 * _draw_shape(label, row, column)[..., None] + random.normal(0, 8, (SIDE, SIDE, 3))


def draw_brightness(random: np.random.Generator, label: int) -> np.ndarray:
    """Draw the class's shape before a background of any brightness, itself of any brightness."""
    shape = _draw_shape(label, SIDE / 2, SIDE / 2)[..., None]
    back, front = random.uniform(20, 120), random.uniform(150, 250)
    return back * (1 - shape) + front * shape + random.normal(0, 8, (SIDE, SIDE, 3))


def draw_field(random: np.random.Generator, label: int) -> np.ndarray:
    """Draw a smooth random field, coarser for a higher class."""
    field = gaussian_filter(random.normal(size=(SIDE, SIDE)), 1 + 1.5 * label, mode="wrap")
    return np.repeat((128 + 50 * field / field.std())[..., None], 3, 2)


KINDS: dict[str, tuple[str, Callable[[np.random.Generator, int], np.ndarray]]] = {
    "noise": ("white noise, a mean for each class", draw_noise),
    "label_only": ("a shape for each class, and nothing else", draw_label_only),
    "position": ("a shape for each class, at any place", draw_position),
    "brightness": ("a shape for each class, any brightness of shape and background", draw_brightness),
    "field": ("smooth fields, a scale for each class", draw_field),
}


def _draw_shape(label: int, row: float, column: float) -> np.ndarray:
    """Return a square, disc or cross with soft edges: its share of each pixel."""
    down, right = np.mgrid[:SIDE, :SIDE] - np.array([row, column])[:, None, None]
    down, right = np.abs(down), np.abs(right)
    distance = (
        np.maximum(down, right) - 5,
        np.hypot(down, right) - 6,
        np.maximum(np.minimum(down, right) - 2, np.maximum(down, right) - 7),
    )[label]
    return np.clip(0.5 - distance, 0, 1)


def draw_set(kind: str, seed: int, folder: Path) -> None:
    """Write the pictures of a set, a folder for each class."""
    random = np.random.default_rng((list(KINDS).index(kind), seed))
    for number in range(IMAGES):
        label = number % CLASSES
        pixels = np.clip(KINDS[kind][1](random, label), 0, 255).astype(np.uint8)
        place = folder / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:04d}.png")


def run_set(kind: str, seed: int, out: Path, data: Path, keys: list[str]) -> None:
    """Look for a hidden task in one set, unless its outcome is kept, and keep it."""
    path = data / f"{kind}-seed{seed}.json"
    if path.is_file():
        return
    root = out / f"{kind}-seed{seed}"
    pictures = root / "pictures"
    if not pictures.exists():
        draw_set(kind, seed, root / "partial")
        (root / "partial").rename(pictures)
    own = [f"data.path={pictures}", *keys]
    common = [f"run.dir={root}", f"run.seed={seed}", f"data.shards={build_set(CONFIG, root, own)}", *own]
    call("disentangle", CONFIG, *common)
    code = call("discover", CONFIG, *common, allowed=(0, NOTHING_FOUND))
    kept = {"kind": kind, "seed": seed, "is_alarm": code == 0, "keys": keys, **read_outcome(root)}
    data.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"{kind}, seed {seed}: {'alarm' if kept['is_alarm'] else 'nothing'}, {kept['seconds']:.0f} s", flush=True)


def read_outcome(root: Path) -> dict[str, Any]:
    """Return what is kept of a finished run: the commit, the seconds, and every candidate that was judged."""
    found, record = (
        json.loads((root / name).read_text()) for name in ("discover/discovery.json", "disentangle/record.json")
    )
    judged = [
        {
            **{key: one[key] for key in ("source", "subspaces", "clusters")},
            **{score: one["scores"].get(score) for score in ("recognition", "attraction")},
            "fault": one["fault"] and one["fault"]["code"],
        }
        for one in found["candidates"]
        if one["scores"].get("recognition") is not None
    ]
    seconds = round(record["seconds"] + found["seconds"], 1)
    return {"commit": record["commit"][:10], "seconds": seconds, "judged": judged}


def make_table(data: Path) -> list[str]:
    """Return the lines of the table from the kept outcomes."""
    head = "| pictures | sets | with a task | largest recognition | largest attraction | median s |"
    lines = [head, "| --- " * 6 + "|"]
    alarms = sets = 0
    for kind, (title, _) in KINDS.items():
        found: list[dict[str, Any]] = [json.loads(path.read_text()) for path in data.glob(f"{kind}-seed*.json")]
        if found:
            count = sum(one["is_alarm"] for one in found)
            judged = [one for kept in found for one in kept["judged"]]
            scores = " | ".join(show_largest(judged, name) for name in ("recognition", "attraction"))
            seconds = np.median([one["seconds"] for one in found])
            lines.append(f"| {title} | {len(found)} | {count} | {scores} | {seconds:.0f} |")
            alarms, sets = alarms + count, sets + len(found)
    return [*lines, f"| all | {sets} | {alarms} | | | |"]


def show_largest(judged: list[dict[str, Any]], score: str) -> str:
    """Return the largest value of a score, or a dash if no candidate has one."""
    values = [one[score] for one in judged if one[score] is not None]
    return f"{max(values):.2f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/false_alarms"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--table", action="store_true", help="write the table of the kept sets and train nothing")
    parser.add_argument("keys", nargs="*", help="key=value of the config")
    arguments = parser.parse_intermixed_args()
    for seed in [] if arguments.table else arguments.seeds:
        for kind in arguments.kinds:
            run_set(kind, seed, arguments.out, arguments.data, arguments.keys)
    if arguments.data == DATA:
        write_table("false alarms", make_table(DATA))


if __name__ == "__main__":
    main()
