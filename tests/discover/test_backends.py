"""One contract for every clusterer on every backend that is present, and what leaves the device."""

import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.data.schema import Manifest
from detaux.discover import backends
from detaux.discover.backends import CLUSTERERS, Backend, load_clusterer, select_backend
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import propose_baselines, propose_from_model
from detaux.discover.cluster import cluster_points, complete_labels
from detaux.discover.judging_pairs import draw_judging_pairs
from detaux.discover.scores import score_candidates, score_clusters
from detaux.disentangle.embed import Embeddings
from detaux.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MANIFEST = Manifest("drawn", "packed", 8, 3, ["dark", "mid", "light"], "red", {"red": 3, "green": 5}, {}, [])
HAS_CUML = torch.cuda.is_available() and select_backend("auto", "hdbscan", GPU).name == "cuml"


def list_places():
    """(clusterer, backend, device) of everything in the table that can run here."""
    for clusterer, functions in CLUSTERERS.items():
        for backend in functions:
            devices = [CPU] if backend != "cuml" else []
            devices += (
                [GPU] if (HAS_CUML if backend == "cuml" else backend == "torch" and torch.cuda.is_available()) else []
            )
            for device in devices:
                marks = [pytest.mark.gpu] if device == GPU else []
                yield pytest.param((clusterer, backend, device), marks=marks, id=f"{clusterer}-{backend}-{device}")


@pytest.fixture(params=list_places())
def clusterer(request):
    """cluster(points, **discover keys) by one entry of the table, and cluster.assign, the bare function of that entry."""
    name, backend, device = request.param

    def build(keys):
        return DiscoverConfig(clusterer=name, backend=backend, **{"clusters": 3, "bandwidth_quantile": 0.3, **keys})

    def cluster(points, seed=0, **keys):
        return cluster_points(points.to(device), build(keys), seed)

    cluster.assign = lambda points, **keys: load_clusterer(name, backend)(points.to(device), build(keys), 0)
    cluster.name, cluster.device = name, device
    return cluster


def test_blobs_are_found_and_numbered_by_size(clusterer, make_blobs):
    points, truth = make_blobs(sizes=(80, 200, 140))
    found = clusterer(points)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert np.bincount(found.labels + 1)[1:].tolist() == [200, 140, 80]
    assert found.backend
    assert found.seconds > 0


def test_blobs_far_from_the_origin_are_found(clusterer, make_blobs):
    points, truth = make_blobs()
    assert adjusted_rand_score(truth, clusterer(points + 5000).labels) > 0.99


def test_probabilities_are_shares_and_those_of_noise_are_zero(clusterer, make_blobs):
    points, truth = make_blobs(noise=60, spread=0.1)
    found = clusterer(points)
    assert found.labels.shape == found.probability.shape == truth.shape
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    assert (found.probability[found.labels < 0] == 0).all()
    assert found.probability[truth >= 0].mean() > 0.5


def test_noise_is_marked_where_the_clusterer_knows_noise(clusterer, make_blobs):
    points, truth = make_blobs(noise=60, spread=0.1)
    share = (clusterer(points).labels[truth < 0] < 0).mean()
    assert share > 0.9 if clusterer.name == "hdbscan" else share == 0


def test_duplicates_go_together(clusterer):
    corners = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    found = clusterer(corners.repeat_interleave(torch.tensor([50, 40, 30]), 0))
    assert np.bincount(found.labels).tolist() == [50, 40, 30]
    assert (found.probability == 1).all()


def test_coinciding_points_are_one_cluster(clusterer):
    found = clusterer(torch.full((30, 3), 7.0))
    assert (found.count, found.outlier_fraction) == (1, 0.0)
    assert (found.probability == 1).all()


@pytest.mark.parametrize("samples", [2, 5])
def test_few_points_are_enough(clusterer, samples):
    points = torch.randn(samples, 3, generator=torch.Generator().manual_seed(0))
    found = clusterer(points, clusters=10, min_cluster_fraction=1.0, bandwidth_quantile=0.1)
    assert found.labels.shape == (samples,)
    assert found.count <= samples


def test_clusters_repeat_with_the_seed(clusterer, make_blobs):
    points, _ = make_blobs(noise=60)
    first, second = (clusterer(points, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.probability, second.probability)


def test_shuffled_rows_keep_their_clusters(clusterer, make_blobs):
    points, _ = make_blobs()
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(5))
    np.testing.assert_array_equal(clusterer(points[order]).labels, clusterer(points).labels[order])


def test_new_points_join_the_cluster_they_lie_in(clusterer, make_blobs):
    points, truth = make_blobs(sizes=(200, 150, 100))
    found = clusterer.assign(points[:300])
    labels, probability = found.predict(points[300:].to(clusterer.device))
    assert adjusted_rand_score(np.concatenate([found.labels, labels]), truth) > 0.99
    assert ((probability >= 0) & (probability <= 1)).all()
    assert labels.shape == probability.shape == (150,)


def test_no_new_point_joins_where_all_is_noise(clusterer):
    points = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    found = clusterer.assign(points, min_cluster_fraction=1.0)
    labels, probability = found.predict(points[:5].to(clusterer.device) + 0.01)
    if clusterer.name == "hdbscan":
        assert labels.tolist() == [-1] * 5
        assert probability.tolist() == [0] * 5


def test_every_clusterer_the_config_allows_has_every_backend_or_torch():
    allowed = DiscoverConfig.__annotations__["clusterer"].__args__
    wanted = set(DiscoverConfig.__annotations__["backend"].__args__) - {"auto"}
    assert set(allowed) == set(CLUSTERERS)
    for name in allowed:
        assert {"cpu", "torch"} <= set(CLUSTERERS[name]) <= wanted
        assert load_clusterer(name, "cpu") is not load_clusterer(name, "torch")


def test_automatic_backend_follows_the_device(monkeypatch):
    assert select_backend("auto", "hdbscan", CPU).name == "cpu"
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert select_backend("auto", "hdbscan", GPU) == Backend("torch", select_backend("auto", "kmeans", GPU).reason)
    assert "cuML cannot be imported" in select_backend("auto", "hdbscan", GPU).reason
    monkeypatch.setattr(backends, "_find_cuml_fault", lambda device: None)
    assert select_backend("auto", "hdbscan", GPU).name == "cuml"
    assert select_backend("cuml", "kmeans", GPU).name == "cuml"
    assert select_backend("cuml", "meanshift", GPU) == ("torch", "cuML has no meanshift")
    assert select_backend("torch", "hdbscan", GPU).name == select_backend("torch", "hdbscan", CPU).name == "torch"
    assert select_backend("cpu", "hdbscan", GPU).name == "cpu"


@pytest.mark.parametrize("device", [CPU, GPU])
def test_cuml_that_cannot_run_is_refused(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(UserError, match=r"discover\.backend=cuml cannot run"):
        select_backend("cuml", "hdbscan", device)


def allow_bytes(samples):
    """Labels and probabilities, order of the blocks, edges of a tree that each of their ends may offer, and some scalars."""
    return samples * (8 + 4) + samples * 8 + 2 * samples * (8 + 8 + 4) + 2**13


@pytest.mark.parametrize("name", CLUSTERERS)
def test_clustering_in_torch_reads_labels_and_edges_alone(name, far_device, make_blobs):
    points, truth = make_blobs(sizes=(700, 500, 300), dims=64)
    config = DiscoverConfig(clusterer=name, backend="torch", clusters=3, bandwidth_quantile=0.3)
    far = points.to("cuda")
    found = cluster_points(far, config, 0)
    assert found.backend.endswith("cuda")
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert max(far_device.reads) <= 8 * len(points)
    assert sum(far_device.reads) <= allow_bytes(len(points)) < points.nbytes / 2
    np.testing.assert_array_equal(found.labels, cluster_points(points, config, 0).labels)


def test_embeddings_that_are_read_are_seen(far_device, make_blobs):
    points, _ = make_blobs(dims=16)
    cluster_points(points.to("cuda"), DiscoverConfig(backend="cpu"), 0)
    assert max(far_device.reads) == points.nbytes
    far_device.reads.clear()
    _, _, _ = points.to("cuda")[0, 0].item(), points.to("cuda")[0].tolist(), bool(points.to("cuda")[0, 0] > 0)
    assert far_device.reads == [4, 64, 1]


def test_discovery_in_torch_reads_columns_and_scores_alone(far_device, make_split):
    """Clustering, merging, baselines and all scores of subspaces that lie on a device."""
    split, random = make_split(samples=300), torch.Generator().manual_seed(0)
    spread = torch.nn.functional.one_hot(split.factors, 64).float()
    subspaces = torch.cat([10 * spread, torch.randn(300, 1, 64, generator=random)], 1)
    subspaces += 0.1 * torch.randn(subspaces.shape, generator=random)
    config = Config(discover=DiscoverConfig(backend="torch", stability_samples=1))
    results = []
    for device in ("cpu", "cuda"):
        far_device.reads.clear()
        embeddings = Embeddings(subspaces.to(device), subspaces.sum(1).to(device))
        labels = np.where(np.arange(300) % 3, split.labels.numpy(), -1)
        np.testing.assert_array_equal(complete_labels(embeddings.subspaces_NKD[:, 0], labels), split.labels)
        embedded = EmbeddedSplit(embeddings, 0, labels)
        candidates, baselines = propose_from_model(embedded, config), propose_baselines(embedded, config)
        score_candidates(candidates, embeddings, draw_judging_pairs(split, config), split, config, 0)
        for one in [*candidates, *baselines]:
            score_clusters(one, split, MANIFEST, config)
        results.append([one.scores for one in [*candidates, *baselines]])
    assert max(far_device.reads) <= 8 * 300
    for near, far in zip(*results, strict=True):
        assert far == pytest.approx(near, abs=1e-5)
