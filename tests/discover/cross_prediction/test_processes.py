"""Tasks give the same results in one process and in several, and none of these outlives its parent."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cross_prediction.processes import map_tasks
from detaux.discover.cross_prediction.rounds import open_rounds
from detaux.errors import UserError

QUICK = CrossPredictionConfig(steps=10, batch_size=32)


def test_several_processes_give_what_one_gives_in_the_order_of_the_tasks():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 255, (400, 32, 32, 3), dtype=np.uint8))  # enough to be shared
    tasks = [(random.integers(2, size=400), np.ones(400, np.float32), QUICK, seed) for seed in range(3)]
    threads = torch.get_num_threads()
    alone, together = (list(map_tasks(open_rounds, images, tasks, processes)) for processes in (1, 2))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.first.probability_Nk, other.first.probability_Nk)
    assert torch.get_num_threads() == threads
    assert not np.array_equal(together[0].first.probability_Nk, together[1].first.probability_Nk)


def test_one_task_runs_here():
    here = list(map_tasks(lambda images, add: (os.getpid(), int(images[0] + add)), torch.ones(1), [(1,)], 8))
    assert here == [(os.getpid(), 2)]


def test_process_that_is_ended_from_outside_is_a_sentence():
    with pytest.raises(UserError, match=r"lower discover\.cross_prediction\.processes \(2 ran\)"):
        list(map_tasks(end_process, torch.ones(1), [(), ()], 2))


def end_process(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_fault_of_a_task_is_raised_as_it_is():
    with pytest.raises(TypeError, match="unsupported operand"):
        list(map_tasks(operator.add, torch.ones(1), [(None,), (None,)], 2))


PARENT = """
import sys, torch
from detaux.discover.cross_prediction.processes import map_tasks
def wait(_, name):
    import os, pathlib, time
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(120)
list(map_tasks(wait, torch.ones(1), [("a",), ("b",)], 2))
"""


def test_processes_end_with_their_parent(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(one.name) for one in tmp_path.iterdir()]
    parent.kill()
    parent.wait(30)
    wait_until(lambda: not any(map(is_running, workers)))


def wait_until(is_true, seconds=60):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
