"""Define the disentangler: encoder, stacked projectors and decoder, connected as in Eq. (1) of the paper."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detaux.artefacts import CHECKPOINT_NAME, CONFIG_NAME, MODEL_FILE
from detaux.backbones.autoencoders import ARCHITECTURES, initialize
from detaux.config import load_config
from detaux.config.schema import ModelConfig
from detaux.disentangle.label_part import LabelPart
from detaux.disentangle.projectors import StackedProjectors
from detaux.errors import UserError
from detaux.runtime.files import atomic_path
from detaux.runtime.readers import read_safetensors


class Disentangler(nn.Module):
    """Map x -> f -> z -> (s_1..s_K) -> sum -> g -> x (paper, Eq. 1).

    N images [N, 3, S, S] in [0, 1]; latents [N, D]; subspaces [N, K, D]. The first subspace (`alpha`) carries the
    principal task (Eq. 3). A conditional model has a `label_part` for its `classes`.
    """

    alpha = 0

    def __init__(self, config: ModelConfig, side: int, classes: int = 0) -> None:
        super().__init__()
        self.encoder, self.decoder = ARCHITECTURES[config.encoder](side, config.latent)
        initialize(self.encoder)
        initialize(self.decoder)
        self.projectors = StackedProjectors(config.subspaces, config.latent, config.projector_hidden or config.latent)
        self.num_subspaces, self.side = config.subspaces, side
        self.label_part = LabelPart(classes, config.latent) if config.conditional else None

    def encode(self, images_NCHW: Tensor) -> Tensor:
        return self.encoder(images_NCHW)

    def project(self, latents_ND: Tensor) -> Tensor:
        return self.projectors(latents_ND)

    def select_free(self, latents_ND: Tensor) -> Tensor:
        """Return the code without the label's part, [N, F]; the whole code if the model is not conditional."""
        return latents_ND if self.label_part is None else self.label_part.split(latents_ND)[1].contiguous()

    def decode(self, latents_ND: Tensor) -> Tensor:
        return self.decoder(latents_ND)

    def forward(self, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return subspaces [N, K, D] and reconstructions [N, 3, S, S]."""
        subspaces_NKD = self.project(self.encode(images_NCHW))
        return subspaces_NKD, self.decode(subspaces_NKD.sum(1))


def save_disentangler(weights: dict[str, Tensor], side: int, path: Path) -> None:
    """Write a state_dict, and the side of its images."""
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    with atomic_path(path) as partial:
        save_file({**contiguous, "side": torch.tensor(side)}, partial)


def load_disentangler(folder: Path, device: torch.device, file: Path = MODEL_FILE) -> Disentangler:
    """Load the trained disentangler of a run's `disentangle` folder, in evaluation mode.

    With AUTOENCODER_FILE, load it as it was before the losses on pairs, when it had only learnt to reconstruct.

    Raises UserError if the folder has no such model, or one of another version.
    """
    path = folder / file
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `detaux disentangle` first, or let it finish.")
    config = load_config(folder / CHECKPOINT_NAME / CONFIG_NAME, is_frozen=True)
    way_on = f"delete {folder} and run `detaux disentangle` again"
    weights = read_safetensors(path, way_on)
    try:
        side = int(weights.pop("side"))
        classes = len(weights["label_part.codes_CL"]) if config.model.conditional else 0
        model = Disentangler(config.model, side, classes)
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, ValueError):
        raise UserError(f"{path} does not fit this version of Detaux and this config: {way_on}.") from None
    return model.to(device).eval()
