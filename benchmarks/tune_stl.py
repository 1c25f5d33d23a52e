"""Tune single-task learning by validation accuracy, so that no method is compared with an untuned baseline.

    python benchmarks/tune_stl.py SHARDS CONFIG [--seeds 17 18 19] [key=value ...]

Every combination of GRID is trained on the training split of a shard set and judged on its validation split; the test
split is not read. It prints the combinations with their mean accuracy and loss, the best first. The seeds are not
those of any table. Augmentation and learning rate that are chosen here serve every method, so the comparison favours
single-task learning.
"""

import argparse
import itertools
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from detaux.config import load_config
from detaux.data.schema import read_manifest
from detaux.data.split import load_split
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.images.augmentation import read_augmentation
from detaux.multitask.trial import NO_LABELS, STL, Trial

GRID = {"lr": (3e-4, 1e-3, 3e-3), "crop": (0, 1, 2), "flip": (False, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    config = load_config(arguments.config, arguments.overrides)
    train, held_out = (
        load_split(arguments.shards, split, config.data, torch.device("cpu")) for split in ("train", "validation")
    )
    classes, found = len(read_manifest(arguments.shards).classes), []
    for values in itertools.product(*GRID.values()):
        settings = replace(config.multitask, **dict(zip(GRID, values, strict=True)))
        augmentation = read_augmentation(settings)
        data = TrainingData(train.images, train.labels, None, [classes], config.data.noise, augmentation)
        validation = held_out.images, held_out.labels
        rows = [
            train_trial(Trial(STL, NO_LABELS, 0.0, seed), settings, data, validation)[1] for seed in arguments.seeds
        ]
        accuracy, loss = (statistics.mean(row[name] for row in rows) for name in ("accuracy", "loss"))
        found.append((accuracy, loss, values))
        print(f"{dict(zip(GRID, values, strict=True))}: {accuracy:.4f}, loss {loss:.3f}", flush=True)
    print("\n| " + " | ".join(GRID) + " | validation accuracy | loss |\n" + "| --- " * (len(GRID) + 2) + "|")
    for accuracy, loss, values in sorted(found, key=lambda one: (-one[0], one[1])):
        print(f"| {' | '.join(map(str, values))} | {100 * accuracy:.2f} | {loss:.3f} |")


if __name__ == "__main__":
    main()
