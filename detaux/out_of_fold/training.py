"""Train the network of one fold, and label images by it.

N images, S side in pixels, C channels, k clusters, T training steps, B images of a step.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from detaux.data.draws import seed_generator
from detaux.data.image_rows import Images
from detaux.data.prepare import fit_batch, prepare_images
from detaux.out_of_fold.network import BATCH, build_network

PEAK_LR, WEIGHT_DECAY, SMOOTHING = 4e-3, 0.05, 0.1


def draw_balanced(labels_N: np.ndarray, steps: int, batch: int, generator: torch.Generator) -> Tensor:
    """Draw positions in labels_N for each step, int64 [T, B]: first a cluster, then one of its images, both uniform.

    So each cluster weighs the same in the mean loss, whatever its size.
    """
    order = torch.from_numpy(np.argsort(labels_N, kind="stable"))
    counts_k = torch.from_numpy(np.bincount(labels_N))
    counts_k = counts_k[counts_k > 0]
    starts_k = counts_k.cumsum(0) - counts_k
    cluster_TB = torch.randint(len(counts_k), (steps, batch), generator=generator)
    place_TB = torch.rand(steps, batch, generator=generator, dtype=torch.float64) * counts_k[cluster_TB]
    return order[starts_k[cluster_TB] + place_TB.long()]


def train_network(
    images_NHWC: Images,
    rows: np.ndarray,
    labels: np.ndarray,
    clusters: int,
    steps: int,
    batch_size: int,
    seed: tuple[int, ...],
    deadline: float,
) -> nn.Module:
    """Train a network on the images `rows` of uint8 [N, S, S, C] with their labels in 0 .. clusters - 1.

    It is a pure function of its arguments on a CPU, and leaves torch's global random state as it was. It copies nothing
    from the device. Raises TimeoutError if `time.monotonic()` passes `deadline`.
    """
    device = images_NHWC.device
    generator = seed_generator(*seed)
    drawn_TB = draw_balanced(labels, steps, batch_size, generator)
    rows_TB, labels_TB = (torch.from_numpy(one)[drawn_TB].to(device) for one in (rows, labels))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # for the initial weights and dropout
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        network = build_network(images_NHWC.shape[1], images_NHWC.shape[3], clusters).to(device)
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
        schedule = OneCycleLR(optimizer, PEAK_LR, total_steps=max(steps, 2))
        for step in range(steps):
            if time.monotonic() > deadline:
                raise TimeoutError
            logits = network(prepare_images(images_NHWC[rows_TB[step]]))
            loss = functional.cross_entropy(logits, labels_TB[step], label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def predict_folds(networks: Sequence[nn.Module], images_NHWC: Images, fold_N: np.ndarray, clusters: int) -> np.ndarray:
    """Return the probability of each cluster, float32 [N, k]: image n is read by networks[fold_N[n]]."""
    found = torch.zeros(len(images_NHWC), clusters, device=images_NHWC.device)
    size = fit_batch(BATCH, images_NHWC.shape)
    for number, network in enumerate(networks):
        rows = torch.from_numpy(np.flatnonzero(fold_N == number)).to(images_NHWC.device)
        for some in rows.split(size):
            found[some] = network(prepare_images(images_NHWC[some])).softmax(1)
    return found.cpu().numpy()
