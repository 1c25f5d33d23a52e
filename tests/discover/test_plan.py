import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover import helper, plan
from detaux.discover.cluster import cluster_points
from detaux.discover.clusterers import Assignment
from detaux.discover.plan import (
    GIB,
    MARGIN,
    PROBES,
    ClusteringPlan,
    Cost,
    Speed,
    estimate_bytes,
    fit_power_law,
    format_seconds,
    plan_clustering,
)
from detaux.discover.subsample import draw_rows
from detaux.errors import UserError

SAMPLES = 200_000


@pytest.fixture
def plan_for(monkeypatch):
    """plan_for(keys) of points that take n^1.5 / 10^6 seconds to cluster and a millisecond to predict."""
    monkeypatch.setattr(plan, "measure_speed", lambda *_: Speed(1e-6, 1.5, 1e-3))
    points = torch.zeros(1, 4).expand(SAMPLES, 4)
    return lambda backend="cpu", **keys: plan_clustering(points, None, "hdbscan", backend, DiscoverConfig(**keys), 0)


@pytest.fixture
def small_plans(monkeypatch):
    """Plans for a hundred points on, with probes as small."""
    monkeypatch.setattr(plan, "FEWEST_PLANNED", 100)
    monkeypatch.setattr(plan, "PROBES", (40, 40, 80))
    monkeypatch.setattr(plan, "PREDICTED", 20)


@given(st.floats(1e-9, 1e-3), st.floats(1, 2.5))
def test_power_law_is_that_behind_the_times(factor, exponent):
    sizes = PROBES[1:]
    found = fit_power_law(sizes, [factor * size**exponent for size in sizes])
    assert found == pytest.approx((factor, exponent), rel=1e-6)


def test_power_law_is_at_least_linear_and_meets_the_largest_size():
    factor, exponent = fit_power_law([1000, 2000, 4000], [1.0, 0.9, 0.8])
    assert exponent == 1.0
    assert factor * 4000 == pytest.approx(0.8)


@pytest.mark.parametrize(("dims", "least"), [(1, 1.0), (17, 1.25), (65, 2.0), (768, 2.0)])
def test_power_law_of_many_dimensions_is_nearer_to_all_pairs(dims, least):
    assert fit_power_law([1000, 2000, 4000], [1.0, 2.0, 4.0], dims)[1] == pytest.approx(least)
    assert fit_power_law([1000, 2000, 4000], [1.0, 8.0, 64.0], dims)[1] == pytest.approx(3.0)


def test_points_that_fit_are_clustered_whole(plan_for):
    found = plan_for()
    assert found.is_whole
    assert found.seconds == pytest.approx(1e-6 * SAMPLES**1.5)
    assert found.gib == estimate_bytes("hdbscan", "cpu", SAMPLES, 4, DiscoverConfig()) / GIB
    assert plan_for(max_seconds=0.0, max_memory=0.0).is_whole


@pytest.mark.parametrize("limit", [{"max_seconds": 80.0}, {"max_memory": 0.1}])
def test_subsample_is_the_largest_that_fits(limit, plan_for, monkeypatch):
    monkeypatch.setattr(plan, "measure_speed", lambda *_: Speed(1e-6, 1.5, 1e-9))
    found = plan_for(**limit)
    assert PROBES[-1] < found.clustered < SAMPLES
    (name, most), values = *limit.items(), (found.seconds, found.gib)
    value = MARGIN * values[0] if name == "max_seconds" else values[1]
    assert 0.999 * most < value <= most


def test_subsample_leaves_time_for_the_prediction(plan_for):
    found = plan_for(max_seconds=600.0, max_memory=0.1)
    clustered, rest = found.clustered, SAMPLES - found.clustered
    assert found.seconds == pytest.approx(1e-6 * clustered**1.5 + 1e-3 * rest * (clustered / PROBES[-1]) ** 0.5)


def test_subsample_is_never_smaller_than_a_probe_which_may_be_too_large(plan_for, monkeypatch):
    assert plan_for(max_memory=1e-6).clustered == PROBES[-1]
    monkeypatch.setattr(plan, "measure_speed", lambda *_: Speed(1e-6, 1.5, 1e-9))
    assert plan_for(max_seconds=0.26).clustered == PROBES[-1]
    with pytest.raises(
        UserError, match=r"discover\.max_seconds=0\.2: clustering 4000 of them and .* about 0\.25 s; raise it"
    ):
        plan_for(max_seconds=0.2)


@pytest.mark.parametrize(
    ("samples", "dims", "clusterer", "is_planned"),
    [
        (plan.FEWEST_PLANNED - 1, 9, "hdbscan", False),
        (plan.FEWEST_PLANNED, 1, "hdbscan", True),
        (19_000, 768, "hdbscan", True),
        (2880, 16, "hdbscan", False),
        (2300, 768, "kmeans", True),
        (SAMPLES, 1, "meanshift", False),
    ],
)
def test_plan_is_made_where_a_clustering_may_take_long(samples, dims, clusterer, is_planned, monkeypatch):
    monkeypatch.setattr(plan, "measure_speed", lambda *_: Speed(1e-9, 1.0, 0.0))
    points = torch.zeros(1, 1).expand(samples, dims)
    found = plan_clustering(points, None, clusterer, "cpu", DiscoverConfig(), 0)
    assert (found is not None) == is_planned


def test_probes_of_few_points_are_a_fifth_of_them_and_stop_before_a_limit(monkeypatch):
    sizes, clock = [], [0.0]
    monkeypatch.setattr(plan.time, "perf_counter", lambda: clock[0])

    def cluster(points):
        sizes.append(len(points))
        clock[0] += (len(points) / 1000) ** 2
        return Assignment(np.zeros(len(points)), np.ones(len(points)), "by hand", lambda new: (new, new))

    points = torch.zeros(10_000, 768)
    assert plan.measure_speed(points, cluster, 0).largest == 2000
    assert sizes == [500, 500, 1000, 2000]
    sizes.clear()
    assert plan.measure_speed(points, cluster, 0, 8.0).largest == 1000  # the next may take 4 of 8 seconds
    assert sizes == [500, 500, 1000]


@pytest.mark.parametrize("backend", ["cpu", "torch", "cuml"])
@pytest.mark.parametrize("clusterer", ["hdbscan", "kmeans"])
def test_memory_grows_with_points_and_not_with_their_pairs(clusterer, backend):
    config = DiscoverConfig()
    small, large = (estimate_bytes(clusterer, backend, samples, 10, config) for samples in (10**5, 10**6))
    assert 1 < large / small < 15


def test_probes_cluster_distinct_points_and_predict_others(small_plans):
    seen = []

    def cluster(points):
        seen.append(points[:, 0].tolist())
        predict = lambda new: seen.append(len(new)) or (np.zeros(len(new)), np.ones(len(new)))  # noqa: E731
        return Assignment(np.zeros(len(points)), np.ones(len(points)), "by hand", predict)

    speed = plan.measure_speed(torch.arange(400.0)[:, None], cluster, 0)
    assert [len(set(part)) for part in seen[:3]] == [40, 40, 80]
    assert seen[3:] == [1, 20]
    assert speed.prediction > 0


@pytest.mark.parametrize("name", ["hdbscan", "kmeans"])
@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_rest_of_a_subsample_is_predicted(name, backend, small_plans, make_blobs, capsys):
    points, truth = make_blobs(sizes=(300, 200, 100))
    config = DiscoverConfig(clusterer=name, backend=backend, clusters=3, max_memory=1e-9)
    found = cluster_points(points, config, 0)
    assert adjusted_rand_score(truth, found.labels) > 0.97
    assert found.cost.plan.clustered == 80
    assert found.cost.to_row()["clustered"] == 80
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("discover: plan for 600 x 4, of which 80 are clustered and the rest predicted: about")
    assert "planned" in printed[-1]  # a loaded machine prints its progress in between
    np.testing.assert_array_equal(found.labels, cluster_points(points, config, 0).labels)


def test_plan_of_a_whole_changes_no_label(small_plans, make_blobs, monkeypatch):
    points, _ = make_blobs()
    planned = cluster_points(points, DiscoverConfig(), 0)
    monkeypatch.setattr(plan, "FEWEST_PLANNED", 10**6)
    plain = cluster_points(points, DiscoverConfig(), 0)
    np.testing.assert_array_equal(planned.labels, plain.labels)
    assert (planned.cost.plan.is_whole, plain.cost) == (True, None)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_limit_that_passes_ends_with_a_sentence(backend, small_plans, make_blobs, monkeypatch):
    points, _ = make_blobs(sizes=(300, 200, 100))
    monkeypatch.setattr(plan, "measure_speed", lambda *_: Speed(1e-12, 1.0, 0.0, 80))  # far too hopeful
    monkeypatch.setattr(helper, "POLL_SECONDS", 0.0)
    config = DiscoverConfig(backend=backend, max_seconds=1e-6)
    with pytest.raises(
        UserError, match=r"600 x 4 points by hdbscan took longer than discover\.max_seconds=1e-06 \(planned: 6e-10 s\)"
    ):
        cluster_points(points, config, 0)


def test_cost_says_what_was_planned():
    cost = Cost(ClusteringPlan(10, 2, 10, 240.0, 1.5), 3.14159, 0.25)
    assert cost.describe() == "took 3.1 s (4 min planned), peak memory +0.25 GiB (1.5 planned)"
    assert cost.to_row()["planned_seconds"] == 240.0
    assert [format_seconds(value) for value in (0.0123, 99.4, 100, 7200)] == ["0.012 s", "99 s", "2 min", "120 min"]


def test_rows_are_drawn_once_each_and_repeat_with_the_seed():
    rows = draw_rows(50, 20, 1)
    assert len(set(rows.tolist())) == 20
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, draw_rows(50, 20, 1))
    assert not np.array_equal(rows, draw_rows(50, 20, 2))
