"""Make the report's pictures and points: traversals, example images of each cluster, three principal components."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters
from detaux.discover.traversal import pick_pair, traverse
from detaux.disentangle.embed import Embeddings
from detaux.disentangle.model import Disentangler

COMPONENTS = 3
MOST_POINTS = 2000
MOST_EXAMPLES = 16  # of each cluster: as many as report.examples may ask for


def build_gallery(
    model: Disentangler,
    split: Split,
    embeddings: Embeddings,
    groups: Sequence[tuple[int, ...]],
    chosen: Candidate | None,
    latents: Candidate,
    names: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Return the arrays of gallery.npz. Those of the chosen task are left out if there is none.

    Outliers have the highest label. A traversal row is named by the first subspace of its group, and `traversal_groups`
    lists all of them. `names` maps the keys of images to their names, if these differ.
    """
    rows = [(model.alpha,), *groups]
    pair = list(pick_pair(embeddings.subspaces_NKD, rows, seed))
    ends_2KD = embeddings.subspaces_NKD[pair]
    points = np.sort(np.random.default_rng(seed).permutation(len(split.keys))[:MOST_POINTS])
    arrays = {
        "traversal": traverse(model, split.images[pair], ends_2KD, rows),
        "traversal_subspaces": np.array([group[0] for group in rows]),
        "traversal_groups": np.array([" + ".join(map(str, group)) for group in rows]),
        "pca_encoder": compute_components(embeddings.latents_ND[torch.from_numpy(points)]),
        "pca_encoder_labels": latents.clusters.class_labels[points],
    }
    if chosen is not None:
        shown = pick_examples(chosen.clusters, MOST_EXAMPLES, seed)
        arrays |= {
            "examples": split.images[torch.from_numpy(shown).to(split.images.device)].cpu().numpy(),
            "example_labels": chosen.clusters.class_labels[shown],
            "example_names": np.array([names.get(key, key) for key in (split.keys[row] for row in shown)]),
            "pca_subspace": compute_components(chosen.points_ND[torch.from_numpy(points)]),
            "pca_subspace_labels": chosen.clusters.class_labels[points],
        }
    return arrays


def pick_examples(clusters: Clusters, count: int, seed: int) -> np.ndarray:
    """Return the rows of up to `count` samples of each class, outliers last.

    The samples of highest probability and random other ones take turns, so that any first few contain both.
    """
    random = np.random.default_rng(seed)
    picked = []
    for label in np.unique(clusters.class_labels):
        members = np.flatnonzero(clusters.class_labels == label)
        surest = members[np.argsort(-clusters.probability[members], kind="stable")]
        half = (min(count, len(members)) + 1) // 2
        rows = np.empty(min(count, len(members)), np.int64)
        rows[::2], rows[1::2] = surest[:half], random.permutation(surest[half:])[: len(rows) - half]
        picked.append(rows)
    return np.concatenate(picked)


def compute_components(points_PD: Tensor) -> np.ndarray:
    """Compute the first three principal components float32 [P, 3]; those that do not exist are 0."""
    left, values, _ = torch.linalg.svd(points_PD - points_PD.mean(0), full_matrices=False)
    components = np.zeros((len(points_PD), COMPONENTS), np.float32)
    kept = min(COMPONENTS, len(values))
    components[:, :kept] = (left[:, :kept] * values[:kept]).cpu().numpy()
    return components
