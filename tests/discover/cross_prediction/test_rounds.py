"""Cross-prediction on pictures with a planted hidden factor, a planted continuum, and clusters of noise."""

import time

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, v_measure_score

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cross_prediction import rounds
from detaux.discover.cross_prediction.rounds import cross_predict, open_rounds

SIDE, COUNT = 12, 240
QUICK = CrossPredictionConfig(rounds=1, steps=60, batch_size=32)
TWICE = CrossPredictionConfig(rounds=2, steps=60, batch_size=32)


def draw_images(values):
    """Images [COUNT, SIDE, SIDE, 3], which value of the hidden factor each has, and its brightness, a continuum.

    The factor is the place of a mark at the top. Below it is a square of any brightness at any place.
    """
    random = np.random.default_rng(0)
    value, brightness = random.integers(values, size=COUNT), random.uniform(0.3, 1, COUNT)
    images = random.integers(0, 60, (COUNT, SIDE, SIDE, 3)).astype(float)
    for image, place, bright in zip(images, value, brightness, strict=True):
        row, column = random.integers(SIDE // 2, SIDE - 3), random.integers(SIDE - 3)
        image[row : row + 4, column : column + 4] += 120 * bright
        image[:3, 3 * place : 3 * place + 3] += 150
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)), value, brightness


def spoil(labels, share=0.6):
    """Labels of which `share` is wrong in the less confident half and none in the other, and the confidence of each."""
    random = np.random.default_rng(1)
    confidence = random.random(len(labels)).astype(np.float32)
    is_wrong = (confidence < 0.5) & (random.random(len(labels)) < share)
    other = (labels + random.integers(1, labels.max() + 1, len(labels))) % (labels.max() + 1)
    return np.where(is_wrong, other, labels), confidence


@pytest.fixture(scope="module")
def pictures():
    return draw_images(4)


@pytest.fixture(scope="module")
def mended(pictures):
    """Two rounds from labels of which 30 % are wrong and a few are missing."""
    images, value, _ = pictures
    labels, confidence = spoil(value)
    labels[np.argsort(confidence)[:10]] = -1
    return labels, cross_predict(images, labels, confidence, TWICE, 0)


@pytest.mark.parametrize("values", [2, 4])
def test_wrong_labels_become_the_planted_factor(values, mended, pictures):
    if values == 4:
        value, (labels, found) = pictures[1], mended
    else:
        images, value, _ = draw_images(2)
        labels, confidence = spoil(value)
        found = cross_predict(images, labels, confidence, QUICK, 0)
    assert 0.2 < (labels != value).mean() < 0.4
    assert v_measure_score(value, found.labels) >= 0.95
    assert found.kept >= 1
    assert found.agreement > 0.95
    assert found.reproducibility > 0.95
    assert found.undecided < 0.3
    assert (found.labels.dtype, found.probability.dtype) == (np.int64, np.float32)
    counts = np.bincount(found.labels)
    assert (np.diff(counts) <= 0).all()  # the largest cluster is number 0


def test_clusters_of_noise_are_not_learned_and_keep_their_labels(pictures):
    random = np.random.default_rng(2)
    labels, confidence = random.integers(3, size=COUNT), random.random(COUNT)
    found = cross_predict(pictures[0], labels, confidence, TWICE, 0)
    assert found.agreement < 0.6
    assert found.undecided > 0.6
    assert (found.kept, found.rounds) == (0, 1)
    assert found.labels.tolist() == labels.tolist()


def test_a_cut_of_a_continuum_is_reproduced_worse_than_a_factor(mended, pictures):
    images, _, brightness = pictures
    middle = np.median(brightness)
    found = cross_predict(images, (brightness > middle).astype(int), np.abs(brightness - middle), QUICK, 0)
    factor = mended[1]
    assert found.agreement > 0.9  # the ends of a continuum are easy
    assert found.reproducibility < 0.8 < factor.reproducibility
    assert found.undecided > 0.2 > factor.undecided


def test_the_same_seed_gives_the_same_result_and_leaves_the_global_generator(pictures):
    images, value, _ = pictures
    torch.manual_seed(5)
    expected, settings = torch.rand(1), CrossPredictionConfig(rounds=1, steps=10, batch_size=32)
    torch.manual_seed(5)
    first, second, other = (cross_predict(images, *spoil(value), settings, seed) for seed in (0, 0, 1))
    assert torch.rand(1) == expected
    assert (first.labels == second.labels).all()
    assert (first.probability == second.probability).all()
    assert not np.array_equal(first.probability, other.probability)


@pytest.mark.parametrize(
    "labels",
    [
        np.full(COUNT, -1),
        np.zeros(COUNT, int),
        np.arange(COUNT) // 4,
        np.r_[np.zeros(COUNT - 7, int), np.ones(7, int)],
        np.array([0, 1]),
        np.array([], int),
    ],
    ids=["all outliers", "one cluster", "tiny clusters", "one and a tiny cluster", "two images", "no image"],
)
def test_too_few_images_give_none(labels, pictures):
    assert cross_predict(pictures[0][: len(labels)], labels, np.ones(len(labels)), QUICK, 0) is None


def test_a_tiny_cluster_is_given_to_the_others(pictures):
    images, value, _ = pictures
    labels = value.copy()
    labels[np.flatnonzero(value == 3)] = -1
    labels[np.flatnonzero(value == 3)[:5]] = 3
    found = cross_predict(images, labels, np.ones(COUNT), QUICK, 0)
    assert set(found.labels) == {0, 1, 2}
    known = (labels >= 0) & (labels < 3)
    assert adjusted_rand_score(labels[known], found.labels[known]) > 0.95


def test_the_time_bound_ends_a_round_and_keeps_those_before(pictures, monkeypatch):
    images, value, _ = pictures
    labels, confidence = spoil(value)
    settings = CrossPredictionConfig(rounds=2, steps=20, batch_size=32)
    assert cross_predict(images, labels, confidence, settings, 0, deadline=time.monotonic() - 1) is None
    read_folds, readings = rounds.read_folds, []

    def read_two(*arguments):
        if len(readings) == 2:
            raise TimeoutError
        readings.append(read_folds(*arguments))
        return readings[-1]

    monkeypatch.setattr(rounds, "read_folds", read_two)
    monkeypatch.setattr(rounds, "LEAST_AGREEMENT", 0)
    found = cross_predict(images, labels, confidence, settings, 0)
    assert found.rounds == 1


def count_networks(monkeypatch):
    """A list that grows by one with each division that is read."""
    read_folds, seen = rounds.read_folds, []
    monkeypatch.setattr(rounds, "read_folds", lambda *given: (seen.append(given[3]), read_folds(*given))[1])
    return seen


def test_clusters_of_noise_are_refused_by_the_first_division(pictures, monkeypatch):
    random, seen = np.random.default_rng(2), count_networks(monkeypatch)
    labels, confidence = random.integers(3, size=COUNT), random.random(COUNT)
    found = cross_predict(pictures[0], labels, confidence, TWICE, 0, least=0.7)
    assert seen == [(0, 1, 0)]
    assert (found.kept, found.rounds, found.reproducibility, found.recogniser) == (0, 0, None, None)
    assert found.labels is labels
    assert found.recognition < 0.7
    whole = cross_predict(pictures[0], labels, confidence, QUICK, 0)
    assert whole.recognition <= found.recognition
    assert seen[1:] == [(0, 1, 0), (0, 1, 1)]


def test_candidate_that_may_pass_is_judged_as_without_the_filter(pictures, monkeypatch):
    images, value, _ = pictures
    labels, confidence = spoil(value)
    opening = rounds.open_rounds(images, labels, confidence, QUICK, 0)
    whole = cross_predict(images, labels, confidence, QUICK, 0)
    seen = count_networks(monkeypatch)
    found = cross_predict(images, labels, confidence, QUICK, 0, least=0.3, opening=opening)
    assert seen == [(0, 1, 1)]  # the first division is not read again
    assert (found.probability == whole.probability).all()
    assert found.recognition == whole.recognition > 0.3
    assert found.recognition == pytest.approx(found.agreement * found.reproducibility * (1 - found.undecided))


def test_bound_of_the_first_division_is_never_below_the_recognition():
    """By readings of any two divisions, of which some agree fully."""
    random, found = np.random.default_rng(0), []
    for sharpness in np.geomspace(0.2, 30, 40):
        readings = []
        for shift in (0, random.choice([0.0, 0.3, 3.0])):
            logits = sharpness * (np.eye(3)[np.arange(60) % 3] + shift * random.normal(size=(60, 3)))
            probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            readings.append(rounds.Reading(probability.astype(np.float32), random.uniform(0.5, 1)))
        start = np.arange(60) % 3
        whole = rounds._Round(start, start, *readings)
        opening = rounds.Opening(start, start, readings[0], 0.0)
        found.append((opening.bound, whole.recognition))
        assert opening.promise <= opening.bound
    assert all(bound >= recognition for bound, recognition in found)
    assert any(recognition > 0.9 * bound > 0 for bound, recognition in found)


def test_no_second_round_follows_if_the_first_refuses(monkeypatch):
    truth = np.repeat([0, 1], 20)
    apart = truth.copy()
    apart[:8] = 1
    script = [make_reading(truth), make_reading(apart)] * 2
    monkeypatch.setattr(rounds, "read_folds", lambda *_: script.pop())
    start = np.where(np.arange(40) % 8 == 7, 1 - truth, truth)
    images, settings = torch.zeros(40, 8, 8, 3, dtype=torch.uint8), CrossPredictionConfig(rounds=2)
    found = cross_predict(images, start, np.ones(40), settings, 0, least=0.7)
    assert (found.rounds, len(script)) == (1, 2)
    assert found.undecided == pytest.approx(8 / 40)
    assert found.recognition == pytest.approx(adjusted_rand_score(truth, apart) * 32 / 40)


def test_agreement_is_that_of_the_division_that_agrees_less(monkeypatch):
    truth = np.repeat([0, 1], 20)
    script = [make_reading(truth, agreement=0.95), make_reading(truth, agreement=0.85)]
    monkeypatch.setattr(rounds, "read_folds", lambda *_: script.pop())
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    assert cross_predict(images, truth, np.ones(40), CrossPredictionConfig(rounds=1), 0).agreement == 0.85


def test_recogniser_gives_new_images_the_labels_of_the_training_images(mended, pictures):
    """A round is kept here, and its labels are numbered anew."""
    images, value, _ = pictures
    found = mended[1]
    assert len(found.recogniser.networks) == 4
    labels, probability = found.recogniser.recognise(images.flip(0))
    assert (labels[::-1] == found.labels).mean() > 0.95
    assert v_measure_score(value, labels[::-1]) > 0.95
    assert (labels.dtype, probability.dtype) == (np.int64, np.float32)


def test_recogniser_numbers_kept_clusters_as_they_are(pictures, monkeypatch):
    """No round is kept, and cluster 1 is too small to be learned."""
    images, value, _ = pictures
    labels = np.where(value == 1, -1, value)
    labels[np.flatnonzero(value == 1)[:5]] = 1
    monkeypatch.setattr(rounds, "_judge", lambda _: 0)
    found = cross_predict(images, labels, np.ones(COUNT), QUICK, 0)
    assert found.labels is labels
    known = labels != -1
    assert found.recogniser.labels_k.tolist() == [0, 2, 3]
    seen = found.recogniser.recognise(images)[0]
    assert (seen == labels)[known & (labels != 1)].mean() > 0.95


def make_reading(labels, sure=0.9, agreement=1.0, clusters=2):
    probability = np.full((len(labels), clusters), (1 - sure) / (clusters - 1), np.float32)
    probability[np.arange(len(labels)), labels] = sure
    return rounds.Reading(probability, agreement)


@pytest.mark.parametrize(
    ("second_round", "kept"), [((0, 0.95), 2), ((6, 0.95), 1), ((0, 0.6), 1)], ids=["better", "apart", "undecided"]
)
def test_the_better_round_is_kept_and_not_the_last(second_round, kept, monkeypatch):
    """The networks of round 1 differ in two of 40 images; those of round 2 in `wrong` ones, and are `sure` of each."""
    truth = np.repeat([0, 1], 20)

    def differ(count):
        labels = truth.copy()
        labels[:count] = 1
        return labels

    wrong, sure = second_round
    script = iter(
        [make_reading(truth), make_reading(differ(2)), make_reading(truth, sure), make_reading(differ(wrong), sure)]
    )
    monkeypatch.setattr(rounds, "read_folds", lambda *_: next(script))
    start = np.where(np.arange(40) % 8 == 7, 1 - truth, truth)
    found = cross_predict(
        torch.zeros(40, 8, 8, 3, dtype=torch.uint8), start, np.ones(40), CrossPredictionConfig(rounds=2), 0
    )
    assert (found.kept, found.rounds) == (kept, 2)


def test_a_surer_round_is_not_kept_if_it_leaves_the_labels_that_were_confident(monkeypatch):
    truth = np.repeat([0, 1], 20)
    drifted = np.repeat([0, 1, 1], [12, 8, 20])
    readings = (truth, np.where(np.arange(40) == 19, 1, truth), drifted, drifted)
    script = iter([make_reading(one) for one in readings])
    monkeypatch.setattr(rounds, "read_folds", lambda *_: next(script))
    start = np.where(np.arange(40) % 8 == 7, 1 - truth, truth)
    confidence = np.where(np.arange(40) % 8 == 7, 0.1, 1)
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    found = cross_predict(images, start, confidence, CrossPredictionConfig(rounds=2), 0)
    assert (found.kept, found.rounds) == (1, 2)


def test_labels_stay_if_they_agree_with_each_network_better_than_these_with_each_other(monkeypatch):
    start = np.repeat([0, 1], 20)
    first, second = start.copy(), start.copy()
    first[:4], second[-4:] = 1, 0
    script = iter([make_reading(first), make_reading(second)])
    monkeypatch.setattr(rounds, "read_folds", lambda *_: next(script))
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    found = cross_predict(images, start, np.ones(40), CrossPredictionConfig(rounds=1), 0)
    assert found.kept == 0
    assert found.labels is start
    assert found.reproducibility == pytest.approx(adjusted_rand_score(first, second))


@pytest.mark.parametrize("key", [{"steps": 11}, {"batch_size": 16}, {"keep": 0.9}])
def test_each_setting_changes_the_result(key, pictures):
    images, value, _ = pictures
    plain, changed = (
        cross_predict(
            images, *spoil(value), CrossPredictionConfig(**{"rounds": 1, "steps": 10, "batch_size": 32, **keys}), 0
        )
        for keys in ({}, key)
    )
    assert not np.array_equal(plain.probability, changed.probability)


def test_image_without_probability_teaches_nothing_even_if_most_have_none(pictures):
    images, value, _ = pictures
    probability = (np.arange(COUNT) % 3 == 0).astype(np.float32)
    opening = open_rounds(images, value, probability, QUICK, 0)
    assert (opening.confident >= 0).sum() == pytest.approx(COUNT / 3, abs=2)
    assert (opening.confident[probability == 0] == -1).all()
