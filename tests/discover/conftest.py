"""Seeded points, and a stand-in model whose subspaces are the colour channels of an image."""

import numpy as np
import pytest
import torch

from detaux.data.split import Split
from detaux.discover.candidate import Candidate
from detaux.discover.cluster import Clusters

SIDE = 8


def draw_blobs(sizes=(200, 150, 100), dims=4, noise=0, spread=0.3, seed=0):
    """float32 [N, dims] and labels [N]: Gaussians on distinct axes, uniform noise labelled -1, in a seeded order."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = 10 * np.eye(len(sizes), dims)
    points = centres[labels] + spread * random.normal(size=(len(labels), dims))
    points = np.concatenate([points, random.uniform(-20, 30, (noise, dims))])
    labels = np.concatenate([labels, np.full(noise, -1)])
    order = random.permutation(len(labels))
    return points[order].astype(np.float32), labels[order]


def build_candidate(labels, points=None, subspaces=(1,), **scores):
    """A candidate with the given labels and scores; points are drawn where none are given."""
    labels = np.asarray(labels)
    if points is None:
        points = np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32)
    clusters = Clusters(labels, (labels >= 0).astype(np.float32), "by hand")
    return Candidate(points, clusters, subspaces, scores=scores)


class ChannelModel(torch.nn.Module):
    """Subspace k < 3 is the mean of colour channel k, subspace 3 is dead; the code draws a plain image of its colour."""

    alpha, num_subspaces = 0, 4

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(10.0))

    def encode(self, images_NCHW):
        return self.scale * images_NCHW.mean((2, 3))

    def project(self, latents_ND):
        return torch.cat([torch.diag_embed(latents_ND), torch.zeros_like(latents_ND)[:, None]], dim=1)

    def decode(self, latents_ND):
        return (latents_ND / self.scale)[:, :, None, None].expand(-1, -1, SIDE, SIDE)


def draw_split(samples=400, hidden=5, seed=0):
    """Images whose red is the principal class (3 levels), whose green is a hidden factor and whose blue is anything."""
    random = np.random.default_rng(seed)
    red, green = random.integers(3, size=samples), random.integers(hidden, size=samples)
    colours = np.stack(
        [40 + 80 * red, 20 + 200 // max(1, hidden - 1) * green, random.integers(20, 236, samples)], axis=1
    )
    pixels = colours[:, None, None] + random.integers(-9, 10, (samples, SIDE, SIDE, 3))
    return Split(
        images=torch.from_numpy(pixels.astype(np.uint8)),
        labels=torch.from_numpy(red),
        keys=[f"{index:05d}" for index in range(samples)],
        factors=torch.from_numpy(np.stack([red, green], axis=1)),
    )


@pytest.fixture
def model():
    return ChannelModel().eval()


@pytest.fixture
def make_blobs():
    return draw_blobs


@pytest.fixture
def make_candidate():
    return build_candidate


@pytest.fixture
def make_split():
    return draw_split
