"""Call a network with other weights than its own, so that a gradient can be taken through a step that is never taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Snapshot:
    """Hold the present weights of a module as leaves of their own: `weights`, in the order of its parameters.

    The module itself keeps its weights, gradients and buffers, whatever is computed here. Dropout is off, because two
    calls with different masks would differ by noise.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.names = [name for name, _ in module.named_parameters()]
        self.weights = [value.detach().clone().requires_grad_() for value in module.parameters()]

    def call(self, weights: list[Tensor], *inputs: Tensor) -> Any:
        """Return the module's output with `weights` as its parameters and copies of its buffers."""
        tensors = dict(zip(self.names, weights, strict=True))
        # batch normalisation writes its running statistics into the copies
        tensors |= {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        with _without_dropout(self.module):
            return functional_call(self.module, tensors, inputs)


@contextmanager
def _without_dropout(module: nn.Module) -> Iterator[None]:
    layers = [layer for layer in module.modules() if isinstance(layer, DROPOUT) and layer.training]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True
