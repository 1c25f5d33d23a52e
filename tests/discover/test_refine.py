"""Candidates on coloured images, whose hidden factor is their green."""

import numpy as np
import pytest
import torch
from sklearn.metrics import v_measure_score

from detaux.config import Config
from detaux.config.schema import CrossPredictionConfig, DataConfig, DiscoverConfig
from detaux.data.schema import Manifest
from detaux.discover import refine
from detaux.discover.candidates.candidate import Fault
from detaux.discover.choose import rank_scores
from detaux.discover.cross_prediction import rounds
from detaux.discover.cross_prediction.rounds import CrossPrediction
from detaux.discover.dependence import compute_independence

MANIFEST = Manifest("drawn", "packed", 8, 3, ["dark", "mid", "light"], "red", {"red": 3, "green": 5}, {}, [])
CROSS = (
    *("cross_agreement", "cross_reproducibility", "cross_undecided"),
    *("recognition", "independent_recognition", "attraction"),
)


@pytest.fixture
def refine_three(make_split, make_candidate):
    """Refine candidates whose separation is .2, .9 and .5, and of which the last has a fault.

    They are: the factor with wrong labels, noise, and the factor itself.
    """
    split, random = make_split(hidden=2), np.random.default_rng(9)
    green = split.factors[:, 1].numpy()
    wrong, drawn = np.where(random.random(len(green)) < 0.1, 1 - green, green), random.integers(3, size=len(green))

    def run(noise=0.0, min_recognition=0.0, choose="separation", min_attraction=0.0, **keys):
        labels = (wrong, drawn.copy(), green)
        found = [make_candidate(one, separation=value) for one, value in zip(labels, (0.2, 0.9, 0.5), strict=True)]
        found[0].points_ND[:, 0] += 6 * torch.from_numpy(wrong)  # its points are those that its clusters came from
        found[2].fault = Fault("dead", "dead")
        settings = CrossPredictionConfig(**{"rounds": 1, "steps": 60, "batch_size": 32, **keys})
        discover = DiscoverConfig(
            cross_prediction=settings,
            min_recognition=min_recognition,
            min_attraction=min_attraction,
            stability_samples=0,
            choose=choose,
        )
        config = Config(data=DataConfig(noise=noise, denoise=False), discover=discover)
        return found, refine.refine_candidates(found, split, MANIFEST, config)

    return run


def answer_with(labels, kept, calls):
    """A stand-in for cross_predict that gives these labels and notes what it was asked."""

    def answer(images, start, *_):
        calls.append((images, start))
        return CrossPrediction(labels, np.ones(len(labels), np.float32), 0.9, 0.8, 0.1, kept, 2, 1.0)

    return answer


def test_wrong_labels_are_mended_and_scored_again_and_noise_stays(refine_three, make_split):
    found, is_changed = refine_three()
    mended, noise, dead = found
    green = make_split(hidden=2).factors[:, 1].numpy()
    assert is_changed
    assert v_measure_score(green, mended.clusters.labels) > 0.9 > mended.scores["cross_undecided"]
    assert mended.factors["green"]["v_measure"] == pytest.approx(v_measure_score(green, mended.clusters.labels))
    assert mended.scores["separation"] not in (0.2, None)
    assert mended.to_row(0)["cross_prediction"] == {
        "kept_round": 1,
        "rounds": 1,
        "seconds": round(mended.cross.seconds, 3),
    }
    assert noise.cross.kept == 0
    assert noise.scores["separation"] == 0.9
    assert mended.scores["cross_agreement"] > 0.8 > 0.65 > noise.scores["cross_agreement"]
    assert [dead.scores[name] for name in CROSS] == [None] * len(CROSS)
    assert "cross_prediction" not in dead.to_row(2)


@pytest.mark.parametrize("kept", [0, 2])
def test_labels_are_replaced_only_if_the_judge_keeps_a_round(kept, refine_three, monkeypatch):
    labels = np.arange(400) % 5
    monkeypatch.setattr(refine, "cross_predict", answer_with(labels, kept, []))
    found, is_changed = refine_three()
    assert is_changed == (kept > 0)
    for one in found[:2]:
        assert (one.clusters.labels is labels) == (kept > 0)
        assert [one.scores[name] for name in CROSS[:4]] == pytest.approx([0.9, 0.8, 0.1, 0.9 * 0.8 * 0.9])


def test_mended_labels_may_be_found_at_fault(refine_three, monkeypatch):
    monkeypatch.setattr(refine, "cross_predict", answer_with(np.zeros(400, int), 1, []))
    found, _ = refine_three()
    assert [one.fault.code for one in found] == ["with_one_cluster", "with_one_cluster", "dead"]


def test_candidates_come_in_the_order_of_the_rule_and_see_the_noise(refine_three, monkeypatch, make_split):
    calls = []
    monkeypatch.setattr(refine, "cross_predict", answer_with(np.arange(400) % 5, 0, calls))
    found, _ = refine_three(noise=0.5)
    assert [start is one.clusters.labels for (_, start), one in zip(calls, (found[1], found[0]), strict=True)] == [
        True
    ] * 2
    is_salted = (calls[0][0] == 0).all(-1) | (calls[0][0] == 255).all(-1)
    assert abs(is_salted.float().mean() - 0.5) < 0.05


def test_no_round_is_off_and_leaves_no_trace(refine_three, monkeypatch):
    monkeypatch.setattr(refine, "cross_predict", None)
    found, is_changed = refine_three(rounds=0)
    assert not is_changed
    assert all(not set(CROSS) & set(one.scores) for one in found)


def test_the_time_bound_leaves_candidates_without_scores(refine_three, capsys):
    found, is_changed = refine_three(max_seconds=1e-6)
    assert not is_changed
    assert all(one.cross is None and one.scores["cross_agreement"] is None for one in found)
    assert "max_seconds=1e-06: 0 of 2 candidates were judged" in capsys.readouterr().out


def test_zero_seconds_mean_no_bound(refine_three, monkeypatch):
    bounds = []
    answer = answer_with(np.arange(400) % 5, 0, [])
    monkeypatch.setattr(refine, "cross_predict", lambda *given: (bounds.append(given[5]), answer(*given))[1])
    refine_three(max_seconds=0.0)
    assert bounds == [float("inf")] * 2


@pytest.mark.parametrize(("least", "code"), [(0.0, None), (0.7, "not_recognised")])
def test_candidate_that_was_not_judged_is_refused_if_recognition_is_asked_for(least, code, refine_three, monkeypatch):
    monkeypatch.setattr(refine, "cross_predict", lambda *_: None)
    found, _ = refine_three(min_recognition=least)
    assert [one.fault and one.fault.code for one in found] == [code, code, "dead"]


def test_candidate_that_networks_recognise_badly_is_refused(refine_three, monkeypatch):
    monkeypatch.setattr(refine, "cross_predict", answer_with(np.arange(400) % 5, 0, []))
    found, _ = refine_three(min_recognition=0.7)
    assert found[0].fault.code == "hardly_recognised"  # 0.9 x 0.8 x 0.9


def test_networks_are_kept_only_of_candidates_that_may_be_chosen(refine_three):
    found, _ = refine_three(min_recognition=0.3)
    assert len(found[0].cross.recogniser.networks) == 4
    assert found[1].fault.code == "hardly_recognised"
    assert found[1].cross.recogniser is None


def test_hopeless_candidate_costs_one_division_and_names_its_bound(refine_three, monkeypatch):
    read, trained = rounds.read_folds, []
    monkeypatch.setattr(rounds, "read_folds", lambda *given: (trained.append(given[3]), read(*given))[1])
    found, _ = refine_three(min_recognition=0.7)
    assert len(trained) == 3  # one for the noise, two for the factor
    noise = found[1]
    assert noise.fault.code == "hardly_recognised"
    assert noise.fault.text.startswith(f"recognition at most {noise.scores['recognition']:.3f}, less than")
    assert noise.scores["cross_reproducibility"] is None
    assert noise.to_row(1)["cross_prediction"]["rounds"] == 0


def note_order(monkeypatch):
    """The labels of candidates in the order in which they are opened, and in which they are judged."""
    opened, judged = [], []
    begin, finish = refine.open_rounds, refine.cross_predict
    monkeypatch.setattr(refine, "open_rounds", lambda *given: (opened.append(given[1]), begin(*given))[1])
    monkeypatch.setattr(refine, "cross_predict", lambda *given: (judged.append(given[1]), finish(*given))[1])
    return opened, judged


def test_best_candidate_of_the_rule_is_judged_first_and_the_order_changes_no_result(refine_three, monkeypatch):
    """The noise has the larger separation; only the first division shows that networks do not recognise it."""
    opened, judged = note_order(monkeypatch)
    by_separation, by_recognition = (refine_three(choose=choose)[0] for choose in ("separation", "recognition"))
    factor, noise = (one.cross for one in by_recognition[:2])
    assert factor.recognition > noise.recognition
    assert judged[0] is by_separation[1].cross.labels  # no round of the noise is kept
    assert judged[3] is noise.labels
    assert len(opened) == 2
    assert opened[0] is noise.labels
    assert (factor.probability == by_separation[0].cross.probability).all()
    assert factor.recognition == by_separation[0].cross.recognition


def test_first_divisions_take_at_most_half_of_the_time(refine_three, monkeypatch):
    """Candidates that are not opened by then are judged after the others, in the order of the rule."""
    bounds = []
    answer = answer_with(np.arange(400) % 5, 0, calls := [])
    monkeypatch.setattr(refine.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(refine, "open_rounds", lambda *given: bounds.append(given[5]))
    monkeypatch.setattr(refine, "cross_predict", lambda *given: (bounds.append(given[5]), answer(*given))[1])
    found, _ = refine_three(choose="recognition", max_seconds=50)
    assert bounds == [125, 125, 150, 150]
    assert calls[0][1] is found[1].clusters.labels


def test_attraction_refuses_clusters_whose_borders_stay_where_they_were_put(refine_three):
    mended, noise, dead = refine_three(min_attraction=0.45)[0]
    assert mended.scores["attraction"] > 0.8
    assert mended.fault is None
    assert noise.scores["attraction"] < 0.1
    assert noise.fault.code == "with_arbitrary_borders"
    assert "discover.min_attraction=0.45" in noise.fault.text
    assert dead.fault.code == "dead"


def test_attraction_is_not_measured_unless_asked_for_or_of_a_candidate_with_a_fault(refine_three, monkeypatch):
    monkeypatch.setattr(refine, "measure_attraction", None)
    assert refine_three()[0][0].scores["attraction"] is None
    found, _ = refine_three(min_attraction=0.45, min_recognition=1.0)
    assert [one.fault.code for one in found] == ["hardly_recognised", "hardly_recognised", "dead"]


def test_candidate_for_whose_attraction_no_time_is_left_is_not_chosen(refine_three, monkeypatch):
    def end(*_):
        raise TimeoutError

    monkeypatch.setattr(refine, "measure_attraction", end)
    found, _ = refine_three(min_attraction=0.45)
    assert [one.fault.code for one in found] == ["not_recognised", "not_recognised", "dead"]
    assert found[0].cross.recogniser is None


def test_no_round_follows_for_a_candidate_that_attraction_refuses(refine_three):
    mended, noise, _ = refine_three(min_attraction=0.45, rounds=2)[0]
    assert noise.fault.code == "with_arbitrary_borders"
    assert (mended.cross.rounds, noise.cross.rounds) == (2, 1)


def test_several_processes_find_what_one_finds(refine_three):
    alone, together = (refine_three(min_attraction=0.45, choose="recognition", processes=count)[0] for count in (1, 2))
    for one, other in zip(alone, together, strict=True):
        assert one.scores == other.scores
        assert one.fault == other.fault
        assert (one.clusters.labels == other.clusters.labels).all()


def test_rule_prefers_what_says_less_of_the_label_among_what_is_recognised_alike(refine_three, make_split):
    labels = make_split(hidden=2).labels.numpy()
    for one in refine_three()[0][:2]:
        independence = compute_independence(one.clusters.class_labels, labels)
        expected = one.scores["recognition"] * independence
        assert one.scores["independent_recognition"] == pytest.approx(expected)
    scores = [{"independent_recognition": 0.7 * 0.8}, {"independent_recognition": 0.6}]
    assert rank_scores(scores, "recognition") == [1, 0]
