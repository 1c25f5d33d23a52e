"""A tiny sweep: scenes of 16 pixels, trainings of seconds, and the command as a user types it."""

import os
import subprocess
import sys

import pytest

TINY = """
run: {threads: 1, device: cpu}
data: {source: shapes3d, principal: class, grid: [3, 3, 4, 3, 2, 1], side: 16}
pairs: {pool: 64}
model: {subspaces: 3, latent: 6}
disentangle:
  warmup: {steps: 40, batch_size: 16}
  main: {steps: 60, batch_size: 8}
  log_interval: 10
  checkpoint_interval: 10
discover: {min_cluster_size: 5, min_samples: 3, max_outlier_fraction: 0.9, min_oracle_fraction: 0, stability_samples: 1}
sweep:
  trials: 4
  searcher: random
  first_rung: 20
  reduction: 2
  space:
    losses.schedule.beta1.middle: {uniform: [0.2, 0.7], unit: progress}
    losses.distance.margin: {log: [0.1, 2.0]}
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The config file of a tiny sweep."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def start_sweep():
    """start_sweep(config, *keys, **environment): `detaux sweep` in a process of its own."""

    def start(config, *keys, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "detaux", "sweep", str(config), *map(str, keys)],
            env={**os.environ, "RAY_AUTH_MODE": "disabled", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def run_sweep(start_sweep):
    """run_sweep(config, *keys, **environment): the exit code of `detaux sweep` and what it printed."""

    def run(config, *keys, **environment):
        process = start_sweep(config, *keys, **environment)
        output, _ = process.communicate(timeout=400)
        return process.returncode, output

    return run
