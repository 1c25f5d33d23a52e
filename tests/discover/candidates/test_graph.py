from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import v_measure_score

from detaux.config import Config
from detaux.config.schema import DataConfig, DiscoverConfig, RunConfig
from detaux.data.split import Split
from detaux.discover.candidates import graph
from detaux.discover.candidates.graph import draw_graph_rows, propose_graph
from detaux.discover.candidates.registry import propose_from_images

SHADES = ((0, 90, 250), (20, 140, 255, 70), (10, 200, 110))  # of three bars; the last one is the principal factor
CONFIG = Config(discover=DiscoverConfig(sources=["graph"], min_cluster_size=5))


@pytest.fixture
def split():
    factors = np.array(list(product(*(range(len(shades)) for shades in SHADES))))
    bars = np.stack([np.array(shades)[column] for shades, column in zip(SHADES, factors.T, strict=True)], 1)
    images = bars[:, None, :, None].repeat(8, 1).repeat(3, 2).astype(np.uint8)  # [36, 8, 9, 1]
    return make_split(images, factors[:, 2], factors)


def make_split(images, labels, factors):
    rows = [torch.from_numpy(np.ascontiguousarray(array)) for array in (images, labels, factors)]
    return Split(rows[0], rows[1], [str(row) for row in range(len(labels))], rows[2])


def take(split, rows):
    return make_split(split.images.numpy()[rows], split.labels.numpy()[rows], split.factors.numpy()[rows])


def match(split, found):
    """Return the factor that each candidate's labels equal."""
    factors = split.factors.numpy().T
    scores = np.array([[v_measure_score(column, one.clusters.labels) for column in factors] for one in found])
    assert (scores.max(1) == 1).all()
    return scores.argmax(1).tolist()


def test_candidates_equal_the_hidden_factors(split):
    found = propose_from_images(split, None, CONFIG)
    assert sorted(match(split, found)) == [0, 1]
    assert [one.title for one in found] == ["graph factor 1", "graph factor 2"]
    assert [one.source for one in found] == ["graph", "graph"]
    for one in found:
        assert one.recluster is None
        assert one.subspaces == ()
        assert one.points_ND.shape == (36, 1)  # one number says how light a bar is
        assert (one.clusters.probability == 1).all()
        for value in range(one.clusters.count):  # images of one value are one point
            assert one.points_ND[torch.from_numpy(one.clusters.labels == value)].std() < 1e-3


def test_graph_is_not_asked_by_default(split):
    assert propose_from_images(split, None, Config()) == []


def test_copies_do_not_hide_the_factors(split):
    doubled = take(split, np.repeat(np.arange(36), 3))
    found = propose_graph(doubled, None, CONFIG)
    assert sorted(match(doubled, found)) == [0, 1]
    assert draw_graph_rows(doubled.images, 0).tolist() == list(range(0, 108, 3))
    for one in found:  # only the image in the graph is sure
        assert one.clusters.probability.sum() == 36


def test_images_beyond_the_cap_join_the_nearest_without_probability(split, monkeypatch, capsys):
    monkeypatch.setattr(graph, "MOST_IMAGES", 33)
    found = propose_graph(split, None, CONFIG)
    assert "33 of 36 images" in capsys.readouterr().out
    assert found
    for one in found:
        assert (one.clusters.probability > 0).sum() <= 33
        assert one.clusters.outlier_fraction == 0
    monkeypatch.setattr(graph, "MOST_IMAGES", 36)
    assert len(draw_graph_rows(split.images, 0)) == 36


def test_sample_of_the_graph_depends_on_the_seed(split, monkeypatch):
    monkeypatch.setattr(graph, "MOST_IMAGES", 20)
    first, same, other = (draw_graph_rows(split.images, seed) for seed in (0, 0, 1))
    assert first.tolist() == same.tolist() != other.tolist()


def test_value_smaller_than_the_smallest_cluster_makes_no_candidate(split):
    for keys in ({"min_cluster_size": 10}, {"min_cluster_fraction": 0.3, "min_cluster_size": 2}):
        config = Config(discover=DiscoverConfig(**keys))  # factor 0 has 12 images a value, factor 1 has 9
        assert set(match(split, propose_graph(split, None, config))) <= {0}


def test_unlabelled_images_are_in_the_graph(split):
    split.labels[::2] = -1
    assert sorted(match(split, propose_graph(split, None, CONFIG))) == [0, 1]
    split.labels[:] = -1
    assert sorted(match(split, propose_graph(split, None, CONFIG))) == [0, 1, 2]


def test_noise_of_training_is_removed_again(split, monkeypatch):
    seen = []
    monkeypatch.setattr(graph, "describe_images", lambda images, *more: seen.append(more) or torch.zeros(36, 2))
    propose_graph(split, None, Config(run=RunConfig(seed=7), data=DataConfig(noise=0.1)))
    assert seen == [(0.1, 7)]


def test_noise_has_no_candidate():
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(300) % 2
    assert propose_graph(make_split(images, labels, labels[:, None]), None, CONFIG) == []
