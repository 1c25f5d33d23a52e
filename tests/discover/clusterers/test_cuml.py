"""The edge to cuML, against stand-ins for its modules that have the documented signatures and limits and compute by the
libraries for the CPU. That cuML itself does what they do, tests/discover/test_backends.py asks where it is installed."""

import sys
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType, SimpleNamespace

import hdbscan
import numpy as np
import pytest
import sklearn.cluster
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig

calls = []


def check_array(points):
    assert isinstance(points, np.ndarray), "a CuPy array is expected"
    assert points.dtype == np.float32
    assert points.flags.c_contiguous


class HDBSCAN:
    """cuml.cluster.hdbscan.HDBSCAN of cuML 26.10."""

    def __init__(
        self,
        *,
        min_cluster_size=5,
        min_samples=None,
        cluster_selection_epsilon=0.0,
        max_cluster_size=0,
        metric="euclidean",
        alpha=1.0,
        p=None,
        cluster_selection_method="eom",
        allow_single_cluster=False,
        gen_min_span_tree=False,
        verbose=False,
        output_type=None,
        prediction_data=False,
        build_algo="brute_force",
        build_kwds=None,
        device_ids=None,
    ):
        assert output_type == "cupy"
        assert cluster_selection_method in ("eom", "leaf")
        assert min_cluster_size > 1
        self.model = hdbscan.HDBSCAN(
            min_cluster_size, min_samples, cluster_selection_method=cluster_selection_method, core_dist_n_jobs=1
        )
        self.min_samples = min_samples
        calls.append(self)

    def generate_prediction_data(self):
        self.model.generate_prediction_data()

    def fit(self, X, y=None, *, convert_dtype="deprecated"):
        check_array(X)
        if not 1 <= self.min_samples <= 1023:
            raise ValueError(f"HDBSCAN requires `1 <= min_samples <= 1023`, got {self.min_samples}")
        assert self.min_samples + 1 <= len(X), "more neighbours than there are points"
        self.model.fit(X)
        self.labels_ = self.model.labels_.astype(np.int64)
        self.probabilities_ = self.model.probabilities_.astype(np.float32)
        return self


def approximate_predict(clusterer, points_to_predict, convert_dtype="deprecated"):
    check_array(points_to_predict)
    labels, probability = hdbscan.approximate_predict(clusterer.model, points_to_predict)
    return labels.astype(np.int64), probability.astype(np.float32)


class KMeans:
    """cuml.cluster.KMeans of cuML 26.10."""

    def __init__(
        self,
        *,
        n_clusters=8,
        max_iter=300,
        tol=1e-4,
        verbose=False,
        random_state=None,
        init="scalable-k-means++",
        n_init="auto",
        oversampling_factor=2.0,
        max_samples_per_batch=32768,
        device_buffer_samples=0,
        init_size=0,
        output_type=None,
    ):
        assert output_type == "cupy"
        assert init in ("scalable-k-means++", "k-means||", "k-means++", "random")
        self.init = init
        self.model = sklearn.cluster.KMeans(n_clusters, init="random", n_init=n_init, random_state=random_state)
        calls.append(self)

    def fit(self, X, y=None, sample_weight=None, *, convert_dtype="deprecated"):
        check_array(X)
        self.model.fit(X)
        self.cluster_centers_, self.labels_ = self.model.cluster_centers_, self.model.labels_
        return self


@pytest.fixture
def cuml(monkeypatch):
    """detaux.discover.clusterers.cuml on the stand-ins."""
    calls.clear()
    cupy, package, cluster, module = map(ModuleType, ("cupy", "cuml", "cuml.cluster", "cuml.cluster.hdbscan"))
    cupy.ndarray, cupy.from_dlpack = np.ndarray, np.from_dlpack
    cupy.cuda = SimpleNamespace(Device=lambda index: nullcontext())
    cluster.KMeans, module.HDBSCAN, module.approximate_predict = KMeans, HDBSCAN, approximate_predict
    for stand_in in (cupy, package, cluster, module):
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.delitem(sys.modules, "detaux.discover.clusterers.cuml", raising=False)
    yield import_module("detaux.discover.clusterers.cuml")
    del sys.modules["detaux.discover.clusterers.cuml"]


@pytest.mark.parametrize("name", ["hdbscan", "kmeans", "kmeans_plus_plus"])
def test_cuml_clusters_are_those_of_blobs(name, cuml, make_blobs):
    points, truth = make_blobs()
    found = getattr(cuml, f"cluster_cuml_{name}")(points, DiscoverConfig(clusters=3), 0)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert adjusted_rand_score(found.labels, found.predict(points + 0.01)[0]) > 0.99
    assert isinstance(found.labels, np.ndarray)
    assert found.probability.shape == truth.shape
    assert found.backend.startswith("cuML")


def test_cuml_gets_points_row_major_in_float32(cuml, make_blobs):
    points, truth = make_blobs()
    found = cuml.cluster_cuml_hdbscan(points.double().T.contiguous().T, DiscoverConfig(), 0)
    assert adjusted_rand_score(truth, found.labels) > 0.99


def test_cuml_shares_the_memory_of_the_points(cuml, make_blobs):
    points, _ = make_blobs()
    with cuml._lend(points) as array:
        assert array.ctypes.data == points.data_ptr()


def test_cuml_gets_points_around_the_origin(cuml, make_blobs, monkeypatch):
    seen = []
    monkeypatch.setattr(HDBSCAN, "fit", lambda self, X: seen.append(np.abs(X).max()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cuml.cluster_cuml_hdbscan(make_blobs()[0] + 5000, DiscoverConfig(), 0)
    assert seen[0] < 20


@pytest.mark.parametrize(
    ("samples", "min_samples", "neighbours"), [(3000, 0, 1023), (3000, 64, 64), (5, 0, 4), (2, 64, 1)]
)
def test_cuml_neighbours_keep_its_limits(samples, min_samples, neighbours, cuml, capsys):
    points = torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))
    config = DiscoverConfig(min_cluster_fraction=1.0, min_samples=min_samples)
    cuml.cluster_cuml_hdbscan(points, config, 0)
    assert calls[0].min_samples == neighbours
    assert ("at most 1023 neighbours, not 3000" in capsys.readouterr().out) == (neighbours == 1023)


def test_cuml_predicts_noise_where_all_is_noise(cuml):
    points = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    found = cuml.cluster_cuml_hdbscan(points, DiscoverConfig(min_cluster_fraction=1.0), 0)
    assert found.predict(points[:3])[0].tolist() == [-1] * 3


def test_cuml_takes_selection_start_and_no_more_centres_than_points(cuml):
    points = torch.eye(3).repeat_interleave(20, 0)
    cuml.cluster_cuml_hdbscan(points, DiscoverConfig(selection="leaf"), 0)
    cuml.cluster_cuml_kmeans(points, DiscoverConfig(), 0)
    cuml.cluster_cuml_kmeans_plus_plus(points, DiscoverConfig(), 0)
    assert calls[0].model.cluster_selection_method == "leaf"
    assert [one.init for one in calls[1:]] == ["random", "k-means++"]
    assert [one.model.n_clusters for one in calls[1:]] == [3, 3]
