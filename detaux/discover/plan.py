"""Estimate what a clustering will cost before it starts, and how many points fit the limits.

Seconds come from a power law through the times of a few small subsamples. Memory comes from a formula for each
clusterer and backend, which counts what it holds at its peak besides the points.
"""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment, choose_sizes
from detaux.discover.clusterers.distances import TILE
from detaux.discover.subsample import draw_rows
from detaux.errors import UserError
from detaux.runtime.progress import say

# below both limits a clustering takes seconds, and a probe would cost as much
FEWEST_PLANNED = 20_000  # points
LEAST_WORK = 4e9  # points^2 x dimensions
PROBES = (1000, 1000, 2000, 4000)  # points; the first warms up
MOST_PROBED = 0.2  # of the points: the size of the largest probe, at most
PREDICTED = 500  # points
QUADRATIC_DIMS = 64  # from here on neighbour trees do not help, and all pairs are compared
MARGIN = 1.5  # how many times the planned seconds must fit the limit, in case a clustering takes longer
GIB = 2**30


@dataclass(frozen=True)
class ClusteringPlan:
    """Hold estimates for clustering `clustered` of `samples` points. The other points are predicted."""

    samples: int
    dims: int
    clustered: int
    seconds: float
    gib: float

    def describe_progress(self, seconds: float) -> str:
        """Return a line on the progress after some seconds."""
        return f"clusters {self.clustered} x {self.dims} for {format_seconds(seconds)} of about {format_seconds(self.seconds)}"

    @property
    def is_whole(self) -> bool:
        return self.clustered == self.samples

    def describe(self) -> str:
        """Return a line to show before the start."""
        share = "" if self.is_whole else f", of which {self.clustered} are clustered and the rest predicted"
        return f"{self.samples} x {self.dims}{share}: about {format_seconds(self.seconds)} and {self.gib:.2g} GiB"


@dataclass(frozen=True)
class Cost:
    """Hold a plan and the actual cost: seconds, and the growth of the peak memory in GiB.

    The memory is the GPU's if the points are on one. The growth is 0 if an earlier peak was higher.
    """

    plan: ClusteringPlan
    seconds: float
    gib: float

    def describe(self) -> str:
        """Return a line to show at the end."""
        return (
            f"took {format_seconds(self.seconds)} ({format_seconds(self.plan.seconds)} planned), peak memory "
            f"+{self.gib:.2g} GiB ({self.plan.gib:.2g} planned)"
        )

    def to_row(self) -> dict[str, Any]:
        """Return the entry in discovery.json."""
        plan = self.plan
        return {
            "clustered": plan.clustered,
            "planned_seconds": round(plan.seconds, 1),
            "seconds": round(self.seconds, 1),
            "planned_gib": round(plan.gib, 3),
            "gib": round(self.gib, 3),
        }


def format_seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def estimate_bytes(clusterer: str, backend: str, samples: int, dims: int, config: DiscoverConfig) -> int:
    """Estimate the peak memory of a clustering in bytes, without the points themselves.

    hdbscan, cpu    points in float64, twice; 16 bytes for each neighbour; 250 a point for the hierarchy
    hdbscan, torch  points twice; a tile of distances; 24 bytes for each pair of blocks; 350 a point for the hierarchy
    hdbscan, cuml   points; 52 bytes for each neighbour, in a list and a symmetric graph; 250 a point for the hierarchy
    k-means         points; a tile of distances; 12 bytes for each point and start
    """
    _, neighbours = choose_sizes(samples, config)
    points, tile = 4 * samples * dims, 4 * TILE
    if clusterer.startswith("kmeans"):
        return points + tile + 120 * samples
    return {
        "cpu": 4 * points + 16 * samples * (neighbours + 1) + 250 * samples,
        "torch": 2 * points + tile + 24 * (samples // 256 + 1) ** 2 + 350 * samples,
        "cuml": points + 52 * samples * (neighbours + 1) + 250 * samples,
    }[backend]


@dataclass(frozen=True)
class Speed:
    """Hold how fast a clusterer is: n points take factor x n^exponent seconds.

    Predicting one point takes `prediction` seconds if `largest` points are known, as many as in the largest probe.
    """

    factor: float
    exponent: float
    prediction: float
    largest: int = PROBES[-1]

    def estimate_seconds(self, clustered: int, predicted: int) -> float:
        """Estimate the seconds. More known points raise the cost of a predicted point like that of a clustered one."""
        dearer = (clustered / self.largest) ** (self.exponent - 1)
        return self.factor * clustered**self.exponent + self.prediction * predicted * dearer


def plan_clustering(
    points_ND: Tensor,
    cluster: Callable[[Tensor], Assignment],
    clusterer: str,
    backend: str,
    config: DiscoverConfig,
    seed: int,
) -> ClusteringPlan | None:
    """Plan the clustering of points [N, D] within `discover.max_seconds` and `discover.max_memory`.

    Returns None if the clustering takes only seconds, or for mean shift, which draws its own subsample. `cluster` is
    timed on seeded subsamples. A plan never clusters fewer points than the largest of these. Raises UserError if even
    that many would take longer than `discover.max_seconds`.
    """
    samples, dims = points_ND.shape
    is_small = samples < FEWEST_PLANNED and samples**2 * dims < LEAST_WORK
    if is_small or clusterer == "meanshift":
        return None
    speed = measure_speed(points_ND, cluster, seed, config.max_seconds)

    def plan(count: int) -> ClusteringPlan:
        gib = estimate_bytes(clusterer, backend, count, dims, config) / GIB
        return ClusteringPlan(samples, dims, count, speed.estimate_seconds(count, samples - count), gib)

    def fits(one: ClusteringPlan) -> bool:
        is_fast = not config.max_seconds or MARGIN * one.seconds <= config.max_seconds
        return is_fast and (not config.max_memory or one.gib <= config.max_memory)

    low, high = speed.largest, samples
    if fits(plan(high)):
        return plan(high)
    if config.max_seconds and plan(low).seconds > config.max_seconds:
        raise UserError(
            f"clustering {samples} x {dims} points by {clusterer} would take longer than discover.max_seconds="
            f"{config.max_seconds:g}: clustering {low} of them and predicting the rest takes about "
            f"{format_seconds(plan(low).seconds)}; raise it."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(plan(middle)) else (low, middle)
    return plan(low)


def measure_speed(points_ND: Tensor, cluster: Callable[[Tensor], Assignment], seed: int, limit: float = 0.0) -> Speed:
    """Time the clustering of subsamples of PROBES points, and the prediction of some points by the last clustering.

    If PROBES would be a large part of the points, all probes shrink in proportion. If `limit` (seconds) is not 0, no
    probe starts that may take more than a quarter of it.
    """
    samples, dims = points_ND.shape
    largest = min(PROBES[-1], int(MOST_PROBED * samples))
    sizes, seconds = [max(2, size * largest // PROBES[-1]) for size in PROBES], list[float]()
    for size in sizes:
        if limit and len(seconds) > 1 and seconds[-1] * (size / sizes[len(seconds) - 1]) ** 2 > limit / 4:
            break
        part_ND = points_ND[torch.from_numpy(draw_rows(samples, size, seed))]
        begun = time.perf_counter()
        found = cluster(part_ND)
        seconds.append(time.perf_counter() - begun)
    factor, exponent = fit_power_law(sizes[1 : len(seconds)], seconds[1:], dims)
    new_ND = points_ND[torch.from_numpy(draw_rows(samples, PREDICTED, seed + 1))]
    found.predict(new_ND[:1])  # prepares once what every prediction needs
    begun = time.perf_counter()
    found.predict(new_ND)
    return Speed(factor, exponent, (time.perf_counter() - begun) / len(new_ND), sizes[len(seconds) - 1])


def fit_power_law(sizes: Sequence[int], seconds: Sequence[float], dims: int = 1) -> tuple[float, float]:
    """Fit seconds = factor x size^exponent, and return factor and exponent.

    The exponent is the slope of least squares on logarithms. The curve passes through the largest size, which is
    nearest to the size in question. The exponent is at least 1, and this bound rises to 2 with the dimensions, because
    small samples hide that neighbours are found by comparing all pairs.
    """
    least = 1.0 + min(1.0, max(0, dims - 1) / QUADRATIC_DIMS)
    slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]) if len(sizes) > 1 else 2.0
    exponent = max(least, slope)
    return seconds[-1] / sizes[-1] ** exponent, exponent


class CostMeter:
    """Report a plan, and afterwards the actual cost."""

    def __init__(self, plan: ClusteringPlan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        say(f"discover: plan for {plan.describe()}.")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.held = self._read_peak()

    def finish(self, seconds: float, grown: int | None = None) -> Cost:
        """Report and return the cost of a clustering that took some seconds.

        `grown` is the growth of the peak memory in bytes, if another process clustered.
        """
        gib = (self._read_peak() - self.held if grown is None else grown) / GIB
        cost = Cost(self.plan, seconds, gib)
        say(f"discover: {cost.describe()}.")
        return cost

    def _read_peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
