import numpy as np
import torch

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.latents_within_class import cluster_within_class, propose_latents_within_class
from detaux.disentangle.embed import Embeddings


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


def test_image_without_a_label_is_clustered_with_the_class_nearest_in_the_principal_subspace(make_blobs):
    points, blobs = make_blobs(sizes=(200, 120, 180, 90), spread=0.1)
    principal = blobs // 2
    subspaces_NKD = torch.from_numpy(principal)[:, None, None].float()  # one subspace, which holds the principal label
    hidden = np.where(np.arange(len(points)) % 3, principal, -1)
    found = [
        propose_latents_within_class(EmbeddedSplit(Embeddings(subspaces_NKD, points), 0, labels), Config())[0]
        for labels in (principal, hidden)
    ]
    np.testing.assert_array_equal(found[0].clusters.labels, found[1].clusters.labels)
