import numpy as np
import pytest
import torch

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.mixture import propose_mixtures
from detaux.discover.candidates.registry import propose_from_model
from detaux.disentangle.embed import Embeddings

COUNT = 1000


@pytest.fixture
def embedded():
    """Subspace 1 is a line with two values that touch, 2 is a line without parts, 3 is a plane with two values."""
    random = np.random.default_rng(0)
    value = random.random(COUNT) < 0.4
    touching = np.where(value, 1.0, -1.0) + random.normal(0, 0.6, COUNT)
    direction = random.normal(size=(3, 3))
    subspaces = np.zeros((COUNT, 4, 3))
    subspaces[:, 1] = touching[:, None] * direction[0]
    subspaces[:, 2] = random.normal(size=(COUNT, 1)) * direction[1]
    subspaces[:, 3, :2] = value[:, None] + random.normal(0, 0.1, (COUNT, 2))
    subspaces_NKD = torch.from_numpy(subspaces.astype(np.float32))
    return value, EmbeddedSplit(Embeddings(subspaces_NKD, subspaces_NKD.sum(1)), 0, np.zeros(COUNT, int), restart=1)


def test_line_with_two_values_that_touch_is_split_between_them(embedded):
    value, split = embedded
    (one,) = propose_mixtures(split, Config())
    assert one.subspaces == (1,)
    assert one.title == "mixture of subspace 1"
    assert one.cuts_on_purpose
    found = one.clusters.labels == 1  # the smaller part
    assert (found == value).mean() > 0.93
    wrong = found != value
    assert one.clusters.probability[wrong].mean() < one.clusters.probability[~wrong].mean()
    again = one.recluster(np.arange(0, COUNT, 2), 5)
    assert (again.labels == one.clusters.labels[::2]).mean() > 0.97


def test_mixtures_are_proposed_only_if_asked_for(embedded):
    _, split = embedded
    plain, both = (
        propose_from_model(split, Config(discover=DiscoverConfig(sources=sources)))
        for sources in (["subspace"], ["subspace", "mixture"])
    )
    assert [one.source for one in both] == [*(one.source for one in plain), "mixture"]
    assert both[-1].restart == 1
    assert both[-1].title == "mixture of subspace 1 of restart 2"


@pytest.mark.parametrize("keys", [{"min_cluster_size": 450}, {"min_cluster_fraction": 0.45}])
def test_part_smaller_than_the_smallest_cluster_makes_no_candidate(embedded, keys):
    assert propose_mixtures(embedded[1], Config(discover=DiscoverConfig(**keys))) == []
