"""The weights of a trained classifier as a file: the network of a method, saved and loaded again."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.runtime.files import atomic_path
from detaux.runtime.readers import read_safetensors


def save_classifier(network: nn.Module, path: Path) -> None:
    """Write the tensors of a method's network as safetensors."""
    with atomic_path(path) as partial:
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, partial)


def load_classifier(path: Path, method: str, spec: TaskSpec, device: torch.device, way_on: str) -> nn.Module:
    """Build the network of a method and load its tensors; raises UserError, which ends with `way_on`, if the file is damaged."""
    network = build_method(method, spec).network.to(device)
    network.load_state_dict(read_safetensors(path, way_on))
    return network
