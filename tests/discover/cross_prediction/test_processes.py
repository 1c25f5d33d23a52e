"""Tasks give the same results in one process and in several, and none of these outlives its parent."""

import multiprocessing
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
from detaux.discover.cross_prediction import processes
from detaux.discover.cross_prediction.processes import map_tasks, use_processes
from detaux.discover.cross_prediction.rounds import open_rounds
from detaux.errors import UserError

QUICK, CPU = CrossPredictionConfig(steps=10, batch_size=32), torch.device("cpu")


def test_several_processes_give_what_one_gives_in_the_order_of_the_tasks():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 255, (400, 32, 32, 3), dtype=np.uint8))  # enough to be shared
    tasks = [(random.integers(2, size=400), np.ones(400, np.float32), QUICK, seed) for seed in range(3)]
    threads = torch.get_num_threads()
    alone, together = (list(map_tasks(open_rounds, images, iter(tasks), count)) for count in (1, 2))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.first.probability_Nk, other.first.probability_Nk)
    assert torch.get_num_threads() == threads
    assert not np.array_equal(together[0].first.probability_Nk, together[1].first.probability_Nk)


@pytest.mark.parametrize(
    ("asked", "tasks", "device", "count"),
    [(0, 20, "cpu", 4), (3, 20, "cpu", 3), (8, 2, "cpu", 2), (0, 1, "cpu", 1), (0, 0, "cpu", 1), (8, 20, "cuda", 1)],
)
def test_processes_are_as_many_as_asked_for_or_cores_or_tasks(asked, tasks, device, count, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    with use_processes(asked, tasks, torch.device(device)) as found:
        assert found == count


def test_no_more_processes_than_memory_allows_unless_asked_for(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 64)
    with use_processes(0, 20, CPU) as found:
        assert found == processes.MOST


def test_one_process_is_this_one():
    assert list(map_tasks(lambda images: (os.getpid(), len(images)), torch.ones(3), [()], 1)) == [(os.getpid(), 3)]


def test_process_that_may_start_none_works_by_itself():
    """Joblib starts no process in a daemon."""
    queue = multiprocessing.get_context("fork").Queue()
    daemon = multiprocessing.get_context("fork").Process(target=work_in_a_daemon, args=(queue,), daemon=True)
    daemon.start()
    assert queue.get(timeout=60) == [2.0, 3.0]
    daemon.join(60)
    assert daemon.exitcode == 0


def work_in_a_daemon(queue):
    with use_processes(2, 2, CPU) as count:
        queue.put([float(one) for one in map_tasks(operator.add, torch.tensor(1.0), [(1,), (2,)], count)])


def test_workers_end_with_their_use():
    with use_processes(2, 2, CPU) as count:
        workers = list(map_tasks(name_process, torch.ones(1), [(), ()], count))
        assert all(map(is_running, workers))
    wait_until(lambda: not any(map(is_running, workers)))


def name_process(_):
    return os.getpid()


def test_worker_that_is_ended_from_outside_is_a_sentence():
    with pytest.raises(UserError, match=r"one of 2 processes .* lower discover\.cross_prediction\.processes"):
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


def test_workers_end_with_their_parent(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(one.name) for one in tmp_path.iterdir()]
    assert all(map(is_running, workers))
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
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # also shows one that has ended and for which nobody has waited
    return not (state.is_file() and ") Z" in state.read_text())
