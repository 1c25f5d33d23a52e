"""Fit principal components to points that come in tiles, so that memory holds only the components and one tile.

n points of F numbers, t points of a tile, C components.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

ITERATIONS = 2  # subspace iterations, the default of torch.pca_lowrank


def fit_components(iterate: Callable[[], Iterator[Tensor]], components: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the mean [F] and an orthonormal basis [F, C] of the leading principal components of n < F points.

    `iterate` starts a new pass over all points in tiles [t, F]. It is called seven times and must give the same points
    each time. The method and the random start are those of torch.pca_lowrank (Halko, Martinsson and Tropp 2011), so the
    two agree up to rounding.
    """
    count, total_F = 0, torch.zeros(())
    for tile_tF in iterate():
        count, total_F = count + len(tile_tF), total_F.to(tile_tF.device) + tile_tF.sum(0, dtype=torch.float64)
    mean_F = (total_F / count).float()

    def project(basis_FC: Tensor) -> Tensor:
        """Project all centred points onto a basis, [n, C]."""
        return torch.cat([(tile_tF - mean_F) @ basis_FC for tile_tF in iterate()])

    def combine(weights_nC: Tensor) -> Tensor:
        """Sum all centred points with each column of weights, [F, C]."""
        combined_FC, begin = torch.zeros(len(mean_F), components, device=mean_F.device), 0
        for tile_tF in iterate():
            combined_FC += (tile_tF - mean_F).T @ weights_nC[begin : begin + len(tile_tF)]
            begin += len(tile_tF)
        return combined_FC

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        start_nC = torch.randn(count, components, device=mean_F.device)
    basis_FC = torch.linalg.qr(combine(start_nC)).Q
    for _ in range(ITERATIONS):
        basis_FC = torch.linalg.qr(combine(torch.linalg.qr(project(basis_FC)).Q)).Q
    turn_CC = torch.linalg.svd(project(basis_FC).T, full_matrices=False).U
    return mean_F, basis_FC @ turn_CC
