"""Objectives by hand, on rows as discovery.json has them."""

import pytest

from detaux.config import load_config
from detaux.data.schema import Manifest
from detaux.discover import search as search_rules
from detaux.discover.candidates import registry
from detaux.sweep.objective import (
    OBJECTIVES,
    Finding,
    Judge,
    compute_discovery,
    compute_independence,
    compute_known_factor,
    compute_stability,
    find_best_factor,
    gives_upper_bound,
    weigh,
)
from detaux.sweep.space import Dimension


def make_row(index, *, separation, nmi, eligible=True, subspaces=(1,), stability=None, **factors):
    return {
        "index": index,
        "subspaces": list(subspaces),
        "eligible": eligible,
        "scores": {"separation": separation, "stability": stability},
        "principal": {"nmi": nmi},
        "factors": {name: {"v_measure": value} for name, value in factors.items()},
    }


def make_manifest(**factors):
    return Manifest("drawn", "packed", 8, 3, ["dark", "light"], "scale", factors, {}, [])


ROWS = [
    make_row(0, separation=0.6, nmi=0.25, stability=0.8, scale=0.9, hue=0.1),  # 0.45
    make_row(1, separation=2.0, nmi=0.0, eligible=False, hue=1.0),
    make_row(2, separation=0.6, nmi=None, hue=0.2, shape=0.3),  # 0.6
    make_row(3, separation=2.0, nmi=0.0, subspaces=(), hue=0.5),  # a plain baseline
]
MANIFEST = make_manifest(scale=2, hue=3, shape=4)


def test_discovery_is_the_product_of_the_best_candidate_that_may_be_chosen():
    assert compute_discovery(Finding(ROWS, 0, MANIFEST)) == pytest.approx(0.6)
    assert compute_discovery(Finding(ROWS[:2], 0, MANIFEST)) == pytest.approx(0.45)


def test_discovery_is_nothing_where_no_candidate_may_be_chosen_or_none_is_separate():
    assert compute_discovery(Finding(ROWS[1:2], -1, MANIFEST)) == 0
    assert compute_discovery(Finding([make_row(0, separation=-0.3, nmi=0.0)], 0, MANIFEST)) == 0


def test_discovery_is_the_same_whatever_the_factors_say():
    blind = [{**row, "factors": {}} for row in ROWS]
    assert compute_discovery(Finding(blind, 0, make_manifest())) == compute_discovery(Finding(ROWS, 0, MANIFEST))


def test_best_factor_is_a_hidden_one_of_the_chosen_clusters():
    assert find_best_factor(Finding(ROWS, 0, MANIFEST)) == ("hue", 0.1)  # not the principal one
    assert find_best_factor(Finding(ROWS, 2, MANIFEST)) == ("shape", 0.3)
    assert find_best_factor(Finding(ROWS, -1, MANIFEST)) is None
    assert find_best_factor(Finding([{**ROWS[0], "factors": {}}], 0, make_manifest())) is None


def test_best_factor_is_the_only_one_where_classes_group_it():
    assert find_best_factor(Finding(ROWS[:1], 0, make_manifest(scale=9))) == ("scale", 0.9)


def test_known_factor_is_the_v_measure_of_the_chosen_clusters():
    assert compute_known_factor(Finding(ROWS, 3, MANIFEST)) == 0.5
    assert compute_known_factor(Finding(ROWS, -1, MANIFEST)) == 0


def test_ground_truth_enters_by_the_objective_and_by_the_pairs_of_any_trial():
    plain = load_config(None)
    assert not gives_upper_bound(plain, [Dimension("pairs.partner", "choice", ("mined", "label"))])
    assert gives_upper_bound(plain, [Dimension("pairs.partner", "choice", ("mined", "one_factor"))])
    assert gives_upper_bound(load_config(None, ["pairs.partner=one_factor"]), [])
    assert gives_upper_bound(load_config(None, ["sweep.objective=known_factor"]), [])
    assert gives_upper_bound(load_config(None, ["sweep.tradeoffs=[known_factor]"]), [])


def test_independence_and_stability_are_those_of_the_chosen_clusters():
    chosen, unmeasured, nothing = (Finding(ROWS, index, MANIFEST) for index in (0, 2, -1))
    assert [compute_independence(one) for one in (chosen, unmeasured, nothing)] == [0.75, 1.0, 0.0]
    assert [compute_stability(one) for one in (chosen, unmeasured, nothing)] == [0.8, 0.0, 0.0]


def test_worth_has_the_objective_the_tradeoffs_and_a_number_that_rungs_can_compare():
    finding = Finding(ROWS, 0, MANIFEST, gain=0.05)
    settings = load_config(None, ["sweep.objective=downstream", "sweep.tradeoffs=[independence]"]).sweep
    worth = weigh(finding, settings, is_end=True)
    assert (worth.objective, worth.rung, worth.tradeoffs) == (0.05, pytest.approx(0.6), {"independence": 0.75})
    rung = weigh(finding, settings, is_end=False)
    assert (rung.objective, rung.rung, rung.tradeoffs) == (None, worth.rung, worth.tradeoffs)
    assert worth.has_task
    assert not weigh(Finding(ROWS, -1, MANIFEST), settings, is_end=True).has_task
    assert (worth.factor, worth.v_measure) == ("hue", 0.1)
    known = weigh(finding, load_config(None, ["sweep.objective=known_factor"]).sweep, is_end=True)
    assert (known.objective, known.rung) == (0.1, 0.1)


def test_judge_finds_worth_in_a_planted_factor_of_the_training_split_and_none_without_it(
    model, make_split, write_splits, tmp_path
):
    """The tars of the other splits are not there to be read; a single value of green leaves nothing to find."""
    worths = []
    for hidden in (5, 1):
        write_splits(tmp_path / str(hidden), make_split(hidden=hidden))
        worths.append(Judge(load_config(None), tmp_path / str(hidden)).judge(model))
    planted, plain = worths
    assert planted.objective > 1
    assert (planted.factor, planted.has_task) == ("green", True)
    assert planted.v_measure > 0.99
    assert (plain.objective, plain.has_task) == (0.0, False)


@pytest.mark.parametrize(("cuts", "judged"), [("true", []), ("false", ["shapes"])])
def test_judge_finds_no_candidates_in_images_and_shapes_only_if_the_choice_reads_them(
    model, make_split, write_splits, tmp_path, monkeypatch, cuts, judged
):
    write_splits(tmp_path, make_split(hidden=5))
    plain = Judge(load_config(None), tmp_path).judge(model)
    done, find_shapes = [], search_rules.find_shapes
    monkeypatch.setattr(search_rules, "find_shapes", lambda *given: done.append("shapes") or find_shapes(*given))
    for name in registry.FROM_IMAGES:
        monkeypatch.setitem(registry.FROM_IMAGES, name, lambda *_, name=name: done.append(name) or [])
    keys = ["discover.sources=[graph,statistics,encoder,subspace]", f"discover.cut_continua={cuts}"]
    judge = Judge(load_config(None, keys), tmp_path)
    assert judge.config.discover.sources == ["encoder", "subspace"]
    assert judge.judge(model).objective == plain.objective
    assert done == judged


def test_every_objective_of_the_config_is_computed_by_a_function_and_told_in_words():
    from typing import get_args, get_type_hints

    from detaux.config.load import iterate_fields
    from detaux.config.schema import SweepConfig
    from detaux.report.sweep import MEASURES

    (tradeoffs,) = (entry for name, entry, _ in iterate_fields() if name == "sweep.tradeoffs")
    named = set(get_args(get_type_hints(SweepConfig)["objective"]))
    assert set(OBJECTIVES) == set(MEASURES) == set(tradeoffs.metadata["choices"]) == named
