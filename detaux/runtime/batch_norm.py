"""Make batch normalisation use the images of all ranks: by torch's layer on GPUs, or by a layer of our own.

Ours runs on every device and has second derivatives. Torch's is faster, runs only on GPUs, and has none.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detaux.runtime.collectives import global_mean
from detaux.runtime.ranks import world_size

LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(_BatchNorm):
    """Normalise over the images of all ranks, on any device and with second derivatives.

    It takes values [n, C, ...]; n may differ between ranks and may be 0. Gradients flow through the statistics.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept every shape. The layer that was replaced had a shape of its own."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        axes, shape = [0, *range(2, values.dim())], [1, -1] + [1] * (values.dim() - 2)
        wide = values if values.dtype == torch.float64 else values.float()  # half precision would lose the sums
        here = wide.new_full((1,), values.numel() // self.num_features)
        total = global_mean(torch.cat([wide.sum(axes), here]))
        size = total[-1].detach()  # mean over the ranks
        mean, count = total[:-1] / size, size * world_size()
        centred = wide - mean.view(shape)
        variance = global_mean(centred.square().sum(axes)) / size
        self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(values.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, which evaluation uses. They have the unbiased variance, as torch's have."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean * share)
        self.running_var.mul_(1 - share).add_(variance * share)


def share_batch_statistics(model: nn.Module, device: torch.device, *, differentiates_twice: bool = False) -> None:
    """Make every batch normalisation inside a model normalise over the images of all ranks, on any device.

    `differentiates_twice`: training takes second derivatives, which torch's layer for GPUs lacks. The parameters stay
    the same objects, so an optimiser may hold them already.
    """
    if world_size() == 1:
        return
    if device.type == "cuda" and not differentiates_twice:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for parent, name, layer in list(_find_layers(model)):
        setattr(parent, name, _take_over(layer))


def _find_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, _BatchNorm]]:
    """Yield each batch normalisation with the module that holds it and its name there."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, LAYERS):
                yield parent, name, child


def _take_over(layer: _BatchNorm) -> SharedBatchNorm:
    """Build the layer that replaces `layer`, with its parameters and running statistics."""
    track = layer.track_running_stats
    shared = SharedBatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, track)
    shared.weight, shared.bias = layer.weight, layer.bias
    shared.running_mean, shared.running_var = layer.running_mean, layer.running_var
    shared.num_batches_tracked = layer.num_batches_tracked
    return shared.train(layer.training)
