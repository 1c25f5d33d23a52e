"""Measure the peak memory of disentangle, discover and multitask on large pictures, above that of `import torch`.

    python benchmarks/bench_memory.py [--pictures 2000] [--side 224] [--steps 4] [key=value ...]

Each stage runs on the CPU in its own process. Its peak is the largest resident memory that the system reports. The
pictures are made here: discs on a ground with a colour for each class. A few steps are enough because every step
needs the same memory. The oracle reads the whole pool twice. A tenth of the training images keeps its label to
shorten an epoch.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from results import append_row, read_command

from detaux.config import dump_config, load_config
from shards.build import build_shards

CLASSES, MOST_GIB = 4, 3.0


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Write pictures into a subfolder for each class."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    grounds = random.integers(40, 200, (CLASSES, 3))
    for number in range(count):
        picture = np.broadcast_to(grounds[number % CLASSES], (side, side, 3)).copy()
        middle, radius = random.uniform(0.3, 0.7, 2), random.choice((0.1, 0.2, 0.3))
        picture[(rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2] = random.integers(0, 256, 3)
        place = folder / f"class{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture + random.integers(0, 16, picture.shape)).clip(0, 255).astype(np.uint8)).save(
            place / f"{number}.jpg"
        )


def measure_peak(*arguments: str) -> int:
    """Return the peak resident bytes of a Python process. Raises CalledProcessError if the process fails."""
    process = subprocess.Popen([sys.executable, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    steps = arguments.steps
    add_row = partial(append_row, benchmark="memory", unit="GiB", spread="one run", command=read_command())
    with tempfile.TemporaryDirectory() as name:
        make_pictures(Path(name) / "pictures", arguments.pictures, arguments.side)
        keys = [
            f"run.dir={name}/run",
            "run.device=cpu",
            "data.source=folder",
            f"data.path={name}/pictures",
            f"data.side={arguments.side}",
            "data.labelled_fraction=0.1",
            f"disentangle.warmup.steps={steps}",
            f"disentangle.main.steps={steps}",
            f"pairs.walk_interval={max(1, steps // 2)}",
            "discover.clusterer=kmeans",  # finds clusters in untrained embeddings too
            "discover.min_oracle_fraction=0",
            "discover.min_variance_fraction=0",
            "discover.stability_samples=0",
            "multitask.epochs=1",
            "multitask.seeds=1",
            "multitask.weights=[1.0]",
            "multitask.controls=[]",
        ]
        baseline = measure_peak("-c", "import torch")
        print(f"import torch: {baseline / 2**30:.2f} GiB", flush=True)
        add_row(case="import torch", metric="peak", value=baseline / 2**30)
        build_shards(load_config(None, keys), Path(name) / "shards")
        config = Path(name) / "config.yaml"
        dump_config(load_config(None, [*keys, f"data.shards={name}/shards"]), config)
        for stage in ("disentangle", "discover", "multitask"):
            peak = measure_peak("-m", "detaux", stage, str(config), *arguments.overrides) - baseline
            case = " ".join([f"{stage}, {arguments.pictures} pictures of {arguments.side} px", *arguments.overrides])
            print(f"{case}: {peak / 2**30:.2f} GiB, {MOST_GIB:g} allowed", flush=True)
            add_row(case=case, metric="peak above import torch", value=peak / 2**30, ratio=peak / 2**30 / MOST_GIB)


if __name__ == "__main__":
    main()
