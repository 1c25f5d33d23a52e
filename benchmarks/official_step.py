"""Reimplement the step of the official code from its description: the baseline of bench_step and the oracle of tests.

It has K projectors in a list, builds all K x B mixed codes and keeps 2 B of them, and computes a full distance matrix
per subspace, in float32 with the default memory layout. Detaux gives it only the autoencoder's layers, so that both
do the same work.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = {"distance": 0.1, "sparsity": 0.1, "consistency": 100.0, "regularization": 1e-4}
SHARPNESS, MARGIN, PUSH, USAGE_SCALE = 1e6, 0.05, 10.0, 1e2


class OfficialModel(nn.Module):
    """Hold an encoder, a list of K two-layer projectors, and a decoder."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, subspaces: int, latent: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.projectors = nn.ModuleList(
            nn.Sequential(nn.Linear(latent, latent), nn.ReLU(), nn.Linear(latent, latent)) for _ in range(subspaces)
        )

    def project(self, latents: Tensor) -> Tensor:
        return torch.stack([projector(latents) for projector in self.projectors])


def compute_official_loss(model: OfficialModel, first: Tensor, second: Tensor, is_different: Tensor) -> Tensor:
    """Compute the sum of all five losses with every beta at 1, on images first and second [B, 3, S, S]."""
    images = torch.cat([first, second])
    subspaces = model.project(model.encoder(images))
    reconstruction = functional.mse_loss(model.decoder(subspaces.sum(0)), images)
    count, _, latent = subspaces.shape
    size = len(first)

    stacked = subspaces.permute(1, 2, 0)
    others = stacked @ (1 - torch.eye(count, dtype=stacked.dtype, device=stacked.device))
    sparsity = (others * stacked).abs().sum(-1).mean()

    one, two = subspaces[:, :size], subspaces[:, size:]
    codes, targets = [], []
    for index in range(count):
        mixed = two.clone()
        mixed[index] = one[index]
        targets.append(mixed)
        codes.append(mixed.sum(0))
    kept = torch.randperm(count * size, device=first.device)[: 2 * size]
    target = torch.stack(targets, 1).reshape(count, count * size, latent)[:, kept]
    again = model.project(model.encoder(model.decoder(torch.stack(codes).reshape(-1, latent)[kept])))
    consistency = functional.mse_loss(again, target)

    distance = (one - two).pow(2).sum(-1).T
    scale = torch.cdist(subspaces, subspaces).mean((1, 2)) + 1e-8
    normalized = distance / scale
    chosen = torch.zeros_like(distance)
    chosen[:, 1:] = torch.softmax(SHARPNESS * normalized[:, 1:], 1).detach()
    chosen[is_different] = 0.0
    chosen[is_different, 0] = 1.0
    pulled = (distance * (1 - chosen)).mean()
    pushed = (PUSH * (MARGIN - distance * chosen).relu()).mean()
    usage = USAGE_SCALE * (1 / count - chosen.mean(0)).pow(2).mean()
    return (
        reconstruction
        + WEIGHTS["distance"] * (pulled + pushed)
        + WEIGHTS["sparsity"] * sparsity
        + WEIGHTS["consistency"] * consistency
        + WEIGHTS["regularization"] * usage
    )
