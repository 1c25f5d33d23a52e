"""Sweeps by a real Ray on this machine, small."""

import json
import os
import shutil
import signal
import time

import pyarrow.parquet
import pytest

from detaux.config import dump_config, load_config
from detaux.config.load import get_value

pytestmark = pytest.mark.slow  # each test starts a Ray

MICRO_BATCHES = "disentangle.micro_batches"  # 3 parts of a batch of 8 cannot be: such a trial fails
SPACE = f"{{losses.distance.margin: {{log: [0.1, 2]}}, {MICRO_BATCHES}: {{choice: [1, 1, 1, 3]}}}}"


def read_table(root):
    return pyarrow.parquet.read_table(root / "trials.parquet").to_pylist()


def find_times(root):
    """When each stage of each trial was finished."""
    return {path: path.stat().st_mtime_ns for path in root.glob("trials/*/*/record.json")}


@pytest.fixture(scope="module")
def finished(tiny, run_sweep, tmp_path_factory):
    """The folder of a sweep under ASHA, some of whose trials fail, and what it printed."""
    root = tmp_path_factory.mktemp("finished") / "sweep"
    keys = (f"run.dir={root}", f"sweep.space={SPACE}", "sweep.trials=6", "sweep.objective=known_factor")
    exit_code, output = run_sweep(tiny, *keys)
    assert exit_code == 0, output
    return root, keys, output


def test_sweep_leaves_a_table_of_all_trials_and_a_config_that_equals_its_best_row(finished):
    root, _, output = finished
    rows = read_table(root)
    assert len(rows) == 6
    best = load_config(root / "best.yaml")
    assert rows[0]["status"] == "finished"
    assert rows[0]["objective"] == max(row["objective"] for row in rows if row["status"] == "finished")
    for name in ("losses.distance.margin", MICRO_BATCHES):
        assert get_value(best, name) == rows[0][name]
    assert "Next: detaux run" in output
    assert "upper bound" in output
    assert all(0.1 <= row["losses.distance.margin"] <= 2 for row in rows)


def test_trials_that_fail_are_tried_again_then_marked_while_the_others_finish(finished):
    root, _, output = finished
    rows = read_table(root)
    failed = [row for row in rows if row[MICRO_BATCHES] == 3]
    assert 0 < len(failed) < 6
    for row in rows:
        assert (row["status"] == "failed") == (row in failed)
    for row in failed:
        assert row["attempts"] == 2
        assert "does not divide into 3 equal parts" in row["error"]
        assert f"trial {row['trial']} failed and is tried again" in output
        assert "does not divide" in (root / "trials" / row["trial"] / "log.txt").read_text()
    assert "Traceback" not in output


def test_asha_stops_trials_at_its_rungs_and_needs_fewer_steps_than_the_full_grid(finished):
    root, _, _ = finished
    stopped = [row for row in read_table(root) if row["status"] == "stopped"]
    assert stopped
    assert {row["step"] for row in stopped} <= {20, 40}
    assert {row["error"] for row in stopped} == {None}
    for row in stopped:
        assert not (root / "trials" / row["trial"] / "disentangle" / "record.json").exists()
    trained = [row for row in read_table(root) if row["status"] != "failed"]
    assert sum(40 + row["step"] for row in trained) < len(trained) * 100
    summary = json.loads((root / "sweep.json").read_text())
    assert summary["steps"] < summary["full_grid_steps"] == 6 * 100


def test_same_command_keeps_a_finished_sweep_and_another_config_is_refused(finished, tiny, run_sweep):
    root, keys, _ = finished
    before = find_times(root)
    exit_code, output = run_sweep(tiny, *keys)
    assert exit_code == 0, output
    assert "unchanged" in output
    assert "Next: detaux run" in output
    exit_code, output = run_sweep(tiny, *keys, "model.latent=7")
    assert exit_code == 2
    assert "holds a sweep with model.latent=6, and the config says 7" in output
    assert find_times(root) == before


@pytest.mark.parametrize("damaged", ["trials.parquet", "sweep.json", "trial.json"])
def test_damaged_file_of_a_sweep_is_made_again_or_named(finished, tiny, run_sweep, tmp_path, damaged):
    shutil.copytree(finished[0], tmp_path / "s")
    path = next((tmp_path / "s").rglob(damaged))
    path.write_text("{")
    exit_code, output = run_sweep(tiny, f"run.dir={tmp_path}/s", *finished[1][1:])
    assert "Traceback" not in output
    if damaged == "trial.json":
        (tmp_path / "s" / "sweep.json").unlink()  # so that the sweep is not finished
        exit_code, output = run_sweep(tiny, f"run.dir={tmp_path}/s", *finished[1][1:])
        assert exit_code == 2
        assert f"delete {path} and run `detaux sweep` again." in output.splitlines()[-1]
    else:
        assert exit_code == 0, output
        assert read_table(tmp_path / "s") == read_table(finished[0])


def test_stopped_and_killed_sweep_goes_on_with_the_same_command_and_repeats_no_finished_trial(
    tiny, start_sweep, run_sweep, tmp_path
):
    root = tmp_path / "sweep"
    keys = (f"run.dir={root}", "sweep.scheduler=none", "disentangle.main.steps=400", "sweep.trials=4")
    (root / "tune").mkdir(parents=True)
    dump_config(load_config(tiny, keys), root / "config.yaml")
    (root / "tune" / "tuner.pkl").write_bytes(b"of a driver killed before it knew of a trial")
    exit_code, output = stop(start_sweep(tiny, *keys), signal.SIGTERM, lambda: any(root.glob("trials/*/trial.json")))
    assert (exit_code, "the same command continues" in output) == (143, True), output
    stop(start_sweep(tiny, *keys), signal.SIGKILL, lambda: _is_midway(root))
    before = find_times(root)
    ended = {path.parent.name for path in root.glob("trials/*/trial.json") if read_status(path) == "finished"}
    assert ended
    assert not (root / "trials.parquet").exists()
    exit_code, output = run_sweep(tiny, *keys)
    assert exit_code == 0, output
    assert "continues with the trials that are not finished" in output
    rows = read_table(root)
    assert len(rows) == 4
    assert rows[0]["objective"] > 0
    assert {row["status"] for row in rows} == {"finished"}
    assert ended <= {row["trial"] for row in rows}
    assert all(find_times(root)[path] == mtime for path, mtime in before.items())


def test_sweep_for_two_objectives_marks_the_front_and_goes_on_with_its_own_shards_alone(
    tiny, start_sweep, run_sweep, tmp_path
):
    root = tmp_path / "sweep"
    keys = (f"run.dir={root}", "sweep.tradeoffs=[independence]", "sweep.searcher=tpe")
    stop(start_sweep(tiny, *keys), signal.SIGTERM, lambda: any(root.glob("trials/*/trial.json")))
    exit_code, output = run_sweep(tiny, *keys, "data.shards=" + str(tmp_path / "other"))
    assert exit_code == 2
    shutil.copytree(root / "shards", tmp_path / "other")
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    exit_code, output = run_sweep(tiny, *keys, f"data.shards={tmp_path / 'other'}")
    assert exit_code == 2
    assert "holds trials that read other shards than" in output
    exit_code, output = run_sweep(tiny, *keys)
    assert exit_code == 0, output
    rows = read_table(root)
    whole = [row for row in rows if row["status"] == "finished"]
    assert any(row["on_front"] for row in whole)
    assert all(0 <= row["independence"] <= 1 for row in rows)
    assert "front-independence" in {path.stem for path in (root / "report" / "figures").glob("*.png")}


def test_sweep_that_is_stopped_while_its_last_trial_runs_is_not_finished(tiny, start_sweep, tmp_path):
    keys = (f"run.dir={tmp_path}/sweep", "sweep.scheduler=none", "disentangle.main.steps=400", "sweep.trials=1")
    process = start_sweep(tiny, *keys)
    exit_code, output = stop(process, signal.SIGTERM, lambda: any(tmp_path.glob("sweep/trials/*/trial.json")))
    assert (exit_code, "the same command continues" in output) == (143, True), output
    assert not (tmp_path / "sweep" / "trials.parquet").exists()


def stop(process, number, is_time):
    """Send a signal once it is time; the exit code and what was printed."""
    deadline = time.monotonic() + 200
    while not is_time():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def read_status(path):
    return json.loads(path.read_text())["status"]


def _is_midway(root):
    """Whether a trial is finished and another one has saved a checkpoint of its main phase."""
    statuses = [read_status(path) for path in root.glob("trials/*/trial.json")]
    running = [path for path in root.glob("trials/*/disentangle/checkpoint/step-*") if int(path.name[5:]) > 60]
    unfinished = [path for path in running if not (path.parents[1] / "record.json").exists()]
    return "finished" in statuses and bool(unfinished)


def test_missing_package_is_told_with_the_line_that_installs_it(tiny, run_sweep, tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ModuleNotFoundError('no ray', name='ray')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    exit_code, output = run_sweep(tiny, f"run.dir={tmp_path}/sweep", PYTHONPATH=path)
    assert exit_code == 2
    assert output == "detaux: detaux sweep needs the package ray; run `pip install 'detaux[sweep]'`.\n"
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (("model.restarts=2",), "set model.restarts=1 or sweep.scheduler=none"),
        (
            ("disentangle.main.steps=0",),
            "disentangle.main.steps=0 leaves no step at which sweep.scheduler=asha could stop",
        ),
        (("sweep.first_rung=60",), "sweep.first_rung=60 is not below disentangle.main.steps=60"),
        (("sweep.gpus=1.5",), "expected a whole number, or a fraction below 1"),
        (("sweep.gpus=64",), "sweep.gpus=64 x sweep.ranks=1 is more than"),
        (("run.device=cuda",), "run.device=cuda and sweep.gpus=0"),
        (("sweep.searcher=grid",), "tpe|random"),
        (("sweep.ranks=3",), "disentangle.warmup.batch_size=16 does not divide into 3 equal parts"),
        (("sweep.objective=downstream", "multitask.methods=[stl]"), "no method that reads the found labels"),
        (
            ("sweep.objective=downstream", "multitask.methods=[stl,stl_long,maxl]"),
            "no method that reads the found labels",
        ),
        (("sweep.tradeoffs=[downstream]", "multitask.select=fixed"), "set multitask.select=validation"),
        (("sweep.objective=stability", "discover.stability_samples=0"), "stability do not go together"),
        (("sweep.tradeoffs=[discovery]",), "names sweep.objective=discovery itself"),
        (("sweep.objective=accuracy",), "discovery|downstream|independence|stability|known_factor"),
        (("sweep.tradeoffs=[known_factor]", "data.source=digits", "data.side=8"), "needs known factors"),
        (("sweep.objective=known_factor", "data.source=digits", "data.side=8"), "needs known factors"),
        (("data.shards={tmp}/none",), "none/manifest.json does not exist"),
        (("data.shards=https://localhost/none",), "is not a folder, and the trials of a sweep need one"),
    ],
)
def test_mistake_is_told_in_one_sentence_with_code_2(tiny, run_sweep, tmp_path, keys, sentence):
    exit_code, output = run_sweep(tiny, f"run.dir={tmp_path}/s", *(key.format(tmp=tmp_path) for key in keys))
    assert exit_code == 2
    assert sentence in output.splitlines()[-1]
    assert "Traceback" not in output


def test_folder_of_a_run_is_no_folder_of_a_sweep(tiny, run_sweep, tmp_path):
    (tmp_path / "run" / "disentangle").mkdir(parents=True)
    exit_code, output = run_sweep(tiny, f"run.dir={tmp_path}/run")
    assert exit_code == 2
    assert "is not the folder of a sweep" in output
    shutil.rmtree(tmp_path / "run")
