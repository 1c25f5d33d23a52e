"""One of the ranks that interpreted.py starts: each normaliser and its gradient, by the kernels and by the reference."""

import os
import sys

import torch
from torch import distributed

from detaux.losses import pair_measures as reference
from detaux.losses.kernels import pair_measures

CHAINS, LINKS, SUBSPACES, LATENT = 4, 1, 3, 5


def differentiate(backend, values, normalizer, weights):
    values = values.detach().requires_grad_()
    normalizer_K = backend.measure_pairs(values, CHAINS, normalizer).normalizer_K
    (normalizer_K * weights).sum().backward()
    return normalizer_K.detach(), values.grad


def main():
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=size)
    generator = torch.Generator().manual_seed(rank)
    values = torch.randn(CHAINS * (LINKS + 1), SUBSPACES, LATENT, generator=generator, dtype=torch.float64) + rank
    weights = torch.randn(SUBSPACES, generator=generator, dtype=torch.float64)
    for normalizer in pair_measures.NORMALIZERS:
        expected = differentiate(reference, values, normalizer, weights)
        found = differentiate(pair_measures, values, normalizer, weights)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    distributed.destroy_process_group()


main()
