"""Declare the keys of the disentangling network."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class ModelConfig:
    encoder: Literal["simple_conv", "patch_conv", "resnet18", "resnet18_map"] = key(
        "patch_conv", "autoencoder architecture; resnet18_map keeps a map of positions as its code"
    )
    latent: int = key(16, "size D of the latent code; resnet18_map: channels at each position of its map", 1, 65536)
    subspaces: int = key(10, "number K of subspaces; the first carries the principal task", 2, 256)
    conditional: bool = key(
        False,
        "the warm-up gives the decoder the principal label, so that the code holds what the label does not say; the free "
        "subspaces then start as the independent parts of that code",
    )
    restarts: int = key(
        1, "disentanglers trained from different seeds; discovery chooses among the candidates of all", 1, 64
    )
    projector_hidden: int = key(0, "hidden units of a projector; 0 means as many as model.latent", 0, 65536)
