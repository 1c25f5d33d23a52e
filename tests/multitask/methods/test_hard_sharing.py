import torch

from detaux.config.schema import MultitaskConfig
from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.hard_sharing import HardSharing

CONFIG = MultitaskConfig(dropout=0.0, head_hidden=32)


def test_zero_weight_gives_the_backbone_the_gradient_of_stl():
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    gradients = []
    for classes in ([2], [2, 3]):
        torch.manual_seed(0)
        method = HardSharing(TaskSpec(CONFIG, 16, classes, 0.0))
        batches = [
            TaskBatch(images, {0: torch.arange(8) % 2}, 8),
            TaskBatch(images.flip(0), {1: torch.arange(8) % 3}, 8),
        ]
        method.compute_loss(batches[: len(classes)]).backward()
        gradients.append([parameter.grad for parameter in method.network.backbone.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-7)


def test_tasks_of_one_batch_lose_as_in_a_batch_each():
    torch.manual_seed(0)
    method = HardSharing(TaskSpec(CONFIG, 16, [2, 3], 0.5))
    images, principal, auxiliary = torch.rand(6, 3, 16, 16), torch.arange(6) % 2, torch.arange(6) % 3
    joint = method.compute_loss([TaskBatch(images, {0: principal, 1: auxiliary}, 6)])
    apart = method.compute_loss([TaskBatch(images, {0: principal}, 6), TaskBatch(images, {1: auxiliary}, 6)])
    torch.testing.assert_close(joint, apart)
