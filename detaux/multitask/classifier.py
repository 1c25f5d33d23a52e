"""Save and load the weights of a trained classifier, which is the network of a method."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.runtime.files import atomic_path
from detaux.runtime.readers import read_safetensors


def save_classifier(network: nn.Module, path: Path) -> None:
    """Write the tensors of a method's network to a safetensors file."""
    with atomic_path(path) as partial:
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, partial)


def load_classifier(path: Path, method: str, spec: TaskSpec, device: torch.device, way_on: str) -> nn.Module:
    """Build the network of a method and load its tensors.

    Raises UserError if the file is damaged. The message ends with `way_on`.
    """
    network = build_method(method, spec).network.to(device)
    network.load_state_dict(read_safetensors(path, way_on))
    return network
