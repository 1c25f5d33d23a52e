"""Run k-means in torch: all starts at once, on the device of the points.

N points, S starts, C clusters of each start, D size of a point. The host draws, so that a seed means the same starts on
every device. Sums are matrix products, which are reproducible; scattered additions on a GPU are not.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment
from detaux.discover.clusterers.centres import assign_to_centres, count_centres
from detaux.discover.clusterers.distances import TILE, measure, measure_in_tiles

STARTS = 10
MOST_ROUNDS = 300
TOLERANCE = 1e-4  # of the points' mean variance: the search ends if the squared move of the centres is at most this


def cluster_torch_kmeans(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Find `discover.clusters` clusters from distinct points drawn at random, the best of ten starts."""
    generator, clusters = torch.Generator().manual_seed(seed), count_centres(points_ND, config)
    drawn_SC = torch.stack([torch.randperm(len(points_ND), generator=generator)[:clusters] for _ in range(STARTS)])
    return _fit(points_ND, points_ND[drawn_SC.to(points_ND.device)], "random")


def cluster_torch_kmeans_plus_plus(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Find `discover.clusters` clusters from k-means++ starts (Arthur and Vassilvitskii 2007), the best of ten."""
    clusters = count_centres(points_ND, config)
    draws_CS = torch.rand(clusters, STARTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return _fit(points_ND, draw_spread_starts(points_ND, draws_CS.to(points_ND.device)), "k-means++")


def draw_spread_starts(points_ND: Tensor, draws_CS: Tensor) -> Tensor:
    """Draw centres [S, C, D], one after the other, by the numbers draws_CS in [0, 1).

    A point is drawn in proportion to its squared distance from the nearest earlier centre.
    """
    squared_NS = points_ND.new_ones(len(points_ND), draws_CS.shape[1])
    centres: list[Tensor] = []
    for draws_S in draws_CS:
        share_SN = squared_NS.T.double().cumsum(1)
        # the first point with a sum of shares above the draw; the last point if rounding leaves none
        place_S1 = torch.searchsorted(share_SN, (draws_S * share_SN[:, -1])[:, None], right=True)
        chosen_SD = points_ND[place_S1[:, 0].clamp_max(len(points_ND) - 1)]
        nearest_NS = measure(points_ND, chosen_SD).square()
        squared_NS = nearest_NS if not centres else squared_NS.minimum(nearest_NS)
        centres.append(chosen_SD)
    return torch.stack(centres, 1)


def _fit(points_ND: Tensor, centres_SCD: Tensor, start: str) -> Assignment:
    tolerance = TOLERANCE * points_ND.var(0, correction=0).mean()
    for _ in range(MOST_ROUNDS):
        nearest_NS, squared_NS = _find_centres(points_ND, centres_SCD)
        moved_SCD = _move_centres(points_ND, centres_SCD, nearest_NS, squared_NS)
        is_still = (moved_SCD - centres_SCD).square().sum((1, 2)).max() <= tolerance
        centres_SCD = moved_SCD
        if is_still:
            break
    best = _find_centres(points_ND, centres_SCD)[1].sum(0).argmin()
    predict = partial(assign_to_centres, centres_CD=centres_SCD[best])
    return Assignment(*predict(points_ND), f"torch k-means, {start}, {points_ND.device.type}", predict)


def _find_centres(points_ND: Tensor, centres_SCD: Tensor) -> tuple[Tensor, Tensor]:
    """Return each point's nearest centre [N, S] in every start, and its squared distance [N, S]."""
    nearest, squared = [], []
    for distances in measure_in_tiles(points_ND, centres_SCD.flatten(0, 1)):
        least = distances.unflatten(1, centres_SCD.shape[:2]).min(2)
        nearest.append(least.indices)
        squared.append(least.values.square())
    return torch.cat(nearest), torch.cat(squared)


def _move_centres(points_ND: Tensor, centres_SCD: Tensor, nearest_NS: Tensor, squared_NS: Tensor) -> Tensor:
    """Move each centre to the mean of its points, or to one of the farthest points if it has none."""
    starts, clusters, _ = centres_SCD.shape
    origin_D = points_ND.mean(0)  # far from 0, sums of many points would round away their differences
    sums_SCD, counts_SC = torch.zeros_like(centres_SCD), centres_SCD.new_zeros(starts, clusters)
    rows = max(1, TILE // (starts * clusters))
    for part_ND, found_NS in zip(points_ND.split(rows), nearest_NS.split(rows), strict=True):
        belongs_SCN = one_hot(found_NS, clusters).to(part_ND.dtype).permute(1, 2, 0)
        sums_SCD += belongs_SCN @ (part_ND - origin_D)
        counts_SC += belongs_SCN.sum(2)
    far_SC = squared_NS.topk(clusters, dim=0).indices.T
    order_SC = (counts_SC == 0).long().cumsum(1) - 1
    spare_SCD = points_ND[far_SC.gather(1, order_SC.clamp_min(0))]
    return torch.where(counts_SC[:, :, None] == 0, spare_SCD, origin_D + sums_SCD / counts_SC[:, :, None].clamp_min(1))
