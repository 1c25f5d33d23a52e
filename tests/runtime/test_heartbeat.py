"""A lost rank ends the others, whether their collective fails or hangs; real processes and real signals."""

import signal
import time

import pytest

PROGRAM = """
import sys, time
import torch
from detaux.errors import DetauxError
from detaux.runtime import agreement, heartbeat, ranks, signals

heartbeat.SILENT_SECONDS, heartbeat.GRACE_SECONDS, heartbeat.BEAT_SECONDS = 2.0, 1.0, 0.2
try:
    with signals.raise_signals(), ranks.join_ranks(torch.device("cpu")), heartbeat.watch_ranks():
        for step in range(STEPS):
            torch.distributed.all_reduce(torch.ones(1))
            time.sleep(0.01)
            if step == 20:
                print("begun", flush=True)
        {end}
except DetauxError as error:
    print(f"{error}" if not error.is_told else "", flush=True)
    sys.exit(error.exit_code)
"""
FOREVER = PROGRAM.replace("STEPS", "10**9").replace("{end}", "pass")
LIMIT = 60  # seconds a lost rank may go on costing the others


def start(start_ranks, program, world_size=2):
    processes = start_ranks(world_size, "-c", program)
    for process in processes:
        assert process.stdout.readline() == "begun\n"
    return processes


@pytest.mark.parametrize("lost", [0, 1])
def test_killed_rank_ends_the_other_with_its_name(start_ranks, lost):
    processes = start(start_ranks, FOREVER)
    processes[lost].send_signal(signal.SIGKILL)
    output, _ = processes[1 - lost].communicate(timeout=LIMIT)
    assert processes[1 - lost].returncode == 75
    # the first rank holds the store that all look in: with it goes what could tell more
    assert ("rank 1 on " if lost else "the first rank") in output
    assert "was lost" in output
    assert "the same command continues from the last checkpoint" in output


def test_rank_that_is_killed_before_its_second_sign_of_life_is_named_too(start_ranks):
    kills_itself = "if step == 3 and ranks.rank() == 1: import os; os.kill(os.getpid(), 9)"
    program = FOREVER.replace("BEAT_SECONDS = 2.0, 1.0, 0.2", "BEAT_SECONDS = 2.0, 1.0, 0.8").replace(
        "        time.sleep(0.01)\n", f"        {kills_itself}\n            time.sleep(0.01)\n"
    )
    first, _ = start_ranks(2, "-c", program)
    output, _ = first.communicate(timeout=LIMIT)
    assert first.returncode == 75, output
    assert "rank 1 on " in output


def test_hanging_rank_ends_the_others_once_with_its_name(start_ranks):
    """A stopped process keeps its connections: the collective of the others neither fails nor ends."""
    processes = start(start_ranks, FOREVER, world_size=3)
    processes[1].send_signal(signal.SIGSTOP)
    outputs = [processes[index].communicate(timeout=LIMIT)[0] for index in (0, 2)]
    assert [processes[index].returncode for index in (0, 2)] == [75, 75]
    assert sum("rank 1 on " in output for output in outputs) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_rank_that_ends_on_purpose_is_not_lost(start_ranks, first):
    """Not even the first rank, which holds the store."""
    late = PROGRAM.replace("STEPS", "30").replace("{end}", f"time.sleep(0 if ranks.rank() == {first} else 4)")
    processes = start(start_ranks, late)
    assert [process.wait(timeout=LIMIT) for process in processes] == [0, 0]


def test_word_of_the_first_rank_reaches_the_others_though_it_ends_at_once(start_ranks):
    processes = start(start_ranks, PROGRAM.replace("STEPS", "30").replace("{end}", "agreement.run_first(lambda: 1)"))
    assert [process.wait(timeout=LIMIT) for process in processes] == [0, 0]


@pytest.mark.parametrize("failing", [0, 1])
def test_rank_that_fails_tells_why_and_the_others_end_without_a_word(start_ranks, failing):
    code = FOREVER.replace(
        "time.sleep(0.01)", f"time.sleep(0.01); assert step < 25 or ranks.rank() != {failing}, 'a bug'"
    )
    processes = start(start_ranks, code)
    outputs = [process.communicate(timeout=LIMIT)[0] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert "a bug" in outputs[failing]
    assert outputs[1 - failing].strip() == ""


def test_mistake_that_every_rank_finds_is_told_once(start_ranks):
    mistake = PROGRAM.replace("STEPS", "30").replace("{end}", "raise UserError('a mistake.')")
    mistake = mistake.replace("import DetauxError", "import DetauxError, UserError")
    processes = start(start_ranks, mistake, world_size=3)
    outputs = [process.communicate(timeout=LIMIT)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2, 2]
    assert "".join(outputs).count("a mistake.") == 1


def test_signal_between_steps_ends_a_rank(start_ranks):
    idle = PROGRAM.replace("STEPS", "30").replace("{end}", "time.sleep(60)")
    processes = start(start_ranks, idle)
    time.sleep(1)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=LIMIT) for process in processes] == [143, 143]
