"""A tiny training that the launchers start, and the folder they start it in."""

import pytest

from detaux.config import load_config
from detaux.runtime.metrics import read_metrics
from shards.build import build_shards

KEYS = (
    "data.source=digits",
    "data.side=8",
    "pairs.pool=64",
    "model.subspaces=3",
    "model.latent=4",
    "run.threads=1",
    "disentangle.warmup.steps=10",
    "disentangle.warmup.batch_size=8",
    "disentangle.main.steps=20",
    "disentangle.main.batch_size=4",
    "disentangle.main.lr=1e-4",  # a ReLU near its kink makes rounding larger the farther a step goes
    "disentangle.checkpoint_interval=10",
    "disentangle.log_interval=5",
)
SWEEP_KEYS = (
    "discover.min_cluster_size=5",
    "discover.max_outlier_fraction=1",
    "discover.min_oracle_fraction=0",
    "sweep.space={losses.distance.margin: {log: [0.1, 2]}}",
    "sweep.trials=2",
    "sweep.scheduler=none",
)


@pytest.fixture
def arguments(tmp_path):
    """What a launch script is given in tmp_path: config.yaml, and keys that train on the shards there."""
    build_shards(load_config(None, KEYS), tmp_path / "shards")
    (tmp_path / "config.yaml").write_text("{}")
    return ["config.yaml", *KEYS, "data.shards=shards"]


@pytest.fixture
def read_losses():
    """read_losses(run): the losses in the log of a run's training."""
    return lambda run: [line["loss/total"] for line in read_metrics(run / "disentangle")]


@pytest.fixture
def sweep_keys():
    """What `detaux sweep` needs beside `arguments`: two trials."""
    return SWEEP_KEYS
