"""Propose facts of the picture files (source `files`): format, size, mode and camera."""

import numpy as np
import torch
from torch.nn import functional

from detaux.config import Config
from detaux.config.location import expand_path
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters, renumber
from detaux.discover.clusterers import choose_sizes
from detaux.discover.file_facts import read_facts
from detaux.runtime.progress import say

MOST_SHOWN = 8  # values of a fact that are named


def propose_files(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Make a candidate of each fact that has at least two values with enough images, which are its clusters.

    Enough is the size of the smallest cluster. Images with a rarer value are outliers. Points [N, 1 + k] have a number for
    all rare values together and one for each of the k clusters; one of these numbers is 1.
    """
    folder = expand_path(str(config.data.path), "data.path")
    smallest, _ = choose_sizes(len(split.keys), config.discover)
    found = []
    for fact, texts in read_facts(folder, split.keys, manifest.names).items():
        values, values_N, counts = np.unique(texts, return_inverse=True, return_counts=True)
        is_rare_N = counts[values_N] < smallest
        labels_N = renumber(np.where(is_rare_N, -1, values_N))
        if labels_N.max() < 1:
            continue
        points_NV = functional.one_hot(torch.from_numpy(labels_N + 1)).float().to(split.images.device)
        clusters = Clusters(labels_N, np.where(is_rare_N, 0.0, 1.0).astype(np.float32), "files")
        found.append(Candidate(points_NV, clusters, name=f"file_{fact}"))
        shown = sorted(zip(counts.tolist(), values.tolist(), strict=True), reverse=True)[:MOST_SHOWN]
        say(f"discover: {fact} of the files: {', '.join(f'{value} ({count:,})' for count, value in shown)}")
    return found
