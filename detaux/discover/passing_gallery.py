"""Make the report's pictures of every candidate that passes, and of every line and ring.

For each cluster: its surest images, and other images that get the code of its surest one. For a line or ring: images in
the order of their place. Numbers of pictures and their sides are bounded, so the file is too.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters
from detaux.discover.shape import Shape
from detaux.discover.traversal import to_bytes
from detaux.disentangle.model import Disentangler

MOST_CLUSTERS = 10  # of a candidate; the largest are shown
SUREST = 6  # images of a cluster
CHANGED = 4  # images that get the code of each cluster
PLACES = 16  # images along a line or around a ring
MOST_SIDE = 64  # pixels
MOST_CONTINUA = 6  # lines and rings that do not pass
UNCHANGED = -1  # label of the row of images as they are

Source = tuple[Disentangler, Tensor]  # the model of a candidate, and the subspaces [N, K, D] of all images by it


def build_passing_gallery(
    passing: dict[int, tuple[Candidate, Source]], continua: dict[int, Candidate], split: Split, seed: int
) -> dict[str, Any]:
    """Return arrays for gallery.npz. `passing` and `continua` have the candidates by their index in discovery.json.

    passing_examples, passing_labels, passing_of        surest images, their clusters and candidates
    recombined, recombined_labels, recombined_of        rows of pictures [R, CHANGED, H, W, C], their clusters and candidates;
                                                        label UNCHANGED has the images rebuilt as they are
    ordered, ordered_at, ordered_of                     images of lines and rings, their places and candidates

    A candidate that comes from no subspace has no recombined pictures. An array without entries is left out.
    """
    bases = np.random.default_rng(seed).permutation(len(split.keys))[:CHANGED]
    surest: list[tuple[Any, ...]] = []
    recombined: list[tuple[Any, ...]] = []
    ordered: list[tuple[Any, ...]] = []
    for index, (one, (model, subspaces_NKD)) in passing.items():
        rows = pick_surest(one.clusters, SUREST)
        surest += [
            (picture, label, index) for label, members in enumerate(rows) for picture in _take(split.images, members)
        ]
        if one.subspaces:
            donors = np.array([members[0] for members in rows])
            pictures = recombine(model, subspaces_NKD, one.subspaces, bases, donors)
            labels = range(UNCHANGED, len(donors))
            recombined += [(_shrink(row), label, index) for row, label in zip(pictures, labels, strict=True)]
    for index, one in continua.items():
        assert one.shape is not None
        rows_P, places = pick_places(one.shape, PLACES)
        ordered += [(*found, index) for found in zip(_take(split.images, rows_P), places, strict=True)]
    return {
        **_stack(surest, "passing_examples", "passing_labels", "passing_of"),
        **_stack(recombined, "recombined", "recombined_labels", "recombined_of"),
        **_stack(ordered, "ordered", "ordered_at", "ordered_of"),
    }


def list_continua(pool: Sequence[Candidate], passing: Iterable[int]) -> list[int]:
    """Return the positions of lines and rings: those that pass, then up to MOST_CONTINUA others that hold variance.

    Others whose points have the same shape object are left out, since they are the same line or ring.
    """
    found = [index for index in passing if pool[index].is_continuum]
    shown = {id(pool[index].shape) for index in found}
    others = []
    for index, one in enumerate(pool):
        is_dead = one.fault is not None and one.fault.code == "dead"
        if one.is_continuum and not is_dead and id(one.shape) not in shown:
            shown.add(id(one.shape))
            others.append(index)
    return found + others[:MOST_CONTINUA]


def pick_surest(clusters: Clusters, count: int) -> list[np.ndarray]:
    """Return the rows of up to `count` images of the highest probability, for each of the MOST_CLUSTERS largest clusters."""
    found = []
    for label in range(min(clusters.count, MOST_CLUSTERS)):
        members = np.flatnonzero(clusters.labels == label)
        found.append(members[np.argsort(-clusters.probability[members], kind="stable")][:count])
    return found


def pick_places(shape: Shape, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of up to `count` images in the order of their place on a line or ring, and these places.

    On a line they have equally many images between them, and on a ring they are equally far apart.
    """
    place_N = shape.coordinate_N
    assert place_N is not None
    if shape.kind == "line":
        order = np.argsort(place_N, kind="stable")
        rows_P = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
        return rows_P, place_N[rows_P]
    wanted_P = 360 * np.arange(count) / count
    apart_PN = np.abs((place_N - wanted_P[:, None] + 180) % 360 - 180)
    nearest = np.unique(apart_PN.argmin(1))
    rows_P = nearest[np.argsort(place_N[nearest], kind="stable")]
    return rows_P, place_N[rows_P]


@torch.no_grad()
def recombine(
    model: Disentangler, subspaces_NKD: Tensor, members: Sequence[int], bases: np.ndarray, donors: np.ndarray
) -> np.ndarray:
    """Decode images whose subspaces `members` come from other images: uint8 [1 + donors, bases, H, W, C].

    The first row has the images of the rows `bases`, rebuilt unchanged. Row 1 + i has them with the code of row
    `donors[i]` in these subspaces.
    """
    codes_BKD = subspaces_NKD[torch.from_numpy(bases)]
    rows = [codes_BKD]
    for donor in donors.tolist():
        changed_BKD = codes_BKD.clone()
        changed_BKD[:, list(members)] = subspaces_NKD[donor, list(members)]
        rows.append(changed_BKD)
    return np.stack([to_bytes(model.decode(row.sum(1))) for row in rows])


def _take(images: Tensor, rows: np.ndarray) -> np.ndarray:
    """Return images uint8 [n, H, W, C] on the host, not larger than MOST_SIDE."""
    return _shrink(images[torch.from_numpy(rows).to(images.device)].cpu().numpy())


def _shrink(pictures: np.ndarray) -> np.ndarray:
    """Shrink pictures uint8 [n, H, W, C] to MOST_SIDE by means of areas if they are larger."""
    if pictures.shape[1] <= MOST_SIDE:
        return pictures
    small = adaptive_avg_pool2d(torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), MOST_SIDE)
    return small.round().byte().permute(0, 2, 3, 1).numpy()


def _stack(rows: list[tuple[Any, ...]], *names: str) -> dict[str, np.ndarray]:
    """Return the columns of the rows as arrays of these names; no array if there is no row."""
    return {name: np.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)} if rows else {}
