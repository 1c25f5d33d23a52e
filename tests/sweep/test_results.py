"""Tables from accounts made by hand."""

import json

import pyarrow.parquet
import pytest

from detaux.config import load_config
from detaux.config.load import get_value
from detaux.errors import DetauxError, NothingFoundError, UserError
from detaux.sweep.objective import Worth
from detaux.sweep.results import (
    TrialResult,
    build_table,
    collect_trials,
    mark_front,
    measure_importance,
    print_results,
    write_results,
)
from detaux.sweep.space import parse_space
from detaux.sweep.trial import Account, Sweep

MARGIN, MIDDLE = "losses.distance.margin", "losses.schedule.beta1.middle"


@pytest.fixture
def sweep(tiny, tmp_path):
    return Sweep(load_config(tiny, [f"run.dir={tmp_path}"]), tmp_path, str(tmp_path / "shards"), tmp_path)


def make_trial(
    name, status, objective, *, step=60, v_measure=None, margin=1.0, is_warm=False, has_task=True, **tradeoffs
):
    factor = None if v_measure is None else "hue"
    worth = None if objective is None else Worth(objective, objective, tradeoffs, has_task, factor, v_measure)
    values = {MARGIN: margin, MIDDLE: 0.5}
    account = Account(
        None,
        values,
        status,
        worth=worth,
        step=step,
        seconds=2.5,
        attempts=1,
        is_warm=is_warm,
    )
    return TrialResult(name, account, status)


TRIALS = [
    make_trial("a", "stopped", 0.9, step=20, v_measure=0.5),
    make_trial("b", "finished", 0.3, v_measure=0.4, margin=0.25),
    make_trial("c", "finished", 0.2, v_measure=0.1, is_warm=True),
    make_trial("d", "failed", None, step=0),
]


def write(sweep, trials):
    write_results(sweep, parse_space(sweep.config), trials)


def test_best_config_runs_as_it_is_with_the_values_of_the_best_row_that_trained_to_the_end(sweep):
    write(sweep, TRIALS)
    rows = pyarrow.parquet.read_table(sweep.root / "trials.parquet").to_pylist()
    assert [row["trial"] for row in rows] == ["b", "c", "a", "d"]
    best = load_config(sweep.root / "best.yaml")
    assert [get_value(best, name) for name in (MARGIN, MIDDLE)] == [rows[0][MARGIN], rows[0][MIDDLE]] == [0.25, 0.5]
    assert (best.run.dir, best.data.shards) == (f"{sweep.root}/best", f"{sweep.root}/shards")
    assert best.sweep.space is None
    assert best.disentangle == sweep.config.disentangle


def test_summary_counts_steps_of_both_phases_and_ranks_like_scipy_by_hand(sweep):
    write(sweep, TRIALS)
    summary = json.loads((sweep.root / "sweep.json").read_text())
    assert summary["steps"] == (40 + 20) + (40 + 60) + 60 + 40
    assert summary["full_grid_steps"] == 4 * 100
    assert summary["scored_after_rank_correlation"] == pytest.approx(1.0)
    assert (summary["best"], summary["scored_after_trials"]) == ("b", 3)
    assert summary["trials"] == {"finished": 2, "stopped": 1, "failed": 1}


def test_rank_correlation_of_objectives_that_never_vary_is_none(sweep):
    write(sweep, [make_trial(name, "finished", 0.5, v_measure=number / 9) for number, name in enumerate("abcd")])
    assert json.loads((sweep.root / "sweep.json").read_text())["scored_after_rank_correlation"] is None


def test_sweep_without_a_finished_trial_is_told_with_its_log_and_leaves_the_table(sweep):
    with pytest.raises(UserError, match=r"none of 1 trials trained to the end; d failed.*trials/d/log\.txt"):
        write(sweep, TRIALS[-1:])
    assert (sweep.root / "trials.parquet").is_file()
    assert not (sweep.root / "best.yaml").exists()


def test_sweep_that_found_nothing_is_told(sweep, capsys):
    write(sweep, [make_trial("a", "finished", 0.0, has_task=False)])
    with pytest.raises(NothingFoundError, match="no trial of the sweep found a hidden task"):
        print_results(sweep.root, "best.yaml")
    assert "100% of the full grid's" in capsys.readouterr().out


def test_printed_table_names_the_next_command(sweep, capsys):
    write(sweep, TRIALS)
    print_results(sweep.root, "runs/x/best.yaml")
    output = capsys.readouterr().out
    assert "Next: detaux run runs/x/best.yaml" in output
    assert (
        "The 4 trials ended as follows: 2 finished, 1 stopped, 1 failed. They took 260 steps, 65% of the full grid's"
        in output
    )


@pytest.mark.parametrize("key", ["sweep.objective=known_factor", "pairs.partner=one_factor"])
def test_ground_truth_marks_every_file(tiny, tmp_path, capsys, key):
    config = load_config(tiny, [f"run.dir={tmp_path}", key])
    write(Sweep(config, tmp_path, "", tmp_path), TRIALS)
    print_results(tmp_path, "best.yaml")
    assert "upper bound" in (tmp_path / "best.yaml").read_text().splitlines()[0]
    assert pyarrow.parquet.read_schema(tmp_path / "trials.parquet").metadata[b"uses_ground_truth"] == b"true"
    assert json.loads((tmp_path / "sweep.json").read_text())["uses_ground_truth"]
    assert "upper bound" in capsys.readouterr().out


def test_trial_that_died_without_a_word_has_the_error_of_ray(tmp_path):
    account = Account(tmp_path / "trials" / "a" / "trial.json", {}, "running")
    account.save()
    (failed,) = collect_trials(tmp_path, {"a": "Traceback\nActorDiedError: killed"})
    assert (failed.status, failed.account.error) == ("failed", "ActorDiedError: killed")
    (stopped,) = collect_trials(tmp_path, {"a": ""})
    assert stopped.status == "stopped"


def test_column_of_several_types_holds_text():
    table = build_table([{"x": 1, "y": 1}, {"x": "one", "y": 2.5}, {"x": None, "y": None}])
    assert table.to_pylist() == [{"x": "1", "y": 1.0}, {"x": "one", "y": 2.5}, {"x": None, "y": None}]


def test_sweep_whose_trainings_all_diverged_is_told_with_the_code_of_one_that_did(sweep):
    with pytest.raises(DetauxError, match="none of 1 trials trained to the end; a diverged") as caught:
        write(sweep, [make_trial("a", "diverged", 0.0)])
    assert caught.value.exit_code == 1


def test_front_holds_finished_trials_that_no_other_beats_in_all():
    worths = {"a": (0.9, 0.1), "b": (0.5, 0.5), "c": (0.4, 0.4), "d": (0.1, 0.9), "e": (0.1, 0.8), "f": (0.5, 0.5)}
    rows = [{"trial": name, "status": "finished", "x": x, "y": y} for name, (x, y) in worths.items()]
    rows.append({"trial": "g", "status": "stopped", "x": 1.0, "y": 1.0})
    assert "".join(row["trial"] for row in mark_front(rows, ["x", "y"]) if row["on_front"]) == "abdf"


def test_tradeoffs_have_columns_and_the_best_is_chosen_by_the_first_objective(tiny, tmp_path):
    config = load_config(tiny, [f"run.dir={tmp_path}", "sweep.tradeoffs=[independence]"])
    trials = [
        make_trial("a", "finished", 0.3, independence=0.9),
        make_trial("b", "finished", 0.4, independence=0.2),
        make_trial("c", "finished", 0.2, independence=0.8),
        make_trial("d", "failed", None),
    ]
    write(Sweep(config, tmp_path, "", tmp_path), trials)
    rows = pyarrow.parquet.read_table(tmp_path / "trials.parquet").to_pylist()
    found = [(row["trial"], row["independence"], row["on_front"]) for row in rows]
    assert found == [("b", 0.2, True), ("a", 0.9, True), ("c", 0.8, False), ("d", None, False)]
    assert json.loads((tmp_path / "sweep.json").read_text())["tradeoffs"] == ["independence"]


def test_importance_goes_to_the_key_that_the_objective_follows(sweep):
    space = parse_space(sweep.config)
    margins = [0.15 * 1.2**number for number in range(12)]
    trials = [make_trial(str(number), "finished", margin, margin=margin) for number, margin in enumerate(margins)]
    for number, one in enumerate(trials):
        one.account.values[MIDDLE] = 0.2 + 0.04 * (number * 5 % 12)
    importance = measure_importance(space, trials)
    assert list(importance) == [MARGIN, MIDDLE]
    assert importance[MARGIN] > 0.8
    assert sum(importance.values()) <= 1
    assert measure_importance(space, trials[:7]) == {}
    for objective in (0.5, 1e-17):  # what is equal but for rounding has no variance to share
        same = [make_trial(str(number), "finished", 0.5, margin=0.1 + 0.1 * number) for number in range(12)]
        same[0].account.worth = Worth(objective, objective)
        for one in same[1:]:
            one.account.worth = Worth(0.5 if objective == 0.5 else 0.0)
        assert measure_importance(space, same) == {}


def test_labels_that_bring_nothing_are_a_result_and_no_failure(sweep, capsys):
    write(sweep, [make_trial("a", "finished", 0.0, has_task=False), make_trial("b", "finished", 0.0, v_measure=0.9)])
    print_results(sweep.root, "best.yaml")
    output = capsys.readouterr().out
    assert "Trial b is the best of 2, with an objective of 0.000" in output
    assert "Next: detaux run best.yaml" in output
