import numpy as np
import pytest
import torch

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import propose_from_model
from detaux.disentangle.embed import Embeddings


@pytest.fixture
def embeddings():
    """Subspaces 1 and 3 each tell half of a factor with four values, 2 holds another factor, 4 a cloud without clusters."""
    random = np.random.default_rng(0)
    factor, other = random.integers(4, size=800), random.integers(3, size=800)
    noise = 0.02 * random.normal(size=(800, 5, 2))
    values = np.stack([random.integers(2, size=800), factor // 2, other, factor % 3, np.zeros(800)], axis=1)
    noise[:, 4] = random.normal(size=(800, 2))
    return embed(values[:, :, None] + noise)


def embed(subspaces_NKD):
    """Embeddings of an array, their latents the sum of the subspaces."""
    subspaces_NKD = torch.from_numpy(subspaces_NKD.astype(np.float32))
    return Embeddings(subspaces_NKD, subspaces_NKD.sum(1))


def build(embeddings, **keys):
    embedded = EmbeddedSplit(embeddings, 0, np.zeros(len(embeddings.latents_ND), int), restart=2)
    return propose_from_model(embedded, Config(discover=DiscoverConfig(**keys)))


def test_dependent_subspaces_become_one_candidate(embeddings):
    found = build(embeddings)
    assert [one.subspaces for one in found] == [(1, 3), (2,), (4,)]
    assert {one.restart for one in found} == {2}
    assert found[0].points_ND.shape == (800, 4)
    assert [one.clusters.count for one in found[:2]] == [4, 3]


def test_merge_off_keeps_every_subspace(embeddings):
    assert [one.subspaces for one in build(embeddings, merge=False)] == [(1,), (2,), (3,), (4,)]


def test_noisy_subspace_joins_where_that_makes_the_clusters_clearer(embeddings):
    """A third of subspace 3 is noise: joint with 1 it still tells all four values apart."""
    noisy = embeddings.subspaces_NKD.numpy().copy()
    noisy[:250, 3] = 0.4 * np.random.default_rng(1).normal(size=(250, 2))
    found = build(embed(noisy))
    assert [one.subspaces for one in found] == [(1, 3), (2,), (4,)]


def test_merge_that_blurs_the_clusters_of_a_member_is_undone():
    """A wide subspace whose two clusters lean on those of a clean one drowns them in the concatenation."""
    random = np.random.default_rng(0)
    clean = random.integers(4, size=1200)
    wide = (clean < 2) ^ (random.random(1200) < 0.35)
    subspaces_NKD = 0.02 * random.normal(size=(1200, 3, 2))
    subspaces_NKD[:, 1] += np.stack([clean // 2, clean % 2], axis=1)
    subspaces_NKD[:, 2] += 40 * np.stack([wide, np.zeros(1200)], axis=1) + 4 * random.normal(size=(1200, 2))
    found = build(embed(subspaces_NKD))
    assert [one.subspaces for one in found] == [(1,), (2,)]
    assert found[0].clusters.count == 4


@pytest.mark.parametrize("known", [1.0, 0.1])
def test_subspaces_of_two_factors_that_follow_the_label_stay_apart(known):
    """Subspace 0 has the label, so that an image without one finds its class there."""
    random = np.random.default_rng(0)
    label = random.integers(4, size=2000)
    one, two = ((label + (random.random(2000) > 0.8) * random.integers(1, 4, 2000)) % 4 for _ in range(2))
    angle = np.stack([label, one, two], axis=1) * np.pi / 2
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=2) + 0.02 * random.normal(size=(2000, 3, 2))
    labels_N = np.where(random.random(2000) < known, label, -1)

    def list_subspaces(labels_N):
        found = propose_from_model(EmbeddedSplit(embed(circle), 0, labels_N), Config())
        return [one.subspaces for one in found]

    assert list_subspaces(labels_N) == [(1,), (2,)]
    assert list_subspaces(np.full(2000, -1)) == [(1, 2)]
