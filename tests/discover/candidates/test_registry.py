import dataclasses

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import BASELINES, FROM_IMAGES, FROM_MODEL, propose_baselines
from detaux.disentangle.embed import Embeddings

KINDS = FROM_MODEL | FROM_IMAGES | BASELINES


def propose(points, labels, **keys):
    embedded = EmbeddedSplit(Embeddings(points[:, None], points), 0, labels)
    return propose_baselines(embedded, Config(discover=DiscoverConfig(**keys)))


@pytest.mark.parametrize("name", list(KINDS))
def test_kind_has_the_name_of_its_file(name):
    propose = KINDS[name]
    assert propose.__module__ == f"detaux.discover.candidates.{name}"


def test_sources_are_those_that_the_config_takes():
    (sources,) = (one for one in dataclasses.fields(DiscoverConfig) if one.name == "sources")
    assert sorted(sources.metadata["choices"]) == sorted(FROM_MODEL | FROM_IMAGES)


def test_baselines_match_blobs_of_the_latents(make_blobs):
    points, truth = make_blobs()
    found = {one.name: one for one in propose(points, np.zeros(len(points), int), clusters=3)}
    assert list(found) == list(BASELINES) == ["latents", "latents_within_class", "kmeans_latents"]
    for one in found.values():
        assert adjusted_rand_score(truth, one.clusters.labels) > 0.99
        assert one.subspaces == ()


def test_baselines_recluster_as_they_clustered(make_blobs):
    points, _ = make_blobs(noise=60)
    rows = np.arange(len(points))
    _, *special = propose(points, rows % 2, clusters=4)
    for one in special:
        np.testing.assert_array_equal(one.recluster(rows, 0).labels, one.clusters.labels)
