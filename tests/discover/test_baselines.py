import numpy as np
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.baselines import build_baselines, cluster_within_class


def test_baselines_match_blobs_of_the_latents(make_blobs):
    points, truth = make_blobs()
    found = {
        one.name: one for one in build_baselines(points, np.zeros(len(points), int), DiscoverConfig(clusters=3), 0)
    }
    assert list(found) == ["latents", "latents_within_class", "kmeans_latents"]
    for one in found.values():
        assert adjusted_rand_score(truth, one.clusters.labels) > 0.99
        assert one.subspaces == ()


def test_within_class_labels_rank_clusters_of_each_class(make_blobs):
    points, blobs = make_blobs(sizes=(200, 120, 180, 90), spread=0.1)
    principal = blobs // 2
    found = cluster_within_class(points, principal, DiscoverConfig(), 0)
    np.testing.assert_array_equal(found.labels, blobs % 2)


def test_within_class_keeps_noise(make_blobs):
    points, truth = make_blobs(noise=80, spread=0.1)
    found = cluster_within_class(points, np.arange(len(points)) % 2, DiscoverConfig(min_cluster_fraction=0.1), 0)
    assert (found.labels[truth < 0] < 0).mean() > 0.8
    assert found.count == 3


def test_baselines_recluster_as_they_clustered(make_blobs):
    points, _ = make_blobs(noise=60)
    rows = np.arange(len(points))
    _, *special = build_baselines(points, rows % 2, DiscoverConfig(clusters=4), 0)
    for one in special:
        np.testing.assert_array_equal(one.recluster(rows, 0).labels, one.clusters.labels)
