import json

import pytest
import wandb

from detaux.artefacts import WANDB_NAME
from detaux.cli import run_command
from detaux.config import load_config
from detaux.errors import NonFiniteLossError, UserError
from detaux.runtime.files import write_json
from detaux.tracking.mirrors import check_mirrors, open_mirrors
from detaux.tracking.wandb import begin_run, choose_mode, make_state, name_place

OFFLINE = load_config(None, ["track.wandb=offline", "run.dir=runs/scenes"])


def open_one(folder, inputs_hash="inputs", keys=()):
    (mirror,) = open_mirrors(OFFLINE, "disentangle", folder, inputs_hash, keys)
    return mirror


def test_mode_is_that_of_the_config_and_auto_looks_for_a_key(wandb_offline, tmp_path, monkeypatch):
    def choose(setting):
        return choose_mode(load_config(None, [f"track.wandb={setting}"]).track)

    assert [choose(setting) for setting in ("off", "offline", "auto")] == [None, "offline", "offline"]
    with pytest.raises(UserError, match="wandb login"):
        choose("online")
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert choose("auto") == choose("online") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert choose("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert choose("auto") == "online"


@pytest.mark.parametrize("setting", ["track.wandb=offline", "track.tensorboard=true"])
def test_missing_package_exits_2_with_the_line_that_installs_it(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("detaux.tracking.mirrors.find_spec", lambda name: None)
    (tmp_path / "config.yaml").write_text("{}")
    keys = [f"run.dir={tmp_path / 'run'}", "run.device=cpu"]
    assert run_command(["disentangle", str(tmp_path / "config.yaml"), *keys, setting]) == 2
    package = setting.partition(".")[2].partition("=")[0]
    expected = f"detaux: {setting} needs the Python package {package}; run `pip install 'detaux[{package}]'`.\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "run").exists()


def test_run_without_mirrors_needs_no_package(tmp_path, monkeypatch):
    monkeypatch.setattr("detaux.tracking.mirrors.find_spec", lambda name: None)
    config = load_config(None)
    check_mirrors(config.track)
    assert open_mirrors(config, "disentangle", tmp_path, "inputs", ()) == []


def test_wandb_that_begins_no_run_is_one_sentence(wandb_offline, tmp_path, monkeypatch):
    def refuse(**settings):
        raise wandb.errors.CommError("no answer")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="W&B starts no run: no answer"):
        open_one(tmp_path)


def write_new(mirror, steps):
    for step in steps:
        if step > mirror.step:
            mirror.write({"step": step, "loss/total": 1 / step})


def test_run_that_goes_on_keeps_its_id_and_one_of_other_inputs_gets_another(wandb_offline, tmp_path, read_history):
    for steps in ((1, 2, 3), (3, 4)):
        mirror = open_one(tmp_path)
        write_new(mirror, steps)
        mirror.close(None)
    records = wandb_offline(tmp_path)
    assert len({run.run_id for run in records["run"]}) == 1
    assert [row["step"] for row in read_history(records)] == [1, 2, 3, 4]
    state = {"inputs_hash": "inputs", "id": records["run"][0].run_id, "step": 4, "open": None}
    assert json.loads((tmp_path / WANDB_NAME).read_text()) == state
    open_one(tmp_path, "others").close(None)
    assert len({run.run_id for run in wandb_offline(tmp_path)["run"]}) == 2


def test_run_killed_before_it_had_sent_a_line_begins_again_with_the_same_id(wandb_offline, tmp_path, read_history):
    killed = open_one(tmp_path)
    write_new(killed, (1, 2))
    state = json.loads((tmp_path / WANDB_NAME).read_text())
    assert state["step"] == 0
    assert (tmp_path / state["open"]).is_dir()
    killed.close(None)
    write_json(tmp_path / WANDB_NAME, state)  # as the kill would have left it
    again = open_one(tmp_path)
    write_new(again, (1, 2, 3))
    again.close(None)
    records = wandb_offline(tmp_path)
    assert {run.run_id for run in records["run"]} == {state["id"]}
    assert [row["step"] for row in read_history(records)] == [1, 2, 3]


def test_line_that_wandb_refused_is_sent_when_the_run_goes_on(wandb_offline, tmp_path, monkeypatch, read_history):
    def refuse(*arguments, **settings):
        raise wandb.errors.CommError("no answer")

    mirror = open_one(tmp_path)
    write_new(mirror, (1,))
    with monkeypatch.context() as patch:
        patch.setattr(mirror._run, "log", refuse)
        with pytest.raises(wandb.errors.CommError):
            write_new(mirror, (2,))
    mirror.close(None)
    again = open_one(tmp_path)
    write_new(again, (1, 2, 3))
    again.close(None)
    assert [row["step"] for row in read_history(wandb_offline(tmp_path))] == [1, 2, 3]


def test_history_holds_each_line_with_lists_spelled_out(wandb_offline, tmp_path, read_history):
    mirror = open_one(tmp_path, keys=["oracle/share/1"])
    mirror.write({"step": 10, "phase": "main", "oracle/share": [0.25, 0.75], "pairs/one_factor_share": None})
    mirror.close(None)
    records = wandb_offline(tmp_path)
    (row,) = read_history(records)
    assert {name: value for name, value in row.items() if not name.startswith("_")} == {
        "step": 10,
        "phase": "main",
        "oracle/share/0": 0.25,
        "oracle/share/1": 0.75,
    }
    assert row["_step"] == 10
    assert {(metric.name, metric.step_metric) for metric in records["metric"]} == {
        ("step", ""),
        ("oracle/share/1", "step"),
    }


def test_run_has_the_config_and_the_group_of_its_folder(wandb_offline, tmp_path):
    begin_run(OFFLINE, "discover", tmp_path / "discover", make_state("inputs")).finish()
    (run,) = wandb_offline(tmp_path)["run"]
    assert (run.project, run.run_group, run.job_type) == ("detaux", "scenes", "discover")
    assert {"run", "data", "losses", "track"} <= {update.key for update in run.config.update}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("discover", "run/discover"),
        ("disentangle/restart_1", "run/restart_1"),
        ("variants/seed1/disentangle", "run/seed1/disentangle"),
        ("variants/seed1/disentangle/restart_1", "run/seed1/restart_1"),
    ],
)
def test_run_is_named_by_its_folder_and_its_variant(tmp_path, folder, name):
    root = tmp_path / "run"
    assert name_place(load_config(None, [f"run.dir={root}"]), root / folder) == name


def test_loss_that_is_not_finite_raises_an_alert(wandb_offline, tmp_path):
    mirror = open_one(tmp_path)
    mirror.close(NonFiniteLossError(12, ["distance"], "the learning rate"))
    records = wandb_offline(tmp_path)
    (alert,) = records["alert"]
    assert alert.level == "ERROR"
    assert "step 12 (distance)" in alert.text
    assert records["exit"][-1].exit_code == 1
