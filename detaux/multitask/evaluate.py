"""Evaluate classifiers: accuracy and loss of the principal task, and counts of each answer for each class of a task."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.multitask.batches import iterate_evaluation
from detaux.multitask.statistics import compute_interval
from detaux.runtime.collectives import gather_objects
from detaux.runtime.ranks import rank, world_size

MOST_IMAGES = 2048  # of the training split; its auxiliary labels are evaluated because the test split has none


@torch.no_grad()
def evaluate(network: nn.Module, images: Tensor, targets: Tensor, noise: float) -> dict[str, Any]:
    """Return principal accuracy, mean loss and number of examples on images uint8 [N, H, W, C].

    The noise is the same each time. Ranks share the batches. The result is bitwise the same for any number of ranks.
    """
    network.eval()
    found = []
    for number, batch, labels in iterate_evaluation(images, targets, noise, rank(), world_size()):
        logits = network(batch)[0]
        loss = functional.cross_entropy(logits, labels, reduction="sum").double().item()
        found.append((number, int((logits.argmax(1) == labels).sum()), loss))
    network.train()
    parts = sorted(part for parts in gather_objects(found) for part in parts)
    return {
        "accuracy": sum(correct for _, correct, _ in parts) / len(targets),
        "loss": sum(loss for _, _, loss in parts) / len(targets),
        "examples": len(targets),
    }


@torch.no_grad()
def count_answers(network: nn.Module, task: int, classes: int, images: Tensor, targets: Tensor, noise: float) -> Tensor:
    """Count each answer [columns] for each class [rows] of a task, int64 [C, C], on images uint8 [N, H, W, C].

    Ranks do not share the work: the rank that calls it evaluates all images. The noise is that of `evaluate`.
    """
    network.eval()
    counts = torch.zeros(classes * classes, dtype=torch.int64)
    for _, batch, labels in iterate_evaluation(images, targets, noise):
        answers = network(batch)[task].argmax(1)
        counts += torch.bincount((labels * classes + answers).cpu(), minlength=classes * classes)
    network.train()
    return counts.reshape(classes, classes)


def thin_out(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return at most MOST_IMAGES images with their targets, spread evenly over the input."""
    stride = -(-len(images) // MOST_IMAGES)
    return images[::stride], targets[::stride]


def describe_task(task: str, split: str, classes: list[str], seeds: list[Tensor]) -> dict[str, Any]:
    """Make a task's line of metrics.json from each seed's counts: mean accuracy, its interval, the summed counts."""
    mean, low, high = compute_interval([float(counts.diagonal().sum() / counts.sum()) for counts in seeds])
    return {
        "task": task,
        "split": split,
        "images": int(seeds[0].sum()),
        "seeds": len(seeds),
        "accuracy_mean": mean,
        "accuracy_low": low,
        "accuracy_high": high,
        "classes": classes,
        "counts": sum(seeds[1:], seeds[0]).tolist(),
    }
