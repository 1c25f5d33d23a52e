"""Make Figure 3 of the paper: each row moves one subspace or merged group from one training image to another."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detaux.disentangle.model import Disentangler

STEPS = 5
PAIRS_TRIED = 256


def pick_pair(subspaces_NKD: Tensor, groups: Sequence[Sequence[int]], seed: int) -> tuple[int, int]:
    """Pick two samples that differ in every group, if possible, from PAIRS_TRIED random pairs. Return their rows.

    The difference of a group is its distance over its spread. A pair counts by its smallest difference.
    """
    random = np.random.default_rng(seed)
    first, second = random.integers(len(subspaces_NKD), size=(2, PAIRS_TRIED))
    difference = subspaces_NKD[torch.from_numpy(first)] - subspaces_NKD[torch.from_numpy(second)]
    relative = []
    for group in map(list, groups):
        spread = subspaces_NKD[:, group].var(0, correction=0).sum().sqrt()
        relative.append(difference[:, group].norm(dim=(1, 2)) / spread.clamp_min(torch.finfo(torch.float32).tiny))
    best = int(torch.stack(relative).amin(0).argmax())
    return int(first[best]), int(second[best])


@torch.no_grad()
def traverse(model: Disentangler, images_2HWC: Tensor, ends_2KD: Tensor, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Return pictures uint8 [R, STEPS + 4, H, W, C], one row for each group.

    The columns are the first image, its reconstruction, STEPS pictures in which only the group moves from the first
    code to the second, the reconstruction of the second image, and the second image. images_2HWC uint8 and ends_2KD are
    the two images and their subspaces.
    """
    first_KD, second_KD = ends_2KD
    reconstructions = model.decode(ends_2KD.sum(1))
    rows = []
    for group in groups:
        shares = torch.linspace(0, 1, STEPS + 1, device=ends_2KD.device)[1:, None, None]
        codes_SKD = first_KD.repeat(STEPS, 1, 1)
        members = list(group)
        codes_SKD[:, members] += shares * (second_KD - first_KD)[members]
        rebuilt = to_bytes(torch.cat([reconstructions[:1], model.decode(codes_SKD.sum(1)), reconstructions[1:]]))
        originals = images_2HWC.cpu().numpy()
        rows.append(np.concatenate([originals[:1], rebuilt, originals[1:]]))
    return np.stack(rows)


def to_bytes(images_NCHW: Tensor) -> np.ndarray:
    """Convert float [N, C, H, W] in [0, 1] to uint8 [N, H, W, C]."""
    return (images_NCHW.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
