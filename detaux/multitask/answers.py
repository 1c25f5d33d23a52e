"""What trained classifiers answer, task by task: counts of true class and answer, and accuracy over seeds."""

from typing import Any

import torch
from torch import Tensor

from detaux.multitask.network import MultiTaskNetwork, iterate_evaluation
from detaux.multitask.statistics import compute_interval

MOST_IMAGES = 2048  # of the training split, whose auxiliary labels are looked at beside the test split


@torch.no_grad()
def count_answers(network: MultiTaskNetwork, task: int, images: Tensor, targets: Tensor, noise: float) -> Tensor:
    """How often each class [rows] of a task got each answer [columns], int64 [C, C], on images uint8 [N, H, W, C].

    The rank that calls it does so alone; the noise is that of `evaluate`.
    """
    network.eval()
    classes = network.classes[task]
    counts = torch.zeros(classes * classes, dtype=torch.int64)
    for _, batch, labels in iterate_evaluation(images, targets, noise):
        answers = network(batch)[task].argmax(1)
        counts += torch.bincount((labels * classes + answers).cpu(), minlength=classes * classes)
    network.train()
    return counts.reshape(classes, classes)


def thin_out(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """At most MOST_IMAGES of the images and their targets, spread evenly over all."""
    stride = -(-len(images) // MOST_IMAGES)
    return images[::stride], targets[::stride]


def describe_task(task: str, split: str, classes: list[str], seeds: list[Tensor]) -> dict[str, Any]:
    """A task's line of metrics.json from the counts of each seed: the accuracy's mean and interval, and the counts' sum."""
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
