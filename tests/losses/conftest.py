"""Seeded projections, the loop versions of the equations, and the check that every loss passes on its inputs."""

import importlib.util
from pathlib import Path

import pytest
import torch

ODD = (41, 63)  # pairs and latent size that are no multiple of a vector width


@pytest.fixture(scope="session")
def loops():
    """loops.py beside this file."""
    spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def draw():
    """draw(*shape): float64 normal values, another draw at each call, the same in each test."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def draw_pairs(draw):
    """draw_pairs(subspaces, pairs, latent): first and second [B, K, D], is_different [B], each kind of pair present."""

    def draw_them(subspaces, pairs=ODD[0], latent=ODD[1]):
        is_different = torch.arange(pairs) % 3 == 0
        return draw(pairs, subspaces, latent), draw(pairs, subspaces, latent), is_different

    return draw_them


@pytest.fixture
def one_hot():
    """one_hot(subspaces, pairs): an oracle that marks another subspace from pair to pair."""
    return lambda subspaces, pairs=ODD[0]: torch.eye(subspaces, dtype=torch.float64)[torch.arange(pairs) % subspaces]


@pytest.fixture
def check_inputs():
    """check_inputs(compute, *tensors): strides do not matter, and bfloat16 values are computed in float32."""

    def check(compute, *tensors):
        strided = [values.repeat_interleave(2, -1)[..., ::2] for values in tensors]
        assert not any(values.is_contiguous() for values in strided)
        torch.testing.assert_close(compute(*strided), compute(*tensors), rtol=1e-12, atol=0)
        rounded = [values.bfloat16() for values in tensors]
        result = compute(*rounded)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, compute(*(values.float() for values in rounded)), rtol=0, atol=0)
        assert compute(*tensors).dtype == torch.float64

    return check
