import dataclasses
import json

import pytest

from detaux.config import load_config
from detaux.config.schema import WeightsConfig
from detaux.disentangle.train import run_disentangle
from detaux.runtime.metrics import flatten, read_metrics
from detaux.tracking.panels import PANELS, WEIGHTS, list_lines, list_panels
from shards.build import build_shards

KEYS = (
    "data.source=digits",
    "data.labelled_fraction=0.1",
    "data.side=16",
    "pairs.pool=64",
    "pairs.neighbour_contrast=0.5",
    "model.subspaces=3",
    "model.latent=6",
    "model.conditional=true",
    "run.threads=1",
    "run.device=cpu",
    "disentangle.warmup.steps=4",
    "disentangle.warmup.batch_size=16",
    "disentangle.main.steps=8",
    "disentangle.main.batch_size=8",
    "disentangle.log_interval=2",
    "track.wandb=offline",
)


@pytest.fixture
def shards(tmp_path):
    build_shards(load_config(None, KEYS), tmp_path / "shards")
    return tmp_path / "shards"


def test_panels_chart_every_term_of_the_objective():
    terms = [field.name for field in dataclasses.fields(WeightsConfig)]
    terms += ["principal_contrast", "neighbour_contrast", "label"]
    assert set(PANELS["losses"].keys) == {"loss/total"} | {f"loss/{name}" for name in terms}
    assert set(WEIGHTS) <= set(PANELS["losses"].keys)


def test_panels_leave_out_the_terms_of_weight_0():
    config = load_config(None, ["losses.weights.regularization=0", "pairs.principal_contrast=0", "model.subspaces=2"])
    panels = list_panels(config)
    assert not {"loss/regularization", "loss/principal_contrast", "loss/neighbour_contrast"} & set(
        panels["losses"].keys
    )
    assert panels["oracle use"].keys == ("oracle/share/0", "oracle/share/1")


def test_panels_of_a_training_without_a_main_phase_leave_out_what_only_that_logs():
    panels = list_panels(load_config(None, ["model.conditional=true", "disentangle.main.steps=0"]))
    assert panels["losses"].keys == ("loss/total", "loss/reconstruction", "loss/divergence", "loss/label")
    assert not {"oracle use", "pairs"} & set(panels)
    assert "live subspaces" in panels


def test_every_key_of_the_panels_is_in_the_history_and_defined_over_steps(
    shards, tmp_path, wandb_offline, read_history
):
    config = load_config(None, KEYS)
    run_disentangle(config, shards, tmp_path / "disentangle")
    records, wanted = wandb_offline(tmp_path), set(list_lines(config))
    rows = read_history(records)
    assert wanted <= {key for row in rows for key in row}
    assert wanted == {metric.name for metric in records["metric"] if metric.step_metric == "step"}
    lines = [flatten(line) for line in read_metrics(tmp_path / "disentangle")]
    assert [{key: row[key] for key in row if not key.startswith("_")} for row in rows] == lines


def test_tracking_changes_no_number(shards, tmp_path, wandb_offline):
    curves = []
    for name, keys in {"tracked": ("track.tensorboard=true",), "plain": ("track.wandb=off",)}.items():
        run_disentangle(load_config(None, [*KEYS, *keys]), shards, tmp_path / name)
        lines = read_metrics(tmp_path / name)
        curves.append(
            [{key: line[key] for key in line if key.startswith(("loss", "oracle", "grad"))} for line in lines]
        )
    assert (tmp_path / "tracked" / "tensorboard").is_dir()
    assert not (tmp_path / "plain" / "wandb").exists()
    assert json.dumps(curves[0]) == json.dumps(curves[1])
