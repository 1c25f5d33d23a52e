"""The fused backend against the reference.

Triton fixes whether it interprets when it is imported, so interpreted.py runs in another process,
which the files of this name share.
"""

import importlib.util

import pytest
import torch

from detaux.losses.backends import BACKENDS

GPU = torch.device("cuda", 0)
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_interpreted_kernels_equal_the_reference(run_interpreted):
    code, output = run_interpreted()
    assert code == 0, output


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_equal_the_reference_at_larger_sizes(run_interpreted):
    code, output = run_interpreted("-m", "slow")
    assert code == 0, output


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("normalizer", ["mean_norm", "mean_distance", "rms_distance"])
@pytest.mark.parametrize(("chains", "links", "latent"), [(41, 3, 63), (7, 1, 25088), (911, 1, 16)])
def test_kernels_on_a_gpu_equal_the_reference(normalizer, dtype, chains, links, latent):
    """The twin of interpreted.py, at sizes that the interpreter is too slow for."""
    generator = torch.Generator("cuda").manual_seed(0)
    values = torch.randn(10, chains * (links + 1), latent, device=GPU, generator=generator).to(dtype).transpose(0, 1)

    def differentiate(backend, values):
        values = values.detach().requires_grad_()
        measures = BACKENDS[backend](values, chains, normalizer)
        total = measures.squared_BK.mean() + measures.overlap_N.mean() / latent + measures.normalizer_K.sum()
        return measures, torch.autograd.grad(total, values)[0].double()

    expected, expected_gradient = differentiate("reference", values.double())
    found, gradient = differentiate("triton", values)
    for name in ("squared_BK", "overlap_N", "normalizer_K"):
        torch.testing.assert_close(getattr(found, name).double(), getattr(expected, name), rtol=1e-4, atol=1e-4)
    scale = expected_gradient.abs().max().item()
    tolerance = scale * (1e-4 if dtype == torch.float32 else 2**-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=tolerance)
