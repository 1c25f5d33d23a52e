"""Choose which code clusters: a library on the CPU, our own torch code on any device, or cuML on an NVIDIA GPU."""

from importlib import import_module
from typing import NamedTuple

import torch

from detaux.discover.clusterers import Clusterer
from detaux.errors import UserError

CLUSTERERS = {  # discover.clusterer -> discover.backend -> function
    "hdbscan": {
        "cpu": "hdbscan:cluster_hdbscan",
        "torch": "torch_hdbscan:cluster_torch_hdbscan",
        "cuml": "cuml:cluster_cuml_hdbscan",
    },
    "kmeans": {
        "cpu": "kmeans:cluster_kmeans",
        "torch": "torch_kmeans:cluster_torch_kmeans",
        "cuml": "cuml:cluster_cuml_kmeans",
    },
    "kmeans++": {
        "cpu": "kmeans:cluster_kmeans_plus_plus",
        "torch": "torch_kmeans:cluster_torch_kmeans_plus_plus",
        "cuml": "cuml:cluster_cuml_kmeans_plus_plus",
    },
    "meanshift": {"cpu": "meanshift:cluster_meanshift", "torch": "torch_meanshift:cluster_torch_meanshift"},
}


class Backend(NamedTuple):
    """Hold the name of a backend (cpu, torch or cuml) and, in words, the reason why it was chosen."""

    name: str
    reason: str


def select_backend(wanted: str, clusterer: str, device: torch.device) -> Backend:
    """Return the backend that `discover.backend` stands for, given a clusterer and the device of the points.

    Raises UserError if cuML is asked for and cannot run.
    """
    if wanted == "auto":
        backend = _select_fastest(device)
    elif wanted == "cuml" and (fault := _find_cuml_fault(device)):
        raise UserError(f"discover.backend=cuml cannot run: {fault}; use discover.backend=auto.")
    else:
        backend = Backend(wanted, f"discover.backend={wanted}")
    if backend.name not in CLUSTERERS[clusterer]:
        return Backend("torch", f"cuML has no {clusterer}")
    return backend


def _select_fastest(device: torch.device) -> Backend:
    if device.type == "cpu":
        return Backend("cpu", "on a CPU the libraries are faster than torch")
    fault = _find_cuml_fault(device)
    return Backend("torch", fault) if fault else Backend("cuml", "the points are on a GPU and cuML is installed")


def _find_cuml_fault(device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"the points are on the {device.type}, and cuML needs them on an NVIDIA GPU"
    try:
        import_module("detaux.discover.clusterers.cuml")
    except ImportError as error:
        return f"cuML cannot be imported ({error}); pip install 'detaux[gpu]'"
    return None


def load_clusterer(name: str, backend: str) -> Clusterer:
    """Return the function for a value of `discover.clusterer` and a backend. Its library is imported only now."""
    module, function = CLUSTERERS[name][backend].split(":")
    return getattr(import_module(f"detaux.discover.clusterers.{module}"), function)
