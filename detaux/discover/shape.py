"""Say what shape the points of a candidate have: separate values, a line, a ring, or a cloud.

A seeded sample of the points is joined to a graph of nearest neighbours. The sparsest points are left out, because a
few outliers would bridge gaps.

1. Parts: densities climb over the graph to their peaks, and a peak is a part of its own if every way to a denser one
   crosses a valley of less than VALLEY of its height (ToMATo: Chazal, Guibas, Oudot & Skraba 2013). Two parts or more
   are `clusters`. Parts with few points are not counted one by one: if they hold much, there are "many".
2. Line: one direction holds nearly all variance, or the graph unrolls to one: the leading direction of its shortest
   paths (Isomap: Tenenbaum, de Silva & Langford 2000) says where a point is.
3. Ring: in the plane of the two leading directions of the shortest paths, a fitted circle has a hole, and the angles
   leave no large gap.
4. Cloud: all else.

The places along a line or ring have gaps by chance. If these vary more, as between values with at least about five
points each, the points are many separate values.

N points, D size of a point, M points of the graph, K neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, shortest_path
from torch import Tensor

from detaux.discover.clusterers.distances import find_nearest, measure
from detaux.discover.subsample import draw_rows
from detaux.runtime.progress import track

LINE = 0.98  # least share of the variance in the first direction of a straight line
EXPLAINED = 0.9  # least share of the variance that the place along a bent line, or the angle of a ring, explains
MOST_POINTS = 1000  # of the graph; its shortest paths cost more than their square
MOST_COUNTED = 4000  # among which the density of a point of the graph is counted
LEAST_POINTS = 100  # fewer are not judged
DENSE = 0.9  # least share of the sample, the densest points, that makes the graph
NEIGHBOURS = 15  # that a point is joined to; with 10, a line of 1,000 random points often has a gap by chance
DENSITY = 0.05  # share of the counted points within the radius of a density
VALLEY = 0.5  # a lower saddle divides two peaks
CHANCE = 5.5  # standard errors of a logarithmic density between peak and saddle that chance hardly makes
PART = 0.02  # least share of the graph in a part; smaller ones are not counted
SMALL = 4  # least points of the graph in a smaller part; fewer may be outliers
LEFT_OUT = 0.1  # largest share of the graph in smaller parts of that many points; with more, parts are not counted
WINDOW = 0.1  # share of the gaps along a coordinate with which a gap is compared, at least LEAST_WINDOW gaps
LEAST_WINDOW = 20
CLUMPED = 1.6  # mean square of the gaps, 1 by chance; of 3,000 sets of 100 points the largest had 1.52
BINS = 24  # of a coordinate, equally full
INNER = 0.5  # radius of a ring's hole as a share of the radius of the fitted circle
HOLE = 0.02  # most points of a ring in its hole; a disc with equal density has an eighth there
GAP = 30.0  # most degrees between two neighbouring angles of a ring

Kind = Literal["clusters", "line", "ring", "cloud"]


@dataclass(frozen=True)
class Shape:
    """Hold the shape of points, and the numbers on which the verdict rests. A number that was not needed is None.

    parts         peaks of density with a valley around each; None if there are many, which were not counted
    explained     share of the variance that the coordinate explains
    hole          share of the points nearer to the centre than half the radius
    gap           largest angle, in degrees, between two neighbouring points, as seen from the centre
    coordinate_N  float32 [N]: for a line the position from 0 to 1, for a ring the angle in degrees, in [0, 360)
    """

    kind: Kind
    parts: int | None
    explained: float | None = None
    hole: float | None = None
    gap: float | None = None
    coordinate_N: np.ndarray | None = None

    def to_row(self) -> dict[str, Any]:
        """Return what discovery.json says of the shape: all but the coordinates."""
        numbers = {"explained": self.explained, "hole": self.hole, "gap": self.gap}
        rounded = {name: None if value is None else round(value, 6) for name, value in numbers.items()}
        return {"kind": self.kind, "parts": self.parts, **rounded}


def find_shapes(points: Sequence[Tensor], seed: int) -> list[Shape | None]:
    """Judge the shape of each of the point sets. Equal sets are judged once and share the object."""
    found: list[tuple[Tensor, Shape | None]] = []
    with track("discover: shapes", len(points)) as advance:
        for one in points:
            same = next(
                (shape for other, shape in found if one.device == other.device and torch.equal(one, other)), None
            )
            found.append((one, same or find_shape(one, seed)))
            advance()
    return [shape for _, shape in found]


def find_shape(points_ND: Tensor, seed: int) -> Shape | None:
    """Judge the shape of points float [N, D] on any device, or return None if they are few or all coincide."""
    count = len(points_ND)
    spread = float(points_ND.double().var(0, correction=0).sum()) if count else 0.0
    if count < LEAST_POINTS or not spread > 0:
        return None
    counted_CD = points_ND[torch.from_numpy(draw_rows(count, min(count, MOST_COUNTED), seed))].double()
    sample_MD, graph, height_M, valley = _join_neighbours(counted_CD, seed)
    sizes = _measure_parts(graph, height_M, valley)
    if any(_has_many(one) for one in (sizes, _measure_pieces(counted_CD))):
        return Shape("clusters", None)
    parts = max(1, int((sizes >= PART * sizes.sum()).sum()))
    if parts > 1:
        return Shape("clusters", parts)
    line_N = project_on_line(points_ND)
    if line_N is not None:
        if measure_clumping(line_N[draw_rows(count, min(count, MOST_COUNTED), seed)]) > CLUMPED:
            return Shape("clusters", None)
        return Shape("line", parts, _explain(points_ND.double().cpu().numpy(), line_N), coordinate_N=_rescale(line_N))
    _, member_M = connected_components(graph, directed=False)
    whole = np.flatnonzero(member_M == np.bincount(member_M).argmax())
    if len(whole) < (1 - PART) * len(member_M):
        return Shape("cloud", parts)
    return _unroll(points_ND, sample_MD[torch.from_numpy(whole)], graph[whole][:, whole], parts)


def project_on_line(points_ND: Tensor) -> np.ndarray | None:
    """Return the coordinates [N] along the first principal direction, or None if the points [N, D] are not a line."""
    if len(points_ND) < 2:
        return None
    centred_ND = (points_ND - points_ND.mean(0)).double()
    _, values, directions = torch.linalg.svd(centred_ND, full_matrices=False)
    total = values.square().sum()
    if total == 0 or values[0].square() < LINE * total:
        return None
    return (centred_ND @ directions[0]).cpu().numpy()


def _join_neighbours(counted_CD: Tensor, seed: int) -> tuple[Tensor, csr_matrix, np.ndarray, float]:
    """Return points [M, D], the graph of their nearest neighbours, their logarithmic density, and the depth of a valley.

    The density is K / radius^d up to a factor. d is the dimension of the points at this radius (Levina & Bickel 2005),
    and not D: a line in many dimensions would look rough. With K neighbours the logarithm errs by 1 / sqrt(K).
    """
    sample_MD = counted_CD[torch.from_numpy(draw_rows(len(counted_CD), min(len(counted_CD), MOST_POINTS), seed))]
    reach = max(NEIGHBOURS, round(DENSITY * len(counted_CD)))
    tiny = torch.finfo(torch.float64).tiny
    near_MK = measure(sample_MD, counted_CD).topk(reach + 1, dim=1, largest=False).values[:, 1:].clamp_min(tiny)
    radius_M = near_MK[:, -1]
    size = min(np.log(2) / max(float((radius_M / near_MK[:, reach // 2 - 1]).log().mean()), tiny), sample_MD.shape[1])
    valley = max(-np.log(VALLEY), CHANCE / np.sqrt(reach))
    height_M = -size * radius_M.log()
    lowest = torch.minimum(height_M.quantile(1 - DENSE), height_M.median() - 2 * valley)
    kept_M = torch.nonzero(height_M >= lowest)[:, 0]
    sample_MD, height_M = sample_MD[kept_M], height_M[kept_M]
    nearest = measure(sample_MD, sample_MD).topk(NEIGHBOURS + 1, dim=1, largest=False)
    rows = np.repeat(np.arange(len(kept_M)), NEIGHBOURS)
    ends = nearest.indices[:, 1:].reshape(-1).cpu().numpy()
    lengths = nearest.values[:, 1:].reshape(-1).clamp_min(tiny).cpu().numpy()  # an edge of length 0 would be no edge
    graph = csr_matrix((lengths, (rows, ends)), shape=(len(kept_M), len(kept_M)))
    return sample_MD, graph.maximum(graph.T), height_M.cpu().numpy(), valley


def measure_clumping(coordinate_N: np.ndarray) -> float:
    """Compute the mean square of the gaps along a coordinate [N], each divided by the mean of the gaps around it.

    It is halved, so that it is 1 for points that fall on a line by chance, whose gaps are exponential, and about m / 2
    for separate values with m points each. The ends, which have no whole window around them, are left out.
    """
    gaps = np.diff(np.sort(coordinate_N.astype(np.float64)))
    size = min(max(LEAST_WINDOW, round(WINDOW * len(gaps))), len(gaps))
    means = np.convolve(gaps, np.full(size, 1 / size), "valid")
    inner = gaps[size // 2 : size // 2 + len(means)]
    ratios = np.divide(inner, means, out=np.zeros_like(means), where=means > 0)
    return float(np.square(ratios).mean() / 2)


def _measure_parts(graph: csr_matrix, height_M: np.ndarray, valley: float) -> np.ndarray:
    """Return the points of each peak of logarithmic density that stands `valley` above every way to a higher one."""
    order = np.argsort(-height_M, kind="stable")
    place_M = np.empty(len(order), np.int64)
    place_M[order] = np.arange(len(order))  # 0 is the highest
    root_M = np.arange(len(order))

    def find(point: int) -> int:
        while root_M[point] != point:
            root_M[point] = root_M[root_M[point]]
            point = int(root_M[point])
        return point

    for point in order:
        near = graph.indices[graph.indptr[point] : graph.indptr[point + 1]]
        peaks = sorted({find(int(one)) for one in near if place_M[one] < place_M[point]}, key=lambda one: place_M[one])
        if not peaks:
            continue
        root_M[point] = peaks[0]
        for peak in peaks[1:]:
            if height_M[peak] - height_M[point] < valley:
                root_M[peak] = peaks[0]
    return np.unique([find(point) for point in range(len(order))], return_counts=True)[1]


def _measure_pieces(counted_CD: Tensor) -> np.ndarray:
    """Return the points of each connected piece of the graph of nearest neighbours of all counted points [C, D].

    A value with more than NEIGHBOURS of them is a piece, even if the sample has too few of it for a peak.
    """
    tiles = [
        measure(tile_TD, counted_CD).topk(min(NEIGHBOURS + 1, len(counted_CD)), dim=1, largest=False).indices
        for tile_TD in counted_CD.split(MOST_POINTS)
    ]
    ends_CK = torch.cat(tiles).cpu().numpy()
    rows_CK = np.broadcast_to(np.arange(len(ends_CK))[:, None], ends_CK.shape)
    edges = (np.ones(ends_CK.size, np.int8), (rows_CK.ravel(), ends_CK.ravel()))
    return np.bincount(connected_components(csr_matrix(edges, shape=[len(ends_CK)] * 2), directed=False)[1])


def _has_many(sizes: np.ndarray) -> bool:
    """Return whether parts of these sizes that are too small to be counted hold more than LEFT_OUT of the points."""
    is_small = (sizes >= SMALL) & (sizes < PART * sizes.sum())
    return bool(sizes[is_small].sum() > LEFT_OUT * sizes.sum())


def _unroll(points_ND: Tensor, sample_MD: Tensor, graph: csr_matrix, parts: int) -> Shape:
    """Judge one part by the shortest paths over its graph: a bent line, a ring, or a cloud."""
    plane_M2 = _lay_out(shortest_path(graph, directed=False))
    sample = sample_MD.cpu().numpy()
    along = _explain(sample, plane_M2[:, 0])
    nearest = find_nearest(points_ND.double(), sample_MD).cpu().numpy()
    if along >= EXPLAINED:
        if measure_clumping(plane_M2[:, 0]) > CLUMPED:
            return Shape("clusters", None)
        return Shape("line", parts, along, coordinate_N=_rescale(plane_M2[:, 0])[nearest])
    centre, radius = _fit_circle(plane_M2)
    offset_M2 = plane_M2 - centre
    angle_M = np.degrees(np.arctan2(offset_M2[:, 1], offset_M2[:, 0])) % 360
    hole = float((np.linalg.norm(offset_M2, axis=1) < INNER * radius).mean())
    angles = np.sort(angle_M)
    gap = float(np.diff(angles, append=angles[0] + 360).max())
    around = _explain(sample, angle_M)
    if hole <= HOLE and gap <= GAP and around >= EXPLAINED:
        if measure_clumping(angle_M) > CLUMPED:
            return Shape("clusters", None)
        return Shape("ring", parts, around, hole, gap, angle_M.astype(np.float32)[nearest])
    return Shape("cloud", parts, max(along, around), hole, gap)


def _lay_out(length_MM: np.ndarray) -> np.ndarray:
    """Lay points out in a plane by their distances [M, M]: classical scaling (Torgerson 1952). Return [M, 2]."""
    square_MM = length_MM**2
    mean_M = square_MM.mean(0)
    inner_MM = (mean_M[:, None] + mean_M - square_MM - mean_M.mean()) / 2
    last = len(inner_MM) - 1
    values, vectors_M2 = eigh(inner_MM, subset_by_index=[last - 1, last])
    plane_M2 = (vectors_M2 * np.sqrt(np.maximum(values, 0)))[:, ::-1]
    # an eigenvector has no sign of its own: its largest entry is positive
    largest = plane_M2[np.abs(plane_M2).argmax(0), [0, 1]]
    return plane_M2 * np.where(largest < 0, -1, 1)


def _fit_circle(plane_M2: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a circle by least squares of |p|^2 = 2 p c + (r^2 - |c|^2) (Kasa 1976). Return its centre [2] and radius."""
    system = np.column_stack([2 * plane_M2, np.ones(len(plane_M2))])
    x, y, rest = np.linalg.lstsq(system, (plane_M2**2).sum(1), rcond=None)[0]
    return np.array([x, y]), float(np.sqrt(rest + x**2 + y**2))


def _explain(points_ND: np.ndarray, coordinate_N: np.ndarray) -> float:
    """Compute the share of the variance of points [N, D] between equally full bins of a coordinate [N].

    It is 0 if the points coincide.
    """
    total = len(points_ND) * points_ND.var(0).sum()
    if total == 0:
        return 0.0
    order = np.argsort(coordinate_N, kind="stable")
    within = sum(len(rows) * points_ND[rows].var(0).sum() for rows in np.array_split(order, BINS))
    return float(1 - within / total)


def _rescale(line_N: np.ndarray) -> np.ndarray:
    """Move coordinates to [0, 1]."""
    return ((line_N - line_N.min()) / np.ptp(line_N)).astype(np.float32)
