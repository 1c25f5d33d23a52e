import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import wandb
from wandb_workspaces import workspaces

from detaux.cli import run_command
from detaux.config import dump_config, load_config
from detaux.disentangle.train import run_disentangle
from detaux.tracking import workspace
from detaux.tracking.panels import list_panels
from detaux.tracking.workspace import build_workspace, read_run_config
from shards.build import build_shards

CONFIG = load_config(None, ["run.dir=runs/scenes", "track.project=colours", "model.subspaces=3"])
SECTIONS = [
    "losses and betas",
    "oracle use",
    "scores of subspaces",
    "live subspaces",
    "traversals",
    "clusters",
    "accuracy",
    "gradient norm",
    "speed and memory",
    "learning rate",
]


@pytest.fixture
def started(tmp_path):
    """A run whose training has begun."""
    (tmp_path / "disentangle" / "checkpoint").mkdir(parents=True)
    dump_config(CONFIG, tmp_path / "disentangle" / "checkpoint" / "config.yaml")
    return tmp_path


def test_workspace_has_a_section_for_each_heading_and_the_runs_of_the_group():
    built = build_workspace(CONFIG, "team")
    assert [section.name for section in built.sections] == SECTIONS
    assert (built.entity, built.project, built.name) == ("team", "colours", "Detaux scenes")
    (runs,) = built._to_model().spec.section.run_sets
    (rule,) = runs.filters["filters"]
    assert (rule["key"]["name"], rule["op"], rule["value"]) == ("group", "=", "scenes")


def test_workspace_names_every_key_of_the_panels_and_no_other(list_workspace_keys):
    found = list_workspace_keys(build_workspace(CONFIG, "team"))
    wanted = {key for panel in list_panels(CONFIG).values() for key in panel.keys}
    assert {key for keys in found.values() for key in keys} == wanted | {"step"}
    assert found["Media Browser"] == {"traversal", "clusters"}
    assert found["Vega2"] == {"classes_by_cluster", "confusion"}
    assert found["Weave"] == {"candidates", "tasks", "accuracies"}
    assert found["Bar Chart"] == {"live_subspaces", "free_subspaces", "accuracy"}


def test_config_is_the_newest_of_the_stages(started):
    (started / "discover").mkdir()
    dump_config(load_config(None, ["track.project=newer"]), started / "discover" / "config.yaml")
    os.utime(started / "disentangle" / "checkpoint" / "config.yaml", (1, 1))
    files = started / "discover" / "wandb" / "run-1" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("_wandb: {}\n")  # as an online run of W&B leaves it
    assert read_run_config(started).track.project == "newer"


def test_config_is_there_while_the_first_training_goes_on(tmp_path):
    keys = ["data.source=digits", "data.side=16", "pairs.pool=64", "run.threads=1", "run.device=cpu"]
    phases = ["disentangle.warmup.steps=1", "disentangle.main.steps=2", "disentangle.main.batch_size=8"]
    config, seen = load_config(None, [*keys, *phases]), []
    build_shards(config, tmp_path / "shards")

    def observe(step, model):
        seen.append(read_run_config(tmp_path))

    run_disentangle(config, tmp_path / "shards", tmp_path / "disentangle", observe)
    assert seen == [config, config]


def test_address_of_the_page_is_printed(started, wandb_offline, monkeypatch, capsys):
    saved = []
    monkeypatch.setenv("WANDB_API_KEY", "key")
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="team"))
    page = SimpleNamespace(url="https://wandb.example.org/team/colours?nw=1")
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: saved.append(self) or page)
    assert run_command(["watch", str(started), "--workspace"]) == 0
    assert capsys.readouterr().out == f"watch: made {page.url}\n"
    assert [(one.entity, one.name) for one in saved] == [("team", "Detaux scenes")]


def test_what_is_missing_is_one_sentence_and_exit_code_2(started, wandb_offline, monkeypatch, capsys):
    def refuse():
        raise wandb.errors.CommError("no answer.")

    def fail(run):
        assert run_command(["watch", str(run), "--workspace"]) == 2
        return capsys.readouterr().err

    assert fail(started / "none").endswith("none holds no training; give the run.dir of a run that has started.\n")
    assert "run `wandb login` first.\n" in fail(started)
    monkeypatch.setenv("WANDB_API_KEY", "key")
    monkeypatch.setattr(wandb, "Api", refuse)
    assert fail(started) == "detaux: --workspace: W&B could not make the page: no answer.\n"
    monkeypatch.setattr(workspace, "find_spec", lambda name: None)
    assert "needs the Python package wandb-workspaces; run `pip install 'detaux[wandb]'`" in fail(started)


def test_making_a_page_imports_no_torch(started):
    code = "import sys, detaux.tracking.workspace; assert not {'torch', 'wandb', 'wandb_workspaces'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
