"""Find the images nearest to each image of a pool, for real pictures: no two of them differ in exactly one factor."""

import torch
from torch import Tensor

from detaux.data.image_rows import Images
from detaux.data.neighbours import ROWS, describe_images, find_k_nearest
from detaux.runtime.collectives import gather_objects
from detaux.runtime.ranks import rank, world_size


def mine_nearest(images: Images, nearest: int, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Find the `nearest` other images to each of uint8 images [P, H, W, C], nearest first, [P, k].

    If there are fewer other images, all are returned. `noise` is described in describe_images. All ranks call it
    together and share the work.
    """
    points_PF = describe_images(images, noise, seed)
    blocks = torch.arange(len(images), device=images.device).split(ROWS)
    found = gather_objects([find_k_nearest(points_PF, nearest, rows).cpu() for rows in blocks[rank() :: world_size()]])
    return torch.cat([found[block % world_size()][block // world_size()] for block in range(len(blocks))])
