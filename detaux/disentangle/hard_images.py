"""Draw a part of each batch from hard images: those that a small network misclassifies if it has not seen them.

If something follows the label in nearly all images, the network leans on it. So the hard images are mostly those in
which it does not follow, and only these show that it is not the label.

N images, H hard images, B images of a batch.
"""

import numpy as np
import torch
from torch import Tensor

from detaux.config import Config
from detaux.data.draws import draw_columns
from detaux.data.stream import SampleStream
from detaux.data.window import Window
from detaux.out_of_fold.folds import predict_out_of_fold
from detaux.out_of_fold.network import shrink_images
from detaux.runtime.progress import say

STEPS, BATCH = 300, 64  # of the two networks; few steps, in which a network learns what is easiest to see
LEAST = 16  # fewer hard images would be learnt by heart
STREAM = 5  # separates these draws from others of the same seed


def find_hard_images(window: Window, classes: int, config: Config) -> list[int]:
    """Return the places in the window of the images whose known label a network of the other fold does not give them.

    It depends on the images, their labels, the noise that training sees, and run.seed. The list is empty if fewer than
    LEAST are hard, or if fewer than two classes have two known images: draw_folds could put all into one fold.
    """
    labels_N, data, seed = window.labels.numpy(), config.data, config.run.seed
    known = np.flatnonzero(labels_N >= 0)
    hard = np.empty(0, np.int64)
    if (np.unique(labels_N[known], return_counts=True)[1] > 1).sum() > 1:
        images_NHWC = shrink_images(window.all_images, data.noise, data.denoise, seed)
        found_Nk, _ = predict_out_of_fold(
            images_NHWC, labels_N, classes, steps=STEPS, batch_size=BATCH, seed=(seed, STREAM)
        )
        found_N = found_Nk.argmax(1)
        hard = known[found_N[known] != labels_N[known]]
    text = (
        f"disentangle: {len(hard)} of {len(known)} labelled images are hard for a small network that has not seen them"
    )
    if len(hard) < LEAST:
        say(
            f"{text}; these are too few, so disentangle.hard_fraction={config.disentangle.hard_fraction:g} has no effect."
        )
        return []
    say(f"{text}; they make {config.disentangle.hard_fraction:.0%} of each batch of the warm-up.")
    return hard.tolist()


def read_hard_images(stream: SampleStream, places_H: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the images uint8 [H, H, W, C], on the CPU, and labels [H] at places [H] of an epoch, in rising order.

    The epoch is read `size` samples at a time, so that only the hard images stay in memory.
    """
    images, labels = [], []
    end = int(places_H[-1]) + 1 if len(places_H) else 1
    for first in range(0, end, size):
        window = stream.window(first, min(size, stream.samples - first))
        rows = places_H[(places_H >= first) & (places_H < first + size)] - first
        images.append(window.images(rows).cpu())
        labels.append(window.labels[rows])
    stream.forget()
    return torch.cat(images), torch.cat(labels)


class HardImages:
    """Hold the places [H] of hard images in an epoch, the images and their labels, and draw from them."""

    def __init__(self, places_H: Tensor, images: Tensor, labels_H: Tensor, fraction: float, seed: int) -> None:
        self.places_H = places_H
        self._images, self._labels_H, self._fraction, self._seed = images, labels_H, fraction, seed

    def replace(self, images: Tensor, labels: Tensor, step: int, wanted: range, total: int) -> tuple[Tensor, Tensor]:
        """Return images and labels of the places `wanted` of a step's batch, in which the share `fraction` is hard.

        The same places of every batch are hard, evenly spaced, so that all parts of a batch have their share. Which
        images come there is drawn, all with equal probability.
        """
        if len(self.places_H) == 0:
            return images, labels

        def draw_block(block: range, generator: torch.Generator) -> Tensor:
            return torch.randint(len(self.places_H), (len(block),), generator=generator)

        drawn = draw_columns(draw_block, total, wanted, self._seed, STREAM, step)
        counts = (torch.arange(wanted.start, wanted.stop + 1, dtype=torch.float64) * self._fraction).floor()
        places = torch.nonzero(counts.diff() > 0).squeeze(1)
        rows = drawn[places]
        images, labels = images.clone(), labels.clone()
        images[places.to(images.device)] = self._images[rows].to(images.device)
        labels[places] = self._labels_H[rows]
        return images, labels
