"""The principal part of a conditional code does not hold what merely follows the label: here the wall, in 90 % of the
scenes. The principal subspace of a model that learns from pairs does."""

import dataclasses
import json
import sys

import pytest
import torch

from detaux.config import load_config
from detaux.disentangle import train
from shards.build import build_shards

KEYS = (
    "data.source=shapes3d",  # the label is the scale
    "data.grid=[5,4,10,4,4,1]",
    "data.side=16",
    "data.correlate={wall_hue: 0.9}",
    "pairs.pool=300",
    "model.latent=10",
    "model.subspaces=4",
    "losses.weights.reconstruction=20",
    "disentangle.log_interval=1000",
    "run.threads=1",
)
CONDITIONAL = (
    "model.conditional=true",
    "disentangle.warmup.steps=300",
    "disentangle.warmup.batch_size=32",
    "disentangle.main.steps=0",
)
PAIRS = (
    "disentangle.warmup.steps=60",
    "disentangle.warmup.batch_size=32",
    "disentangle.main.steps=140",
    "disentangle.main.batch_size=16",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "shards"
    build_shards(load_config(None, KEYS), folder)
    return folder


@pytest.fixture
def exchange(load, shards, tmp_path, monkeypatch, capsys):
    """exchange(keys): what the program prints of a model that was trained by these keys."""

    def run(keys):
        (tmp_path / "shards").symlink_to(shards)
        monkeypatch.setattr(train, "_score", lambda *_: {})  # seconds of forests, which nothing here reads
        train.run_disentangle(load_config(None, [*KEYS, *keys]), shards, tmp_path / "disentangle")
        monkeypatch.setattr(sys, "argv", ["exchange.py", str(tmp_path), "wall_hue", "--rows", "0", "4"])
        capsys.readouterr()
        load("exchange").main()
        return json.loads(capsys.readouterr().out)

    return run


# of five settings and seeds that were tried, the wall stayed in 94 % of the exchanges at least
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_wall_stays_with_the_image_if_the_code_is_conditional(exchange, seed):
    found = exchange([*CONDITIONAL, f"run.seed={seed}"])
    assert found["pairs"] > 2000
    assert found["stays_with_the_image"] > 0.9
    assert found["follows_the_principal_subspace"] < 0.06


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_wall_follows_the_principal_subspace_that_pairs_taught(exchange, seed):
    found = exchange([*PAIRS, f"run.seed={seed}"])
    assert found["follows_the_principal_subspace"] > 0.5
    assert found["stays_with_the_image"] < 0.3


class Sum(torch.nn.Module):
    """Subspace 0 holds the left half of an image, subspace 1 the right half."""

    alpha = 0

    def encode(self, images_NCHW):
        return images_NCHW.flatten(1)

    def project(self, codes_ND):
        images = codes_ND.unflatten(1, (3, 2, 2))
        left = images * torch.tensor([1.0, 0.0])
        return torch.stack([left, images - left], 1).flatten(2)

    def decode(self, codes_ND):
        return codes_ND.unflatten(1, (3, 2, 2))


@pytest.mark.parametrize(("column", "stays"), [(0, 0.0), (1, 1.0)])
def test_value_moves_with_the_subspace_that_holds_it(load, make_split, column, stays):
    """The value is the brightness of one half, and the other half is the same everywhere."""
    split, draw = make_split(), torch.Generator().manual_seed(0)
    value = torch.randint(3, (400,), generator=draw)
    images = torch.zeros(400, 2, 2, 3, dtype=torch.uint8)
    images[:, :, column] = (80 * value)[:, None, None].byte()
    factors = torch.stack([torch.zeros_like(value), 7 + value], 1)
    split = dataclasses.replace(split, images=images, factors=factors)
    found = load("exchange").exchange_principal(Sum(), split, 1, slice(0, 2))
    assert found["stays_with_the_image"] == stays
    assert found["follows_the_principal_subspace"] == 1 - stays
