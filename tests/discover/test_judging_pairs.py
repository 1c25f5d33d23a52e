import dataclasses

import numpy as np
import pytest
import torch

from detaux.config import Config
from detaux.config.schema import PairsConfig
from detaux.discover.judging_pairs import MOST_PAIRS, draw_judging_pairs, draw_same_label_pairs


@pytest.mark.parametrize("partner", ["mined", "label", "one_factor", "independent"])
def test_pairs_share_a_label_and_are_two_images(partner, make_split):
    split = make_split()
    first, second = draw_judging_pairs(split, Config(pairs=PairsConfig(partner=partner)))
    labels = split.labels.numpy()
    assert 0 < len(first) <= MOST_PAIRS
    assert (labels[first] == labels[second]).all()
    assert (first != second).all()


def test_mined_pairs_are_nearer_than_random_ones(make_split):
    split = make_split()
    pixels = split.images.flatten(1).float()
    distances = []
    for partner in ("mined", "label"):
        first, second = draw_judging_pairs(split, Config(pairs=PairsConfig(partner=partner)))
        distances.append(float((pixels[first] - pixels[second]).norm(dim=1).mean()))
    assert distances[0] < 0.6 * distances[1]


def test_pairs_do_not_depend_on_factors(make_split):
    split = make_split()
    blind = dataclasses.replace(split, factors=None)
    for partner in ("mined", "one_factor"):
        config = Config(pairs=PairsConfig(partner=partner))
        for ours, theirs in zip(draw_judging_pairs(split, config), draw_judging_pairs(blind, config), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_mined_pairs_stay_in_the_pool(make_split):
    first, second = draw_judging_pairs(make_split(), Config(pairs=PairsConfig(pool=30)))
    assert len(np.unique([first, second])) <= 30


def test_images_without_a_label_serve_in_mined_pairs_alone(make_split):
    split = make_split()
    hidden = torch.where(torch.arange(len(split.keys)) % 2 == 0, -1, split.labels)
    blind = dataclasses.replace(split, labels=hidden)
    mined, by_label = (
        np.stack(draw_judging_pairs(blind, Config(pairs=PairsConfig(partner=partner))))
        for partner in ("mined", "label")
    )
    assert (by_label % 2 == 1).all()
    assert (mined % 2 == 0).any()
    known = (mined % 2 == 1).all(0)
    labels = split.labels.numpy()
    assert (labels[mined[0, known]] == labels[mined[1, known]]).all()


def test_same_label_pairs_reach_every_pair():
    labels = np.array([1, 0, 1, 0, 1, 2])
    first, second = draw_same_label_pairs(labels, 500, np.random.default_rng(0))
    expected = {(a, b) for a in range(6) for b in range(6) if a != b and labels[a] == labels[b]}
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_same_label_pairs_are_none_where_labels_are_unique():
    first, second = draw_same_label_pairs(np.arange(5), 10, np.random.default_rng(0))
    assert len(first) == len(second) == 0
