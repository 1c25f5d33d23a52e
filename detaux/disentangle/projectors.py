"""The K projectors p_1..p_K (paper, Eq. 1 and section 5): two-layer MLPs held as one stack of weights."""

import math

import torch
from torch import Tensor, nn


class StackedProjectors(nn.Module):
    """Map latents [N, D] to subspaces [N, K, D] by K two-layer MLPs in two batched products.

    Equal to a list of K ``Linear(D, H), ReLU, Linear(H, D)``, without K small launches.
    """

    def __init__(self, subspaces: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.hidden_weight_KDH = nn.Parameter(torch.randn(subspaces, latent, hidden) * math.sqrt(2 / latent))
        self.hidden_bias_K1H = nn.Parameter(torch.zeros(subspaces, 1, hidden))
        self.output_weight_KHD = nn.Parameter(torch.randn(subspaces, hidden, latent) * math.sqrt(2 / hidden))
        self.output_bias_K1D = nn.Parameter(torch.zeros(subspaces, 1, latent))

    def forward(self, latents_ND: Tensor) -> Tensor:
        subspaces = self.hidden_weight_KDH.shape[0]
        latents_KND = latents_ND.expand(subspaces, *latents_ND.shape)
        hidden_KNH = torch.baddbmm(self.hidden_bias_K1H, latents_KND, self.hidden_weight_KDH).relu()
        return torch.baddbmm(self.output_bias_K1D, hidden_KNH, self.output_weight_KHD).transpose(0, 1)
