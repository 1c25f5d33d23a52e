"""Embed a whole split: what the encoder and the projectors say of every image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detaux.data.augment import add_noise, to_float
from detaux.disentangle.model import Disentangler
from detaux.errors import UserError
from detaux.runtime.progress import track

BATCH = 512


@dataclass(frozen=True)
class Embeddings:
    """subspaces_NKD float32 [N, K, D]; latents_ND float32 [N, D], the encoder's code."""

    subspaces_NKD: np.ndarray
    latents_ND: np.ndarray


@torch.no_grad()
def embed_split(
    model: Disentangler, images: Tensor, device: torch.device, noise: float = 0.0, seed: int = 0
) -> Embeddings:
    """Embeddings of images uint8 [N, H, W, C], in their order; `noise` is the salt and pepper the model was trained on.

    Raises UserError where an embedding is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    latents, subspaces = [], []
    with track("discover: embed", len(images)) as advance:
        for part in images.split(BATCH):
            batch_NCHW = to_float(part.to(device))
            if noise > 0:
                batch_NCHW = add_noise(batch_NCHW, noise, generator)
            latents_ND = model.encode(batch_NCHW)
            latents.append(latents_ND.float().cpu())
            subspaces.append(model.project(latents_ND).float().cpu())
            advance(len(part))
    embeddings = Embeddings(torch.cat(subspaces).numpy(), torch.cat(latents).numpy())
    if not np.isfinite(embeddings.subspaces_NKD).all():
        raise UserError("the disentangler gives values that are not finite; train it again with a lower learning rate.")
    return embeddings
