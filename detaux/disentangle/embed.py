"""Embed a whole split: compute the encoder's code and the projections of every image."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from detaux.data.draws import draw_picture_noise
from detaux.data.prepare import fit_batch, prepare_images
from detaux.disentangle.model import Disentangler
from detaux.errors import UserError
from detaux.runtime.agreement import run_each
from detaux.runtime.collectives import collect_parts, take_part
from detaux.runtime.progress import track

BATCH = 512  # images at most


@dataclass(frozen=True)
class Embeddings:
    """Hold subspaces_NKD float32 [N, K, D] and the encoder's code latents_ND float32 [N, D], on the model's device."""

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
    """Embed images uint8 [N, H, W, C] in their order.

    `noise` is the salt and pepper that the model was trained on, and `denoise` says whether the model saw it removed.
    Every rank embeds its part of the images. The first rank returns the embeddings of all images, another rank those of
    its part. Raises UserError if a projection is not finite.
    """
    part = take_part(len(images))
    rows, title = range(part.start, part.stop), "discover: embed"
    subspaces_NKD, latents_ND = run_each(lambda: embed_rows(model, images, rows, device, noise, seed, denoise, title))
    return Embeddings(collect_parts(subspaces_NKD, len(images)), collect_parts(latents_ND, len(images)))


@torch.no_grad()
def embed_rows(
    model: Disentangler,
    images: Tensor,
    rows: range,
    device: torch.device,
    noise: float,
    seed: int,
    denoise: bool,
    title: str,
) -> tuple[Tensor, Tensor]:
    """Return the subspaces [n, K, D] and the code [n, D] of the images at `rows`, without the other ranks.

    The arguments are those of embed_split, and `title` names the work on the terminal. Raises UserError as it does.
    """
    draw_noise, size = draw_picture_noise(images.shape, seed), fit_batch(BATCH, images.shape)
    subspaces, latents = [], []
    with track(title, len(rows)) as advance:
        for begin in range(rows.start, rows.stop, size):
            some = range(begin, min(begin + size, rows.stop))
            batch_NCHW = prepare_images(
                images[some.start : some.stop], device, noise=noise, draw=partial(draw_noise, some), denoise=denoise
            )
            code_ND = model.encode(batch_NCHW)
            latents.append(code_ND.float())
            subspaces.append(model.project(code_ND).float())
            advance(len(some))
    if not all(one.isfinite().all() for one in subspaces):
        raise UserError("the disentangler gives values that are not finite; train it again with a lower learning rate.")
    return torch.cat(subspaces), torch.cat(latents)
