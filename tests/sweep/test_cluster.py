"""Trials of two ranks on a real Ray cluster: several raylets on this machine, each with logical CPUs of its own."""

import json
import re
import time

import pyarrow.parquet
import pytest

from detaux.config import load_config
from detaux.runtime.metrics import read_metrics
from detaux.sweep.trial import Sweep, run_trial

pytestmark = pytest.mark.slow  # each test starts a cluster

KEYS = (
    "sweep.ranks=2",
    # a ReLU near its kink makes rounding larger the farther a step goes, and so does clipping
    "disentangle.warmup.lr=1e-4",
    "disentangle.main.lr=1e-4",
    "disentangle.clip=0",
)
TOLERANCE = 1e-5  # of the losses of two ranks over the first steps on pairs, relative to those of one
LONG = ("sweep.scheduler=none", "disentangle.main.steps=600")
CONNECTIONS = 3  # to Ray's client server, which may fail to start what serves one (ray-project/ray issue 63202)
SECONDS = 300  # to wait for anything on a busy machine


@pytest.fixture
def start_cluster(monkeypatch):
    """start_cluster(cpus, ..., **head): a cluster of nodes with so many CPUs each, the first of which is the head."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    started = []

    def start(*cpus, **head):
        settings = {"num_cpus": cpus[0], "include_dashboard": False, **head}
        cluster = Cluster(initialize_head=True, head_node_args=settings)
        started.append(cluster)
        for number in cpus[1:]:
            cluster.add_node(num_cpus=number)
        return cluster

    yield start
    for cluster in started:
        cluster.shutdown()


def find_nodes(cluster, actor, state=None):
    """The nodes that actors of a class are or were on."""
    actors = cluster.global_state.actor_table(None, actor_state_name=state).values()
    return {one["Address"]["NodeID"] for one in actors if actor in one["ActorClassName"]}


def read_rows(root):
    return pyarrow.parquet.read_table(root / "trials.parquet").to_pylist()


def test_trials_of_two_ranks_on_two_nodes_complete_the_table_and_take_the_steps_of_one_rank(
    tiny, start_cluster, run_sweep, tmp_path
):
    cluster, root = start_cluster(1, 1), tmp_path / "sweep"  # no node has room for both ranks of a trial
    exit_code, output = run_sweep(tiny, f"run.dir={root}", *KEYS, RAY_ADDRESS=cluster.address)
    assert exit_code == 0, output
    assert len(find_nodes(cluster, "RayTrainWorker")) == 2
    rows = read_rows(root)
    assert len(rows) == 4
    assert {row["status"] for row in rows} == {"finished", "stopped"}  # and what stopped gave back both CPUs
    assert {row["attempts"] for row in rows} == {1}
    assert {row["step"] for row in rows if row["status"] == "stopped"} <= {20, 40}
    best = root / "trials" / rows[0]["trial"]
    assert json.loads((best / "disentangle" / "record.json").read_text())["facts"]["ranks"] == 2

    alone = Sweep(load_config(tiny, KEYS), tmp_path / "alone", str(root / "shards"), tmp_path)
    run_trial(json.loads((best / "trial.json").read_text())["values"], alone, "one", lambda step, worth: None)
    folders = best / "disentangle", alone.root / "trials" / "one" / "disentangle"
    found, expected = (next(line for line in read_metrics(one) if line["step"] == 50) for one in folders)
    for name in (name for name in expected if name.startswith("loss/")):
        assert found[name] == pytest.approx(expected[name], rel=TOLERANCE), name


def test_trial_on_a_node_that_is_killed_goes_on_from_its_checkpoint_on_the_other(
    tiny, start_cluster, start_sweep, tmp_path
):
    cluster, root = start_cluster(2, 2), tmp_path / "sweep"  # each node has room for one trial
    process = start_sweep(tiny, f"run.dir={root}", *KEYS, *LONG, "sweep.trials=2", RAY_ADDRESS=cluster.address)
    wait_for(process, lambda: len(find_trained(root)) == 2)
    (lost,) = cluster.worker_nodes
    assert find_nodes(cluster, "RayTrainWorker", "ALIVE") == {lost.node_id, cluster.head_node.node_id}
    cluster.remove_node(lost, allow_graceful=False)
    check_second_attempts(root, process, trials=2)


def test_trial_whose_waiting_process_is_lost_ends_the_ranks_it_left_and_goes_on(
    tiny, start_cluster, start_sweep, tmp_path
):
    cluster, root = start_cluster(2, 0, 0, memory=0), tmp_path / "sweep"  # ranks have room on the head alone
    process = start_sweep(tiny, f"run.dir={root}", *KEYS, *LONG, "sweep.trials=1", RAY_ADDRESS=cluster.address)
    wait_for(process, lambda: len(find_trained(root)) == 1)
    (place,) = find_nodes(cluster, "ImplicitFunc", "ALIVE")
    (lost,) = (node for node in cluster.worker_nodes if node.node_id == place)
    cluster.remove_node(lost, allow_graceful=False)
    check_second_attempts(root, process, trials=1)


def test_sweep_through_a_ray_client_ends_as_one_of_the_cluster(tiny, start_cluster, run_sweep, tmp_path, free_port):
    start_cluster(2, ray_client_server_port=free_port)
    keys, address = (f"run.dir={tmp_path}/sweep", *KEYS, "sweep.trials=2"), f"ray://127.0.0.1:{free_port}"
    for _ in range(CONNECTIONS):
        exit_code, output = run_sweep(tiny, *keys, RAY_ADDRESS=address)
        if "cannot be joined" not in output:
            break
    assert exit_code == 0, output
    rows = read_rows(tmp_path / "sweep")
    assert len(rows) == 2
    assert "finished" in {row["status"] for row in rows}


def test_sweep_without_an_address_leaves_a_ray_that_runs_here_alone(tiny, start_cluster, run_sweep, tmp_path):
    cluster = start_cluster(0)
    keys = (f"run.dir={tmp_path}/sweep", "sweep.trials=1", "sweep.scheduler=none")
    exit_code, output = run_sweep(tiny, *keys)
    assert exit_code == 0, output
    assert not find_nodes(cluster, "ImplicitFunc")


def check_second_attempts(root, process, trials):
    """The sweep ends well, and the trials that failed went on from a checkpoint."""
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    rows = read_rows(root)
    assert [row["status"] for row in rows] == ["finished"] * trials
    assert {row["step"] for row in rows} == {600}
    again = [row["trial"] for row in rows if row["attempts"] == 2]
    assert again
    for name in again:
        assert f"trial {name} failed and is tried again" in output
        log = (root / "trials" / name / "log.txt").read_text()
        assert int(re.findall(r"continues from step (\d+)", log)[-1]) > 60, log


def wait_for(process, is_time):
    deadline = time.monotonic() + SECONDS
    while not is_time():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def find_trained(root):
    """The trials that have saved a checkpoint of their main phase and are not finished."""
    saved = {path.parents[1] for path in root.glob("trials/*/disentangle/checkpoint/step-*") if int(path.name[5:]) > 60}
    return [path for path in saved if not (path / "record.json").exists()]
