import json
from pathlib import Path

import numpy as np
import pytest
import torch

from detaux.data.prepare import BATCH_BYTES
from detaux.disentangle import embed
from detaux.disentangle.embed import embed_split
from detaux.errors import UserError

CPU = torch.device("cpu")
PROGRAM = Path(__file__).with_name("rank_embed.py")


def run_ranks(start_ranks, world_size, *arguments):
    processes = start_ranks(world_size, PROGRAM, *arguments)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * world_size, outputs
    return json.loads(outputs[0].splitlines()[-1])


def test_embeddings_match_the_model_in_the_order_of_images(model, make_split, monkeypatch):
    monkeypatch.setattr(embed, "BATCH", 7)
    images = make_split(samples=20).images
    found = embed_split(model, images, CPU)
    means = 10 * images.float().mean((1, 2)).numpy() / 255
    np.testing.assert_allclose(found.latents_ND, means, rtol=1e-5)
    np.testing.assert_allclose(found.subspaces_NKD.sum(1), means, rtol=1e-5)
    assert found.subspaces_NKD.shape == (20, 4, 3)
    assert found.subspaces_NKD.dtype == found.latents_ND.dtype == torch.float32


def test_noise_changes_embeddings_and_repeats_with_the_seed(model, make_split):
    images = make_split(samples=20).images
    cases = ((0.0, 1), (0.3, 1), (0.3, 1), (0.3, 2))
    clean, first, second, other = (embed_split(model, images, CPU, noise, seed).latents_ND for noise, seed in cases)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(clean, first)
    assert not np.allclose(other, first)


def test_denoised_embeddings_are_nearly_those_of_clean_images(model, make_split):
    images = make_split(samples=20).images
    clean = embed_split(model, images, CPU).latents_ND
    noisy, denoised = (embed_split(model, images, CPU, 0.15, denoise=denoise).latents_ND for denoise in (False, True))
    assert (denoised - clean).norm() < (noisy - clean).norm() / 10


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_large_images_are_never_floats_all_at_once(noise, model, largest_floats):
    images = torch.zeros(300, 96, 96, 3, dtype=torch.uint8)
    with largest_floats:
        embed_split(model, images, CPU, noise, denoise=True)
    assert largest_floats.bytes <= BATCH_BYTES < 4 * images.numel()


def test_embeddings_that_are_not_finite_are_refused(model, make_split):
    model.scale.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        embed_split(model, make_split(samples=4).images, CPU)


@pytest.mark.parametrize(("world_size", "batch", "rows"), [(2, 512, [2301, 1151]), (3, 100, [2301, 767, 767])])
def test_ranks_embed_what_one_does_whatever_the_batch(world_size, batch, rows, start_ranks):
    """Noise included: more images than one block of draws holds."""
    alone = run_ranks(start_ranks, 1, 700)
    together = run_ranks(start_ranks, world_size, batch)
    assert alone["rows"] == [2301]
    assert together["rows"] == rows
    np.testing.assert_array_equal(together["latents"], alone["latents"])
    assert together["labels"] == alone["labels"]


def test_embedding_that_is_not_finite_on_one_rank_ends_all_and_is_told_once(start_ranks):
    (first, is_told_first), (second, is_told_second) = run_ranks(start_ranks, 2, 512, 2300)
    assert first == second
    assert "not finite" in first
    assert (is_told_first, is_told_second) == (True, False)
