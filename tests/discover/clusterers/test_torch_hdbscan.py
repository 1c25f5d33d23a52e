"""Our HDBSCAN against two libraries, against its definition, and against itself in another order."""

from bisect import bisect_left

import numpy as np
import pytest
import torch
from hdbscan import HDBSCAN, approximate_predict
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import HDBSCAN as ScikitHDBSCAN
from sklearn.datasets import make_blobs, make_circles, make_moons
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import choose_sizes, hdbscan, torch_hdbscan
from detaux.discover.clusterers.blocks import sort_into_blocks
from detaux.discover.clusterers.hierarchy import SELECTIONS, assign_points, condense
from detaux.discover.clusterers.spanning_tree import compute_core_distances, span_mutual_reachability

LIBRARY_NAMES = {"excess_of_mass": "eom", "leaf": "leaf"}


pytestmark = pytest.mark.usefixtures("small_blocks")


def cluster(points_ND, smallest, neighbours, selection="excess_of_mass"):
    blocks = sort_into_blocks(torch.from_numpy(points_ND))
    edges, weights = span_mutual_reachability(blocks, compute_core_distances(blocks, neighbours))
    tree = condense(edges, weights, smallest)
    return assign_points(tree, SELECTIONS[selection](tree))


def draw_points(seed, samples, kind, size):
    if kind == "moons":
        return make_moons(samples, noise=0.08, random_state=seed)[0]
    if kind == "rings":
        return make_circles(samples, noise=0.05, factor=0.4, random_state=seed)[0]
    if kind == "blobs":
        return make_blobs(samples, size, centers=1 + seed % 5, random_state=seed)[0]
    return np.random.default_rng(seed).uniform(size=(samples, size))


def build_points(most):
    return st.builds(
        draw_points,
        st.integers(0, 2**31 - 1),
        st.integers(5, most),
        st.sampled_from(["blobs", "moons", "rings", "uniform"]),
        st.sampled_from([1, 2, 3, 10, 64]),
    )


points = build_points(120)
selections = st.sampled_from(sorted(SELECTIONS))


@given(points, st.integers(2, 40), selections)
@settings(max_examples=100)
def test_clusters_and_probabilities_match_both_libraries(points_ND, smallest, selection):
    check_libraries(points_ND, smallest, selection)


@pytest.mark.slow
@given(build_points(300), st.integers(2, 40), selections)
@settings(max_examples=250)
def test_clusters_and_probabilities_of_more_points_match_both_libraries(points_ND, smallest, selection):
    check_libraries(points_ND, smallest, selection)


def check_libraries(points_ND, smallest, selection):
    """With one neighbour no two distances of a tree are equal, and there is one answer."""
    labels, probability = cluster(points_ND, smallest, 1, selection)
    method = LIBRARY_NAMES[selection]
    model = HDBSCAN(smallest, min_samples=1, cluster_selection_method=method, algorithm="generic").fit(points_ND)
    # to scikit-learn a point is its own first neighbour
    other = ScikitHDBSCAN(smallest, min_samples=2, cluster_selection_method=method, copy=True).fit(points_ND)
    for labels_there, probability_there in (
        (model.labels_, model.probabilities_),
        (other.labels_, other.probabilities_),
    ):
        assert adjusted_rand_score(labels_there, labels) == 1.0
        np.testing.assert_array_equal(labels_there < 0, labels < 0)
        np.testing.assert_allclose(probability_there, probability, atol=1e-5)


def cluster_by_definition(points_ND, smallest, neighbours, selection):
    """Labels from the components of {reach <= level} at every level, from the top down."""
    distances = pairwise_distances(points_ND)
    core = np.sort(distances, axis=1)[:, min(neighbours, len(points_ND) - 1)]
    reach = np.maximum(distances, np.maximum(core[:, None], core))

    def split(members):
        """(lambda, parts) at the level below which the members are no longer connected."""
        inside = reach[np.ix_(members, members)]
        levels = np.unique(inside[~np.eye(len(members), dtype=bool)])
        level = levels[bisect_left(levels, True, key=lambda one: connected_components(inside <= one)[0] == 1)]
        numbers = connected_components(inside < level)[1]
        with np.errstate(divide="ignore"):
            return 1 / level, [members[numbers == number] for number in range(numbers.max() + 1)]

    def grow(members, birth):
        """(members, stability, children) of a cluster."""
        stability, present = 0.0, members
        while True:
            density, parts = split(present)
            large = [part for part in parts if len(part) >= smallest]
            stability += sum(len(part) for part in parts if len(part) < smallest) * (density - birth)
            if len(large) != 1:
                stability += sum(len(part) for part in large) * (density - birth) if large else 0.0
                return members, stability, [grow(part, density) for part in large]
            (present,) = large

    def select(node):
        members, stability, children = node
        if not children:
            return stability, [members]
        below = [select(child) for child in children]
        total, chosen = sum(one for one, _ in below), [part for _, parts in below for part in parts]
        if selection == "excess_of_mass" and stability >= total:
            return stability, [members]
        return total, chosen

    labels = np.full(len(points_ND), -1)
    for number, members in enumerate(
        part for child in grow(np.arange(len(labels)), 0.0)[2] for part in select(child)[1]
    ):
        labels[members] = number
    return labels


@given(
    st.integers(0, 2**31 - 1),
    st.integers(5, 60),
    st.sampled_from(["blobs", "uniform", "grid"]),
    st.integers(2, 12),
    st.integers(1, 12),
    selections,
)
@settings(max_examples=60)
def test_clusters_match_the_definition_where_distances_are_equal(seed, samples, kind, smallest, neighbours, selection):
    random = np.random.default_rng(seed)
    grid = random.integers(0, 4, (samples, 2)).astype(np.float64)
    points_ND = grid if kind == "grid" else draw_points(seed, samples, kind, 2)
    labels, _ = cluster(points_ND, smallest, neighbours, selection)
    expected = cluster_by_definition(points_ND, smallest, neighbours, selection)
    assert adjusted_rand_score(expected, labels) == 1.0
    np.testing.assert_array_equal(expected < 0, labels < 0)


grids = st.builds(
    lambda seed, samples, size: np.random.default_rng(seed).integers(0, 30, (samples, size)).astype(np.float64),
    st.integers(0, 2**31 - 1),
    st.integers(5, 120),
    st.sampled_from([1, 2]),
)


def check_order(points_ND, smallest, neighbours, selection, shuffles=1):
    labels, probability = cluster(points_ND, smallest, neighbours, selection)
    for seed in range(shuffles):
        order = np.random.default_rng(seed).permutation(len(points_ND))
        labels_there, probability_there = cluster(points_ND[order], smallest, neighbours, selection)
        assert adjusted_rand_score(labels[order], labels_there) == 1.0
        np.testing.assert_array_equal(labels[order] < 0, labels_there < 0)
        np.testing.assert_allclose(probability[order], probability_there)


@given(points | grids, st.integers(2, 40), st.integers(1, 30), selections)
@settings(max_examples=50)
def test_order_of_the_points_changes_nothing(points_ND, smallest, neighbours, selection):
    check_order(points_ND, smallest, neighbours, selection)


def test_order_in_which_stabilities_are_added_changes_nothing():
    """Whole numbers on a line, where a cluster is often just as stable as its parts together."""
    for seed in range(20):
        points_ND = np.random.default_rng(seed).integers(0, 100, (44, 1)).astype(np.float64)
        check_order(points_ND, 2, 1, "excess_of_mass", shuffles=6)


def make_heaps(size=5, points=100):
    """Two heaps of so many points each, one after the other."""
    random = np.random.default_rng(0)
    values = random.normal(size=(2 * points, size)) + 20 * np.repeat([0, 1], points)[:, None]
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("scale", [1e20, 1e30, 1e-24, 1e-35])
def test_scale_of_the_points_changes_nothing(scale):
    config = DiscoverConfig(min_cluster_fraction=0.1)
    expected = torch_hdbscan.cluster_torch_hdbscan(make_heaps(), config, 0)
    found = torch_hdbscan.cluster_torch_hdbscan(make_heaps() * scale, config, 0)
    assert np.bincount(expected.labels + 1).tolist()[1:] == [100, 100]
    assert adjusted_rand_score(expected.labels, found.labels) == 1.0


def test_point_far_away_is_noise_alone():
    points_ND = make_heaps()
    points_ND[7, 2] = 3e19
    found = torch_hdbscan.cluster_torch_hdbscan(points_ND, DiscoverConfig(min_cluster_fraction=0.1), 0)
    assert np.flatnonzero(found.labels < 0).tolist() == [7]
    assert found.probability[7] == 0
    assert len(set(found.labels)) == 3


def test_clustering_gives_the_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        torch_hdbscan.cluster_torch_hdbscan(make_heaps(), DiscoverConfig(), 0)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def assign(points_ND, **keys):
    return torch_hdbscan.cluster_torch_hdbscan(
        torch.from_numpy(points_ND.astype(np.float32)), DiscoverConfig(**keys), 0
    )


@given(points, st.integers(1, 12), selections)
@settings(max_examples=60)
def test_known_points_are_predicted_as_they_are(points_ND, neighbours, selection):
    found = assign(points_ND, min_samples=neighbours, selection=selection, min_cluster_fraction=0.1)
    labels, probability = found.predict(torch.from_numpy(points_ND.astype(np.float32)))
    np.testing.assert_array_equal(labels, found.labels)
    np.testing.assert_array_equal(probability, found.probability)


@given(points, st.integers(1, 12))
@settings(max_examples=60)
def test_reachability_matches_its_definition(points_ND, neighbours):
    known, new = points_ND[1::2], points_ND[::2]
    neighbours = min(neighbours, len(known))
    distances = pairwise_distances(new, known)
    core = np.sort(pairwise_distances(known), axis=1)[:, min(neighbours, len(known) - 1)]
    reach = np.maximum(np.maximum(distances, core), np.sort(distances, axis=1)[:, neighbours - 1 : neighbours])
    tensors = (torch.from_numpy(values) for values in (new, known, core))
    nearest, found = torch_hdbscan.find_reachable(*tensors, neighbours)
    np.testing.assert_allclose(found, reach.min(1), atol=1e-9)
    np.testing.assert_allclose(reach[np.arange(len(new)), nearest], found, atol=1e-9)


def test_new_points_are_noise_from_where_clusters_part():
    """Two heaps part at the distance between their nearest points; what is farther away from both was never in either."""
    heaps = make_heaps(2, 300).numpy()
    apart = pairwise_distances(heaps[:300], heaps[300:]).min()
    new = np.random.default_rng(0).uniform(-40, 60, (500, 2)).astype(np.float32)
    away = pairwise_distances(new, heaps)
    labels, probability = assign(heaps, min_cluster_fraction=0.1, min_samples=1).predict(torch.from_numpy(new))
    np.testing.assert_array_equal(labels < 0, away.min(1) >= apart)
    assert 100 < (labels < 0).sum() < 400
    assert (probability[labels < 0] == 0).all()
    assert adjusted_rand_score(away.argmin(1)[labels >= 0] < 300, labels[labels >= 0]) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_prediction_matches_that_of_the_library(seed):
    points_ND = make_blobs(1200, 3, centers=5, cluster_std=0.5, random_state=seed)[0].astype(np.float32)
    ours = assign(points_ND[:800], min_samples=5, min_cluster_fraction=0.05)
    model = HDBSCAN(40, min_samples=5, prediction_data=True).fit(points_ND[:800])
    labels, _ = ours.predict(torch.from_numpy(points_ND[800:]))
    expected, _ = approximate_predict(model, points_ND[800:])
    assert adjusted_rand_score(expected, labels) >= 0.99


def test_scale_of_new_points_is_that_of_the_known():
    heaps = make_heaps()
    known, new = heaps[::2], heaps[1::2]
    labels, _ = assign(known.numpy(), min_cluster_fraction=0.1).predict(new)
    scaled, _ = assign((known * 1e30).numpy(), min_cluster_fraction=0.1).predict(new * 1e30)
    np.testing.assert_array_equal(labels, scaled)
    assert len(set(labels.tolist())) == 2


@pytest.mark.parametrize(
    ("samples", "fraction", "min_samples", "expected"),
    [
        (1000, 0.02, 64, (20, 20)),
        (10000, 0.02, 64, (200, 64)),
        (1000, 0.1, 0, (100, 100)),
        (300, 0.02, 64, (15, 15)),
        (2, 0.02, 64, (2, 2)),
    ],
)
def test_sizes_follow_the_config(samples, fraction, min_samples, expected):
    config = DiscoverConfig(min_cluster_fraction=fraction, min_samples=min_samples)
    assert choose_sizes(samples, config) == expected


@pytest.mark.parametrize("selection", sorted(SELECTIONS))
def test_config_reaches_both_backends(selection):
    points_ND = torch.from_numpy(make_blobs(400, 2, centers=4, random_state=3)[0].astype(np.float32))
    config = DiscoverConfig(min_cluster_fraction=0.02, min_cluster_size=2, min_samples=1, selection=selection)
    ours = torch_hdbscan.cluster_torch_hdbscan(points_ND, config, 0)
    assert adjusted_rand_score(hdbscan.cluster_hdbscan(points_ND, config, 0).labels, ours.labels) == 1.0
    assert adjusted_rand_score(cluster(points_ND.numpy().astype(np.float64), 8, 1, selection)[0], ours.labels) == 1.0
    assert ours.backend == "torch HDBSCAN, cpu"
