import os
import signal
import threading
import time

import numpy as np
import pytest

from detaux.config.schema import DiscoverConfig
from detaux.discover import helper
from detaux.discover.cluster import cluster_points
from detaux.discover.clusterers.limit import Limit
from detaux.discover.helper import cluster_in_helper
from detaux.errors import UserError

CONFIG = DiscoverConfig(clusters=3)


def start_limit(seconds=0.0):
    return Limit(seconds, lambda _: None)


@pytest.mark.parametrize("clusterer", ["hdbscan", "kmeans", "meanshift"])
def test_answer_is_that_of_this_process(clusterer, make_blobs):
    points, _ = make_blobs()
    expected = cluster_points(points, CONFIG, 0, clusterer)
    found = helper._answer(points, len(points), clusterer, CONFIG, 0)
    labels, probability, backend, _ = cluster_in_helper(points, len(points), clusterer, CONFIG, 0, start_limit())
    np.testing.assert_array_equal(labels, found[0])
    np.testing.assert_array_equal(probability, found[1])
    assert (backend, labels.max() + 1) == (expected.backend, expected.count)


def test_threads_have_processes_of_their_own(make_blobs):
    points, _ = make_blobs()
    found, processes = [], []

    def cluster():
        found.append(cluster_in_helper(points, len(points), "kmeans", CONFIG, 0, start_limit())[0])
        processes.append(helper._kept.helper.process)

    thread = threading.Thread(target=cluster)
    for act in (cluster, thread.start, thread.join):
        act()
    np.testing.assert_array_equal(*found)
    assert processes[0] is not processes[1]


def test_error_of_a_library_is_raised_here(make_blobs):
    points, _ = make_blobs()
    with pytest.raises(KeyError, match="nonsense"):
        cluster_in_helper(points, len(points), "nonsense", CONFIG, 0, start_limit())


def test_one_process_serves_many_and_is_gone_once_a_limit_passes(make_blobs, monkeypatch):
    points, _ = make_blobs()
    ask = (len(points), "hdbscan", CONFIG, 0)
    cluster_in_helper(points, *ask, start_limit())
    first = helper._kept.helper.process
    cluster_in_helper(points, *ask, start_limit())
    assert helper._kept.helper.process is first
    os.kill(first.pid, signal.SIGSTOP)  # as in a loop that heeds nothing
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        cluster_in_helper(points, *ask, start_limit(0.3))
    assert time.monotonic() - begun < 10
    assert first.returncode == -signal.SIGKILL
    assert helper._kept.helper is None


def test_process_that_is_ended_from_outside_is_one_sentence(make_blobs):
    points, _ = make_blobs()
    ask = (len(points), "hdbscan", CONFIG, 0)
    cluster_in_helper(points, *ask, start_limit())
    process = helper._kept.helper.process
    process.send_signal(signal.SIGSTOP)  # as in a long loop
    threading.Timer(0.5, process.kill).start()
    with pytest.raises(UserError, match=r"was ended \(signal SIGKILL\), probably for lack of memory"):
        cluster_in_helper(points, *ask, start_limit())


def test_process_ends_with_a_parent_that_is_killed(fork_server):
    code = """
import os, signal, torch
from detaux.config.schema import DiscoverConfig
from detaux.discover import helper
from detaux.discover.clusterers.limit import Limit
points = torch.randn(50, 2)
helper.cluster_in_helper(points, 50, "kmeans", DiscoverConfig(clusters=3), 0, Limit(0.0, print))
print(helper._kept.helper.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = fork_server.start(["-c", code])
    output, _ = parent.communicate(timeout=120)
    assert parent.returncode == -signal.SIGKILL, output
    pid = output.strip()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/cmdline") and time.monotonic() < deadline:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            if not stream.read():  # a zombie that nobody has waited for
                break
        time.sleep(0.05)
    else:
        assert not os.path.exists(f"/proc/{pid}")
