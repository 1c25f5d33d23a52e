import numpy as np
import pytest
import torch

from detaux.discover import embed
from detaux.discover.embed import embed_split
from detaux.errors import UserError

CPU = torch.device("cpu")


def test_embeddings_match_the_model_in_the_order_of_images(model, make_split, monkeypatch):
    monkeypatch.setattr(embed, "BATCH", 7)
    images = make_split(samples=20).images
    found = embed_split(model, images, CPU)
    means = 10 * images.float().mean((1, 2)).numpy() / 255
    np.testing.assert_allclose(found.latents_ND, means, rtol=1e-5)
    np.testing.assert_allclose(found.subspaces_NKD.sum(1), means, rtol=1e-5)
    assert found.subspaces_NKD.shape == (20, 4, 3)
    assert found.subspaces_NKD.dtype == found.latents_ND.dtype == np.float32


def test_noise_changes_embeddings_and_repeats_with_the_seed(model, make_split):
    images = make_split(samples=20).images
    clean, first, second = (embed_split(model, images, CPU, noise, seed=1).latents_ND for noise in (0.0, 0.3, 0.3))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(clean, first)


def test_embeddings_that_are_not_finite_are_refused(model, make_split):
    model.scale.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        embed_split(model, make_split(samples=4).images, CPU)
