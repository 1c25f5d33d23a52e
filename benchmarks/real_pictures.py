"""Measure how well our method and plain clusterings find the hidden class of real pictures: a table per data set.

    python benchmarks/real_pictures.py [--sets digits fashion_mnist] [--seeds 0 1 2 3 4]

Training, choice and settings never read the class; it only scores finished runs. Outliers count as a class of their
own, as in labels.parquet. A finished run is kept, so the command can be stopped and repeated.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from study import build_set, run_once

from detaux.config import load_config
from detaux.data.split import load_split
from detaux.discover.cluster import cluster_points
from detaux.discover.dependence import compare_with_factor

PIXEL_IMAGES = 5_000  # at most, because HDBSCAN is slow in thousands of dimensions
NAMES = {
    "latents": "HDBSCAN on the autoencoder's latents",
    "latents_within_class": "the same within each principal class",
    "kmeans_latents": "k-means on the latents, told that there are 10 classes",
}
CHOICE, SPACE, PIXELS = "our choice, not told", "neighbourhood subspace, HDBSCAN", "HDBSCAN on pixels"
MEASURES = ("ami", "v_measure", "homogeneity", "completeness")


def read_rows(discovery: dict[str, Any], last: int) -> dict[str, dict[str, float]]:
    """Return the measures of each row's clustering in one run. `last` is the number of the run's last subspace."""
    rows = {}
    everything = discovery["candidates"] + discovery["baselines"]
    for one in everything:
        (factor,) = one["factors"].values()
        found = {**factor, "noise": one["noise_share"], "clusters": one["clusters"]}
        found["chosen"] = float(one["index"] == discovery["chosen"])
        if found["chosen"]:
            rows[CHOICE] = found
        if last in one["subspaces"]:
            rows[SPACE] = found
        elif "name" in one:
            rows[NAMES[one["name"]]] = found
    return rows


def cluster_pixels(name: str, shards: Path) -> dict[str, float]:
    """Measure the clusterer on the pixels of at most PIXEL_IMAGES training images."""
    config = load_config(f"configs/{name}.yaml")
    split = load_split(shards, "train", config.data, torch.device("cpu"))
    assert split.factors is not None
    pixels = split.images[:PIXEL_IMAGES].flatten(1).float() / 255
    clusters = cluster_points(pixels, config.discover, 0)
    scores = compare_with_factor(clusters.class_labels, split.factors[:PIXEL_IMAGES, 0].numpy())
    return {**scores, "noise": clusters.outlier_fraction, "clusters": clusters.count, "chosen": 0.0}


def describe_row(title: str, found: list[dict[str, float]]) -> str:
    """Return a table row: mean and range over seeds of AMI, V and outlier fraction, clusters, and how often chosen."""
    cells = [title]
    for measure in ("ami", "v_measure", "noise"):
        values = [one[measure] for one in found]
        cells.append(f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    counts = sorted(int(one["clusters"]) for one in found)
    cells += [", ".join(map(str, counts)), f"{sum(one['chosen'] for one in found):.0f} of {len(found)}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("digits", "fashion_mnist"), default=["digits", "fashion_mnist"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/real-pictures"))
    arguments = parser.parse_args()
    for name in arguments.sets:
        config, root = f"configs/{name}.yaml", arguments.out / name
        shards = build_set(config, root)
        last = load_config(config).model.subspaces - 1
        runs = []
        for seed in arguments.seeds:
            outcome = run_once(config, ["run.threads=1"], seed, shards, root / f"seed{seed}")
            runs.append(read_rows(json.loads((root / f"seed{seed}/discover/discovery.json").read_text()), last))
            print(f"{name} seed {seed}: {runs[-1].get(CHOICE)} after {outcome.seconds:.0f} s", flush=True)
        print(f"\n| {name} | AMI | V | noise | clusters | chosen |\n{'| --- ' * 6}|")
        for title in (CHOICE, SPACE, *NAMES.values()):
            if found := [rows[title] for rows in runs if title in rows]:
                print(describe_row(title, found))
        print(describe_row(PIXELS, [cluster_pixels(name, shards)]), flush=True)


if __name__ == "__main__":
    main()
