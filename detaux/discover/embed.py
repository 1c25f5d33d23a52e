"""Embed a whole split: what the encoder and the projectors say of every image."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from detaux.data.draws import draw_columns, keep_block
from detaux.data.prepare import fit_batch, prepare_images
from detaux.disentangle.model import Disentangler
from detaux.errors import UserError
from detaux.runtime.agreement import run_each
from detaux.runtime.collectives import collect_parts, take_part
from detaux.runtime.progress import track

BATCH = 512  # images at most


@dataclass(frozen=True)
class Embeddings:
    """subspaces_NKD float32 [N, K, D]; latents_ND float32 [N, D], the encoder's code; both on the device of the model."""

    subspaces_NKD: Tensor
    latents_ND: Tensor


def embed_split(
    model: Disentangler,
    images: Tensor,
    device: torch.device,
    noise: float = 0.0,
    seed: int = 0,
    *,
    denoise: bool = False,
) -> Embeddings:
    """Embeddings of images uint8 [N, H, W, C], in their order; `noise` is the salt and pepper the model was trained on, and
    `denoise` whether it saw it removed.

    Every rank embeds its part of the images, and the first has the embeddings of all; another has those of its part.
    Raises UserError where an embedding is not finite.
    """
    subspaces_NKD, latents_ND = run_each(lambda: _embed_part(model, images, device, noise, seed, denoise))
    return Embeddings(collect_parts(subspaces_NKD, len(images)), collect_parts(latents_ND, len(images)))


@torch.no_grad()
def _embed_part(
    model: Disentangler, images: Tensor, device: torch.device, noise: float, seed: int, denoise: bool
) -> tuple[Tensor, Tensor]:
    side = images.shape[1:3]

    @keep_block
    def draw_block(block: range, generator: torch.Generator) -> Tensor:
        return torch.rand(*side, len(block), generator=generator)

    def draw_noise(rows: range) -> Tensor:
        return draw_columns(draw_block, len(images), rows, seed).permute(2, 0, 1)

    part, size = take_part(len(images)), fit_batch(BATCH, images.shape)
    subspaces, latents = [], []
    with track("discover: embed", part.stop - part.start) as advance:
        for begin in range(part.start, part.stop, size):
            rows = range(begin, min(begin + size, part.stop))
            batch_NCHW = prepare_images(
                images[rows.start : rows.stop],
                device,
                noise=noise,
                draw=partial(draw_noise, rows),
                denoise=denoise,
            )
            code_ND = model.encode(batch_NCHW)
            latents.append(code_ND.float())
            subspaces.append(model.project(code_ND).float())
            advance(len(rows))
    if not all(one.isfinite().all() for one in subspaces):
        raise UserError("the disentangler gives values that are not finite; train it again with a lower learning rate.")
    return torch.cat(subspaces), torch.cat(latents)
