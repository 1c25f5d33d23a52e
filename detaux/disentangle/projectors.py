"""Define the K projectors p_1..p_K (paper, Eq. 1 and section 5), two-layer MLPs in one stack of weights.

N images, K subspaces, H hidden units, D latent size, M channels. If the code is a vector, M = D.
"""

import math

import torch
from torch import Tensor, nn


class StackedProjectors(nn.Module):
    """Map latents [N, D] to subspaces [N, K, D] by K two-layer MLPs, in two batched products.

    The result equals that of K modules ``Linear(M, H), ReLU, Linear(H, M)``, without K small kernel launches. A code of
    D = P M numbers is a map of P positions, one after the other. The same MLP is applied to every position, like two
    1x1 convolutions (paper, section 5.2).
    """

    def __init__(self, subspaces: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden_weight_KMH = nn.Parameter(torch.randn(subspaces, channels, hidden) * math.sqrt(2 / channels))
        self.hidden_bias_K1H = nn.Parameter(torch.zeros(subspaces, 1, hidden))
        self.output_weight_KHM = nn.Parameter(torch.randn(subspaces, hidden, channels) * math.sqrt(2 / hidden))
        self.output_bias_K1M = nn.Parameter(torch.zeros(subspaces, 1, channels))

    def forward(self, latents_ND: Tensor) -> Tensor:
        subspaces, channels, _ = self.hidden_weight_KMH.shape
        # a row is an image if codes are vectors, or a position of an image if they are maps
        rows = latents_ND.reshape(-1, channels)
        rows = rows.expand(subspaces, *rows.shape)
        hidden = torch.baddbmm(self.hidden_bias_K1H, rows, self.hidden_weight_KMH).relu()
        projected = torch.baddbmm(self.output_bias_K1M, hidden, self.output_weight_KHM)
        return projected.view(subspaces, *latents_ND.shape).transpose(0, 1)
