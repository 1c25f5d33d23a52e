"""Lay points out so that near ones lie close together (UMAP), and cluster the layout without a size to be told (PLSCAN).

Both need the extra `layout`, whose packages compile themselves at first use. They are imported only inside functions.

N points, F numbers of a point, L dimensions of a layout.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.data.components import fit_components
from detaux.discover.cluster import Clusters, complete_labels, renumber
from detaux.discover.clusterers import choose_sizes
from detaux.discover.clusterers.distances import find_nearest
from detaux.discover.subsample import draw_rows
from detaux.runtime.packages import require_package

PACKAGES = {"umap": "layout", "fast_hdbscan": "layout"}  # module -> our extra
COMPONENTS = 128  # most numbers of a point that UMAP gets
FITTED_POINTS = 16384  # that the principal components are fitted to
DIMS = 5  # of a layout; of the digits, two gave worse clusters and ten no better ones
NEIGHBOURS = 10  # of a point
LEAST_POINTS = 2 * (NEIGHBOURS + 1)  # fewer have no neighbourhoods to speak of
MOST_POINTS = 20_000  # that UMAP lays out, in about a minute on one core
TILE = 4096  # points handled at once


@contextmanager
def keep_threads() -> Iterator[None]:
    """Restore the number of torch's threads, which Numba's change through OpenMP: sums depend on it in their last bits."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def require_layout(user: str) -> None:
    """Raise UserError if a package of the extra is missing. `user` is the setting that needs it."""
    for module, extra in PACKAGES.items():
        require_package(module, extra, user)


def reduce_points(points_NF: Tensor, seed: int) -> Tensor:
    """Return at most COMPONENTS principal components [N, C] of points, or the points if they have no more numbers."""
    if min(points_NF.shape) <= COMPONENTS:
        return points_NF
    fitted = torch.from_numpy(draw_rows(len(points_NF), FITTED_POINTS, seed)).to(points_NF.device)
    mean_F, basis_FC = fit_components(lambda: iter(points_NF[fitted].split(TILE)), COMPONENTS, seed)
    return torch.cat([(tile - mean_F) @ basis_FC for tile in points_NF.split(TILE)])


def scale_variance(points_NF: Tensor) -> Tensor:
    """Centre points and scale them to a variance of 1, summed over their numbers. Points that coincide become 0."""
    centred_NF = points_NF - points_NF.mean(0)
    variance = centred_NF.square().sum(1).mean()
    return centred_NF / torch.where(variance > 0, variance.sqrt(), 1.0)


def lay_out(points_NF: Tensor, seed: int, most: int = MOST_POINTS) -> tuple[Tensor, np.ndarray]:
    """Lay out points by UMAP (McInnes, Healy and Melville 2018), at most `most` of them, drawn by the seed.

    Return the layout float32 [M, L] on the points' device, and for each of the N points its place 0 .. M - 1 in it: its
    own, or that of the nearest point that was laid out. The same seed gives the same layout on the same machine, for
    which UMAP works on one core. At least LEAST_POINTS points are needed.
    """
    import umap

    rows_M = draw_rows(len(points_NF), most, seed)
    chosen_MF = points_NF[torch.from_numpy(rows_M).to(points_NF.device)]
    settings = {"n_components": DIMS, "n_neighbors": NEIGHBOURS, "random_state": seed, "n_jobs": 1}
    with keep_threads():
        layout_ML = umap.UMAP(**settings).fit_transform(chosen_MF.cpu().numpy())
    place_N = np.arange(len(points_NF))
    if len(rows_M) < len(points_NF):
        place_N = find_nearest(points_NF, chosen_MF).cpu().numpy()
        place_N[rows_M] = np.arange(len(rows_M))
    return torch.from_numpy(layout_ML.astype(np.float32)).to(points_NF.device), place_N


def cluster_by_plscan(points_ND: Tensor, config: DiscoverConfig) -> Clusters:
    """Cluster points by PLSCAN (Bot, McInnes and Aerts 2025): HDBSCAN at the cluster size whose clusters persist most.

    The size is at least that of HDBSCAN's smallest cluster. Outliers are treated as cluster_points does. The result
    depends on no seed.
    """
    from fast_hdbscan import PLSCAN

    begun = time.perf_counter()
    smallest, _ = choose_sizes(len(points_ND), config)
    with keep_threads():
        model = PLSCAN(base_min_cluster_size=smallest, reproducible=True).fit(points_ND.cpu().numpy())
    labels, probability = model.labels_.astype(np.int64), model.membership_strengths_.astype(np.float32)
    probability = np.where(labels < 0, np.float32(0), probability.clip(0, 1))
    if config.outliers == "nearest":
        labels = complete_labels(points_ND, labels)
    return Clusters(renumber(labels), probability, "PLSCAN (fast_hdbscan)", time.perf_counter() - begun)
