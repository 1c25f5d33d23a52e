"""Decode images under any label: the code of one image, with the label's part of any class.

N images, M recombined images, C classes, K subspaces, D latent size.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from detaux.config import Config
from detaux.data.prepare import fit_batch
from detaux.data.recombined import RecombinedImages
from detaux.data.split import Split
from detaux.disentangle.embed import embed_rows
from detaux.disentangle.model import Disentangler, load_disentangler
from detaux.errors import UserError
from detaux.runtime.progress import track

BATCH = 512  # images at most
MOST_BYTES = 2**29  # of all recombined images
TITLE = "multitask: recombine"


def recombine_images(disentangle: Path, split: Split, classes: int, config: Config) -> RecombinedImages:
    """Decode the images of a split under every class, by the disentangler in the folder `disentangle`.

    What is not the label's part of a code stays that of its image, which may have no label. Classes without a labelled
    image are left out, since nothing taught their code. If the N x C images are too many, `run.seed` draws a part of
    them. Every rank makes the same images. Raises UserError if the model was trained on images of another size or on
    other classes.
    """
    data, seed = config.data, config.run.seed
    generator = torch.Generator().manual_seed(seed)
    count, size = len(split.keys), math.prod(split.images.shape[1:])
    known_C = split.labels[split.labels >= 0].unique().cpu()
    pairs_M = torch.randperm(count * len(known_C), generator=generator)[: max(1, MOST_BYTES // size)].sort().values
    donors_M, labels_M = pairs_M // len(known_C), known_C[pairs_M % len(known_C)]
    model = load_disentangler(disentangle, split.images.device)
    _check_fit(model, disentangle, split, classes)
    codes_NKD, latents_ND = embed_rows(
        model, split.images, range(count), split.images.device, data.noise, seed, data.denoise, f"{TITLE}, embed"
    )
    if model.label_part is None:
        sources_M = draw_sources(split.labels.cpu(), labels_M, generator)

        def combine(some_m: Tensor) -> Tensor:
            return exchange_principal(codes_NKD, model.alpha, donors_M[some_m], sources_M[some_m])
    else:
        codes_CL, free_NF = model.label_part.standardize().detach(), model.select_free(latents_ND)

        def combine(some_m: Tensor) -> Tensor:
            return torch.cat([codes_CL[labels_M[some_m]], free_NF[donors_M[some_m]]], 1)

    images = _decode(model, combine, len(pairs_M), fit_batch(BATCH, split.images.shape))
    return RecombinedImages(images, labels_M.to(images.device), donors_M, config.multitask.recombine)


def _check_fit(model: Disentangler, folder: Path, split: Split, classes: int) -> None:
    known = classes if model.label_part is None else len(model.label_part.codes_CL)
    side = split.images.shape[1]
    if (model.side, known) != (side, classes):
        raise UserError(
            f"multitask.recombine: the disentangler in {folder} was trained on images of {model.side} pixels with {known} "
            f"classes, and the shards have {side} pixels and {classes} classes; run `detaux disentangle` on these shards first."
        )


def draw_sources(labels_N: Tensor, wanted_M: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the place of an image of each wanted class [M] from labels [N], in which each of these classes occurs."""
    places_M = torch.empty_like(wanted_M)
    for label in wanted_M.unique().tolist():
        members = torch.nonzero(labels_N == label).squeeze(1)
        is_wanted = wanted_M == label
        drawn = torch.randint(len(members), (int(is_wanted.sum()),), generator=generator)
        places_M[is_wanted] = members[drawn]
    return places_M


def exchange_principal(codes_NKD: Tensor, alpha: int, donors_M: Tensor, sources_M: Tensor) -> Tensor:
    """Return codes [M, D]: the sum of the subspaces of the donors, but the principal one, `alpha`, of the sources."""
    codes_MKD = codes_NKD[donors_M].clone()
    codes_MKD[:, alpha] = codes_NKD[sources_M, alpha]
    return codes_MKD.sum(1)


@torch.no_grad()
def _decode(model: Disentangler, combine: Callable[[Tensor], Tensor], count: int, size: int) -> Tensor:
    """Decode the codes that `combine` gives for places among `count`: uint8 [M, H, W, C], on the model's device."""
    parts = []
    with track(TITLE, count) as advance:
        for some_m in torch.arange(count).split(size):
            images_mCHW = model.decode(combine(some_m)).clamp(0, 1)
            parts.append((255 * images_mCHW).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous())
            advance(len(some_m))
    return torch.cat(parts)
