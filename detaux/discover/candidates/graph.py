"""Propose the factors of the graph that joins images to their relative neighbours (`discover.sources=[graph]`).

Nothing is trained. detaux/discover/factor_graph/ says how the graph is taken apart.
"""

import hashlib
import time

import numpy as np
import torch
from torch import Tensor

from detaux.config import Config
from detaux.data.neighbours import describe_images
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters, complete_labels, renumber
from detaux.discover.clusterers import choose_sizes
from detaux.discover.factor_graph.factors import find_factors
from detaux.discover.subsample import draw_rows
from detaux.runtime.progress import say

MOST_IMAGES = 8192  # images in the graph, since its time grows with their square


def propose_graph(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Make a candidate of each factor that the graph shows, the one with the most edges first.

    Its points are the images in the directions that the factor changes. The graph has at most MOST_IMAGES images, drawn
    by the seed, and no copies. Images without a value, or out of the graph, join the value of the nearest image that has
    one, with probability 0. A value has at least as many images as the smallest cluster of HDBSCAN.
    """
    begun, seed = time.perf_counter(), config.run.seed
    points_NF = describe_images(split.images, config.data.noise, seed)
    rows = draw_graph_rows(split.images, seed)
    if len(rows) < len(split.images):
        say(f"discover: the graph has {len(rows)} of {len(split.images)} images; the others join the nearest of these.")
    smallest = choose_sizes(len(rows), config.discover)[0]
    labels_N = split.labels.cpu().numpy()
    factors = find_factors(points_NF[torch.from_numpy(rows).to(points_NF.device)], labels_N[rows], smallest)
    seconds, found = time.perf_counter() - begun, []
    for number, factor in enumerate(factors, start=1):
        values_N = np.full(len(labels_N), -1)
        values_N[rows] = factor.values_P
        labels = renumber(complete_labels(points_NF, values_N))
        clusters = Clusters(labels, (values_N >= 0).astype(np.float32), "factors of a graph (scipy)", seconds)
        found.append(Candidate(points_NF @ factor.directions_Fr, clusters, name=f"graph_factor_{number}"))
    return found


def draw_graph_rows(images: Tensor, seed: int) -> np.ndarray:
    """Draw at most MOST_IMAGES different images from uint8 [N, H, W, C]; return their rows in ascending order.

    A copy of an image would stand beside each corner of a square, and no square would be the only one.
    """
    first: dict[bytes, int] = {}
    for row, image in enumerate(images.cpu()):
        first.setdefault(hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest(), row)
    rows = np.array(sorted(first.values()), np.int64)
    return rows[draw_rows(len(rows), MOST_IMAGES, seed)]
