"""Seeded points, candidates by hand, and a stand-in for a GPU."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters
from detaux.discover.clusterers import spanning_tree


def draw_blobs(sizes=(200, 150, 100), dims=4, noise=0, spread=0.3, seed=0):
    """Tensor float32 [N, dims] and labels [N]: Gaussians on distinct axes, uniform noise labelled -1, in a seeded order."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = 10 * np.eye(len(sizes), dims)
    points = centres[labels] + spread * random.normal(size=(len(labels), dims))
    points = np.concatenate([points, random.uniform(-20, 30, (noise, dims))])
    labels = np.concatenate([labels, np.full(noise, -1)])
    order = random.permutation(len(labels))
    return torch.from_numpy(points[order].astype(np.float32)), labels[order]


def build_candidate(labels, points=None, subspaces=(1,), **scores):
    """A candidate with the given labels and scores; points are drawn where none are given."""
    labels = np.asarray(labels)
    if points is None:
        points = torch.from_numpy(np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32))
    clusters = Clusters(labels, (labels >= 0).astype(np.float32), "by hand")
    return Candidate(points, clusters, subspaces, scores=scores)


def _is_list(value):
    return isinstance(value, list)


class FarTensor(torch.Tensor):
    """A tensor on a device of its own: it says cuda:0, computes on the CPU, and gives nothing away but through a FarDevice."""

    @staticmethod
    def __new__(cls, held):
        place = {"strides": held.stride(), "storage_offset": held.storage_offset(), "device": FarDevice.NAME}
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, **place)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        raise AssertionError(f"{function} of a far tensor outside its FarDevice")

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        if function in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if function is torch.Tensor.tolist:
            return arguments[0].cpu().tolist()
        if function is torch.Tensor.__getitem__:  # a list goes straight to the device, which is not there
            arguments = tree_map(
                lambda one: torch.tensor(one) if isinstance(one, list) else one, arguments, is_leaf=_is_list
            )
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **(options or {}))


class FarDevice(TorchDispatchMode):
    """Makes FarTensors of what is sent to cuda, refuses to mix them with others as a GPU would, and writes down the bytes of
    every read: what .cpu(), .item(), .tolist(), float(), bool() and int() bring to the host."""

    NAME = torch.device("cuda", 0)
    TAKES_HOST_INDICES = ("aten.index.Tensor", "aten.index_put_.default", "aten._to_copy.default", "aten.copy_.default")

    def __init__(self):
        super().__init__()
        self.reads = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        given, _ = tree_flatten((arguments, options))
        far = [one for one in given if isinstance(one, FarTensor)]
        near = [one for one in given if isinstance(one, torch.Tensor) and not isinstance(one, FarTensor) and one.dim()]
        assert not far or not near or str(function) in self.TAKES_HOST_INDICES, f"{function} mixes devices"
        found = function(*tree_map(self._bring_near, arguments), **tree_map(self._bring_near, options))
        wanted = options.get("device")
        stays = bool(far) if wanted is None else torch.device(wanted).type == "cuda"
        if far and (not stays or not isinstance(found, torch.Tensor | tuple | list)):
            self.reads.append(found.nbytes if isinstance(found, torch.Tensor) else far[0].held.nbytes)
        if not stays:
            return found
        known = {id(one.held): one for one in far}
        return tree_map(lambda one: self._send_far(one, known), found)

    @staticmethod
    def _send_far(value, known):
        if not isinstance(value, torch.Tensor):
            return value
        return known[id(value)] if id(value) in known else FarTensor(value)

    @staticmethod
    def _bring_near(value):
        if isinstance(value, torch.device):
            return torch.device("cpu")
        return value.held if isinstance(value, FarTensor) else value


@pytest.fixture
def far_device(monkeypatch):
    """A stand-in for a GPU on a machine without one, on which each byte that is read is counted."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(spanning_tree, "HAS_TRITON", False)  # a stand-in runs no kernel
    torch._C._ensureCUDADeviceGuardSet()
    with FarDevice() as device:
        yield device


@pytest.fixture
def make_blobs():
    return draw_blobs


@pytest.fixture
def make_candidate():
    return build_candidate
