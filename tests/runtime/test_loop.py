import os
import signal

import pytest
import torch

from detaux.errors import InterruptedRunError, NonFiniteLossError
from detaux.runtime.loop import run_loop


def run(step_function, steps=10, first_step=0, log_interval=4, checkpoint_interval=3):
    logs, saves = [], []
    run_loop(
        step_function,
        description="test",
        first_step=first_step,
        steps=steps,
        log_interval=log_interval,
        checkpoint_interval=checkpoint_interval,
        log=lambda step, means, seconds: logs.append((step, means["total"])),
        save=saves.append,
    )
    return logs, saves


def test_loop_logs_means_and_saves_at_intervals():
    logs, saves = run(lambda step: {"total": torch.tensor(float(step))})
    assert logs == [(4, 1.5), (8, 5.5), (10, 8.5)]
    assert saves == [3, 6, 9, 10]


def test_loop_resumes_at_first_step():
    seen = []
    run(lambda step: seen.append(step) or {"total": torch.tensor(0.0)}, first_step=6)
    assert seen == [6, 7, 8, 9]


def test_loop_stops_on_non_finite_loss_before_saving():
    saves = []

    def step_function(step):
        bad = torch.tensor(float("nan")) if step == 4 else torch.tensor(1.0)
        return {"total": bad, "distance": bad, "sparsity": torch.tensor(1.0)}

    with pytest.raises(NonFiniteLossError, match="step 6.*total, distance") as caught:
        run_loop(
            step_function,
            description="test",
            first_step=0,
            steps=10,
            log_interval=100,
            checkpoint_interval=3,
            log=lambda *_: None,
            save=saves.append,
        )
    assert "sparsity" not in str(caught.value)
    assert saves == [3]


def test_loop_saves_and_stops_on_signal():
    saves = []

    def step_function(step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"total": torch.tensor(1.0)}

    with pytest.raises(InterruptedRunError) as caught:
        run_loop(
            step_function,
            description="test",
            first_step=0,
            steps=100,
            log_interval=100,
            checkpoint_interval=100,
            log=lambda *_: None,
            save=saves.append,
        )
    assert saves == [5]
    assert caught.value.exit_code == 128 + signal.SIGTERM


def test_loop_ends_on_a_signal_in_its_last_step_with_that_step_saved():
    """So that what would follow the loop does not begin."""
    saves = []

    def step_function(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"total": torch.tensor(1.0)}

    quiet = {"log_interval": 9, "checkpoint_interval": 9, "log": lambda *_: None}
    with pytest.raises(InterruptedRunError, match="after step 3 of test"):
        run_loop(step_function, description="test", first_step=0, steps=3, save=saves.append, **quiet)
    assert saves == [3]


def test_loop_second_signal_stops_at_once():
    saves = []

    def step_function(step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {"total": torch.tensor(1.0)}

    with pytest.raises(KeyboardInterrupt):
        run_loop(
            step_function,
            description="test",
            first_step=0,
            steps=100,
            log_interval=100,
            checkpoint_interval=100,
            log=lambda *_: None,
            save=saves.append,
        )
    assert saves == []


def test_meter_reads_means_over_ranks_of_those_that_have_the_part(calls):
    assert calls["means"] == [{"total": 1.5, "shares": [0.5, 4.0], "only here": 5.0}] * 2


def test_loss_that_is_not_finite_on_one_rank_is_known_to_all(calls):
    assert calls["not finite"] == [["distance"]] * 2


def test_signal_to_one_rank_stops_all_after_the_same_step(calls):
    assert calls["signal"] == [[[5], 138, False], [[5], 138, True]]


def test_signal_in_the_last_step_ends_the_loop_on_all_ranks(calls):
    assert calls["late signal"] == [[[4], 138, False], [[4], 138, True]]
