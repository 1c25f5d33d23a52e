"""The search of a round by a kernel against the torch version, and the choice between them.

Triton fixes whether it interprets when it is imported, so interpreted.py runs in another process,
which the files of this name share.
"""

import importlib.util

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import spanning_tree
from detaux.discover.clusterers.blocks import sort_into_blocks
from detaux.discover.clusterers.spanning_tree import (
    choose_search,
    compute_core_distances,
    span_mutual_reachability,
)
from detaux.discover.clusterers.torch_hdbscan import cluster_torch_hdbscan

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_interpreted_kernel_equals_the_torch_version(run_interpreted):
    code, output = run_interpreted()
    assert code == 0, output


@needs_triton
@pytest.mark.slow
def test_interpreted_kernel_equals_the_torch_version_at_larger_sizes(run_interpreted):
    code, output = run_interpreted("-m", "slow")
    assert code == 0, output


class Placed:
    """As much of a tensor as the choice looks at."""

    def __init__(self, device, dtype=torch.float32):
        self.device, self.dtype = torch.device(device), dtype


@needs_triton
def test_kernel_searches_float32_on_a_gpu_that_has_triton_and_torch_elsewhere(monkeypatch):
    from detaux.discover.clusterers.kernels import spanning_tree as kernels

    assert choose_search(Placed("cuda")) is kernels.search_round
    assert choose_search(Placed("cuda", torch.float64)) is spanning_tree.search_round
    assert choose_search(Placed("cpu")) is spanning_tree.search_round
    monkeypatch.setattr(spanning_tree, "HAS_TRITON", False)
    assert choose_search(Placed("cuda")) is spanning_tree.search_round


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("neighbours", [1, 64])
def test_clusters_on_a_gpu_are_those_on_the_cpu(neighbours):
    """The twin of interpreted.py, at a size that the interpreter is too slow for."""
    points, _ = make_blobs(20_000, 5, centers=8, random_state=0)
    points_ND = torch.from_numpy(points.astype(np.float32))
    weights, labels = [], []
    for placed_ND in (points_ND, points_ND.to("cuda")):
        blocks = sort_into_blocks(placed_ND)
        weights.append(np.sort(span_mutual_reachability(blocks, compute_core_distances(blocks, neighbours))[1]))
        labels.append(cluster_torch_hdbscan(placed_ND, DiscoverConfig(min_samples=neighbours), 0).labels)
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-5)
    np.testing.assert_array_equal(labels[1], labels[0])
