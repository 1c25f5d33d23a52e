"""Cluster the pictures of a shard set as a user would without Detaux, and score the clusters.

    python benchmarks/clusterings.py CONFIG SHARDS [--seed 0]

Each clustering gets principal components of the pixels, without salt and pepper. K-means and spectral clustering get
the number of values of each hidden factor in turn, and the factor that they match best counts: more help than a user
has. UMAP with HDBSCAN runs once with usual settings, and once with nine of which the best by ground truth counts, so
that row is an upper bound. PLSCAN clusters the same kind of layout and gets no number. If there are more than MOST
pictures, a random part is clustered. One thread works. Ground truth is read only here.

N pictures, F components.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import HDBSCAN, KMeans, SpectralClustering
from sklearn.metrics import adjusted_mutual_info_score, v_measure_score
from threadpoolctl import threadpool_limits

from detaux.config import load_config
from detaux.data.neighbours import describe_images
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import load_split
from detaux.discover.dependence import compare_labels

MOST = 5000  # pictures that are clustered
COMPONENTS = 50
NEIGHBOURS, SHARE = 15, 0.02  # UMAP's default, and the smallest cluster's share of the pictures as in discover
NEIGHBOUR_CHOICES, SHARE_CHOICES = (5, 15, 50), (0.01, 0.02, 0.05)
MEASURES = {"v": v_measure_score, "ami": adjusted_mutual_info_score}

Layouts = Callable[[int], np.ndarray]  # neighbours -> layout [N, 5]


def cluster_by_kmeans(points_NF: np.ndarray, counts: list[int], _: Layouts, seed: int) -> Iterator[np.ndarray]:
    """Give the clusters for each number of clusters."""
    for count in counts:
        yield KMeans(count, n_init=10, random_state=seed).fit_predict(points_NF)


def cluster_by_spectrum(points_NF: np.ndarray, counts: list[int], _: Layouts, seed: int) -> Iterator[np.ndarray]:
    """Give the spectral clusters of the graph of nearest neighbours for each number of clusters."""
    for count in counts:
        yield SpectralClustering(
            count, affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr", random_state=seed
        ).fit_predict(points_NF)


def cluster_layout(points_NF: np.ndarray, _: list[int], layouts: Layouts, seed: int) -> Iterator[np.ndarray]:
    """Give the clusters that HDBSCAN finds in one layout."""
    yield _run_hdbscan(layouts(NEIGHBOURS), SHARE)


def cluster_layouts(points_NF: np.ndarray, _: list[int], layouts: Layouts, seed: int) -> Iterator[np.ndarray]:
    """Give the clusters that HDBSCAN finds with nine settings."""
    for neighbours in NEIGHBOUR_CHOICES:
        for share in SHARE_CHOICES:
            yield _run_hdbscan(layouts(neighbours), share)


def cluster_by_plscan(points_NF: np.ndarray, _: list[int], layouts: Layouts, seed: int) -> Iterator[np.ndarray]:
    """Give the clusters that PLSCAN finds in the layout."""
    from fast_hdbscan import PLSCAN

    smallest = max(10, round(SHARE * len(points_NF)))
    yield PLSCAN(base_min_cluster_size=smallest, reproducible=True).fit(layouts(NEIGHBOURS)).labels_


# name -> (title, clustering)
CLUSTERINGS: dict[str, tuple[str, Callable[[np.ndarray, list[int], Layouts, int], Iterator[np.ndarray]]]] = {
    "kmeans": ("K-means, given k", cluster_by_kmeans),
    "spectral": ("spectral, given k", cluster_by_spectrum),
    "umap": ("UMAP + HDBSCAN", cluster_layout),
    "umap_best": ("UMAP + HDBSCAN, best of 9 (upper bound)", cluster_layouts),
    "plscan": ("UMAP + PLSCAN", cluster_by_plscan),
}


def _run_hdbscan(points_NF: np.ndarray, share: float) -> np.ndarray:
    return HDBSCAN(max(10, round(share * len(points_NF))), copy=True).fit_predict(points_NF)


def _remember_layouts(points_NF: np.ndarray, seed: int) -> Layouts:
    """Return the layout of the points for a number of neighbours; each is made once."""
    import umap

    found: dict[int, np.ndarray] = {}

    def lay_out(neighbours: int) -> np.ndarray:
        if neighbours not in found:
            settings = {"n_neighbors": neighbours, "min_dist": 0.0, "n_components": 5}
            found[neighbours] = umap.UMAP(**settings, random_state=seed, n_jobs=1).fit_transform(points_NF)
        return found[neighbours]

    return lay_out


def score_labels(
    found: list[np.ndarray], factors: dict[str, np.ndarray], principal_N: np.ndarray, metric: str
) -> dict[str, Any]:
    """Return the best of some clusterings [N] by the metric with any factor. Outliers (-1) count as one more cluster.

    `found` holds the best score with each factor.
    """
    best = {
        name: max((float(MEASURES[metric](column, labels)), place) for place, labels in enumerate(found))
        for name, column in factors.items()
    }
    factor = max(best, key=lambda name: best[name])
    score, position = best[factor]
    return {
        "score": score,
        "factor": factor,
        "found": {name: value for name, (value, _) in best.items()},
        "clusters": int(found[position].max()) + 1,
        "principal_nmi": compare_labels(found[position], principal_N)["nmi"],
    }


def select_hidden(manifest: Manifest) -> list[str]:
    """Return the names of the hidden factors of a set.

    A combination of others, the font of the letters, is none: its parts are. If classes group the only factor, that
    is hidden, because the label is not that factor.
    """
    return [name for name in manifest.factors if len(manifest.factors) == 1 or name not in (manifest.principal, "font")]


def run_clusterings(
    config: str, keys: list[str], shards: Path, seed: int, metric: str, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the score and the seconds of some clusterings of the training split, by their names."""
    settings, manifest = load_config(config, keys), read_manifest(shards)
    split = load_split(shards, "train", settings.data, torch.device("cpu"))
    assert split.factors is not None
    begun = time.perf_counter()
    points_NF = describe_images(split.images, settings.data.noise, seed).numpy()[:, :COMPONENTS].astype(np.float64)
    seconds = time.perf_counter() - begun
    rows_N = np.random.default_rng(seed).permutation(len(points_NF))[:MOST]
    points_NF, principal_N = points_NF[rows_N], split.labels.numpy()[rows_N]
    columns = dict(zip(manifest.factors, split.factors.numpy()[rows_N].T, strict=True))
    factors = {name: columns[name] for name in select_hidden(manifest)}
    counts, rows = sorted({len(np.unique(column)) for column in factors.values()}), {}
    _remember_layouts(points_NF[:100], seed)(NEIGHBOURS)  # UMAP compiles itself at first use
    with threadpool_limits(1):
        for name in names:
            begun = time.perf_counter()
            found = list(CLUSTERINGS[name][1](points_NF, counts, _remember_layouts(points_NF, seed), seed))
            spent = seconds + time.perf_counter() - begun
            rows[name] = score_labels(found, factors, principal_N, metric) | {"seconds": round(spent, 1)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("shards", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--metric", choices=list(MEASURES), default="v")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = run_clusterings(arguments.config, [], arguments.shards, arguments.seed, arguments.metric, list(CLUSTERINGS))
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
