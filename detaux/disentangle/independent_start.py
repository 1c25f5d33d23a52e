"""Start the free subspaces of a conditional model as the independent parts of the code that the warm-up learnt."""

import torch
from torch import Tensor

from detaux.config import Config
from detaux.data.prepare import fit_batch, prepare_images
from detaux.data.split import Split
from detaux.disentangle.independence import find_independent_parts, start_projectors
from detaux.disentangle.model import Disentangler
from detaux.runtime.progress import say

MOST_IMAGES = 16384  # that independence is measured on
BATCH = 512  # most images in a batch


@torch.no_grad()
def start_independent(model: Disentangler, split: Split, config: Config) -> None:
    """Replace the projectors of a model, whose encoder stays as it is. It depends on that encoder, the images and run.seed."""
    generator = torch.Generator().manual_seed(config.run.seed)
    rows = torch.randperm(len(split.keys), generator=generator)[:MOST_IMAGES]
    device, data = next(model.parameters()).device, config.data
    side = split.images.shape[1:3]

    def encode(part: Tensor) -> Tensor:
        def draw() -> Tensor:
            return torch.rand(len(part), *side, generator=generator)

        return model.encode(
            prepare_images(split.images[part], device, noise=data.noise, draw=draw, denoise=data.denoise)
        ).float()

    codes_ND = torch.cat([encode(part) for part in rows.split(fit_batch(BATCH, split.images.shape))])
    free_NF = model.select_free(codes_ND).cpu().numpy()
    parts = find_independent_parts(free_NF, most=model.num_subspaces - 1, seed=config.run.seed)
    say(
        f"disentangle: the code has {len(parts.maps_GFF)} independent parts in {parts.used} of {free_NF.shape[1]} dimensions."
    )
    if parts.used == 0:
        say("disentangle: no dimension is in use; lower losses.weights.divergence or train longer.")
    start_projectors(model.projectors, parts, codes_ND)
