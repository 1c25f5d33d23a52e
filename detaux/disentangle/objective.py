"""Compute the objective of one step (paper, Eq. 2 and 4).

L = L_rec + beta1 (L_dist + L_spar) + beta2 L_cons + beta3 L_reg

A batch is N images in chains: pair b has the images b and b + chains. B pairs, K subspaces, D latent size, R mixed
codes. With several ranks, each rank computes its part of the batch. The mean of the ranks' losses is the loss of the
whole batch, and the mean of their gradients is its gradient.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from detaux.config.schema import LossesConfig, PairsConfig
from detaux.data.relation import relate_labels
from detaux.disentangle.mixes import Mixes
from detaux.disentangle.model import Disentangler
from detaux.losses.backends import BACKENDS
from detaux.losses.consistency import consistency_loss, mix_subspaces
from detaux.losses.distance import distance_loss
from detaux.losses.divergence import divergence_loss
from detaux.losses.neighbour_contrast import neighbour_contrast_loss
from detaux.losses.oracle import compute_oracle
from detaux.losses.pair_measures import PairMeasures
from detaux.losses.principal_contrast import principal_contrast_loss
from detaux.losses.reconstruction import reconstruction_loss
from detaux.losses.regularization import compute_usage, regularization_loss
from detaux.losses.sparsity import sparsity_loss

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class ProjectedPairs:
    """Hold the projections of a batch, their measures, and whether each pair's labels differ and are known."""

    subspaces_NKD: Tensor
    labels_N: Tensor
    chains: int
    measures: PairMeasures
    is_different_B: Tensor
    is_known_B: Tensor

    @property
    def relation(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the arguments that the oracle and the usage share."""
        return self.measures.squared_BK, self.measures.normalizer_K, self.is_different_B, self.is_known_B


def compute_reconstruction(
    model: Disentangler, images: Tensor, *, losses: LossesConfig, autocast: torch.dtype | None = None
) -> tuple[Tensor, Parts]:
    """Return the warm-up's loss on images [N, 3, S, S], and its parts. The loss is only the weighted Eq. (5)."""
    with _run_networks(images, autocast):
        _, reconstructions = model(images)
    part = reconstruction_loss(images, reconstructions, losses.reconstruction.form)
    total = losses.weights.reconstruction * part
    return total, {"reconstruction": part}


def compute_conditional_reconstruction(
    model: Disentangler,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    *,
    losses: LossesConfig,
    autocast: torch.dtype | None = None,
) -> tuple[Tensor, Parts]:
    """Return the warm-up's loss of a conditional code, and its parts: Eq. (5) and what the code tells (divergence).

    images [N, 3, S, S]; labels [N], -1 if unknown; noise [N, F], standard normal. The error of the label's part counts
    as much as a nat.
    """
    part = model.label_part
    assert part is not None
    with _run_networks(images, autocast):
        latents = model.encode(images)
        codes, means, label_error = part.condition(latents.to(images.dtype), labels, noise)
        reconstructions = model.decode(codes)
    parts = {
        "reconstruction": reconstruction_loss(images, reconstructions, losses.reconstruction.form),
        "divergence": divergence_loss(means, part.log_variance),
        "label": label_error,
    }
    weights, values = losses.weights, images[0].numel() if losses.reconstruction.form == "mean" else 1
    nats = parts["divergence"] + parts["label"]
    return weights.reconstruction * (parts["reconstruction"] + weights.divergence / values * nats), parts


def compute_objective(
    model: Disentangler,
    images: Tensor,
    labels: Tensor,
    chains: int,
    mixes: Mixes,
    *,
    betas: tuple[float, float, float],
    losses: LossesConfig,
    pairs: PairsConfig,
    backend: str = "reference",
    autocast: torch.dtype | None = None,
) -> tuple[Tensor, Parts]:
    """Return the total loss and its parts.

    images [N, 3, S, S]; labels [N], -1 if unknown; backend is the key in BACKENDS of the code that measures the pairs.
    The networks run in `autocast` precision if it is given, the losses in float32. A term is not computed if its beta
    is 0.
    """
    weights = losses.weights
    beta1, beta2, beta3 = betas
    with _run_networks(images, autocast):
        subspaces_NKD, reconstructions = model(images)
    subspaces_NKD = subspaces_NKD.to(images.dtype)
    parts = {"reconstruction": reconstruction_loss(images, reconstructions, losses.reconstruction.form)}
    total = weights.reconstruction * parts["reconstruction"]
    if max(betas) == 0:
        return total, parts

    measures = BACKENDS[backend](subspaces_NKD, chains, losses.oracle.normalizer)
    is_different_B, is_known_B = relate_labels(labels[:-chains], labels[chains:])
    projected = ProjectedPairs(subspaces_NKD, labels, chains, measures, is_different_B, is_known_B)

    if beta1 > 0:
        parts |= _compute_change(projected, losses, pairs, model.alpha)
        total = total + beta1 * (weights.distance * parts["distance"] + weights.sparsity * parts["sparsity"])
        if pairs.principal_contrast > 0:
            total = total + beta1 * pairs.principal_contrast * parts["principal_contrast"]
        if pairs.neighbour_contrast > 0:
            total = total + beta1 * pairs.neighbour_contrast * parts["neighbour_contrast"]
    if beta2 > 0 and weights.consistency > 0:
        parts["consistency"] = _compute_consistency(model, images, measures, mixes, losses.consistency.form, autocast)
        total = total + beta2 * weights.consistency * parts["consistency"]
    if beta3 > 0 and weights.regularization > 0:
        parts["regularization"] = _compute_regularization(projected, losses, model.alpha)
        total = total + beta3 * weights.regularization * parts["regularization"]
    return total, parts


def _run_networks(images: Tensor, autocast: torch.dtype | None) -> torch.autocast:
    """Return the context for running networks: `autocast` precision, or the precision of the images if it is None."""
    return torch.autocast(images.device.type, dtype=autocast, enabled=autocast is not None)


def _compute_change(projected: ProjectedPairs, losses: LossesConfig, pairs: PairsConfig, alpha: int) -> Parts:
    """Compute the terms weighted by beta 1, and the oracle's share of each subspace.

    The contrast terms are left out if their weight is 0.
    """
    oracle, subspaces_NKD, is_different_B = losses.oracle, projected.subspaces_NKD, projected.is_different_B
    changed_BK = compute_oracle(*projected.relation, form=oracle.form, sharpness=oracle.sharpness, alpha=alpha)
    squared_BK, margin = projected.measures.squared_BK, losses.distance.margin
    pull_B = torch.where(is_different_B, pairs.pull, 1.0)
    parts = {
        "distance": distance_loss(squared_BK, changed_BK, form=losses.distance.form, margin=margin, pull_B=pull_B),
        "sparsity": sparsity_loss(projected.measures.overlap_N, subspaces_NKD.shape[2], losses.sparsity.form),
    }
    if pairs.principal_contrast > 0:
        parts["principal_contrast"] = principal_contrast_loss(subspaces_NKD[:, alpha], projected.labels_N, margin)
    if pairs.neighbour_contrast > 0:
        parts["neighbour_contrast"] = neighbour_contrast_loss(subspaces_NKD[:, -1], projected.chains, ~is_different_B)
    parts["oracle_share"] = changed_BK.mean(0)
    return parts


def _compute_consistency(
    model: Disentangler,
    images: Tensor,
    measures: PairMeasures,
    mixes: Mixes,
    form: Literal["paper", "official"],
    autocast: torch.dtype | None,
) -> Tensor:
    """Decode the mixed codes, encode the images again, and compare the codes."""
    mixed_RD, targets_RKD = mix_subspaces(measures.first_BKD, measures.second_BKD, mixes.pair_R, mixes.subspace_R)
    with _run_networks(images, autocast):
        again_RKD = model.project(model.encode(model.decode(mixed_RD)))
    return consistency_loss(again_RKD.to(images.dtype), targets_RKD, mixes.subspace_R, form, mixes.mean_count)


def _compute_regularization(projected: ProjectedPairs, losses: LossesConfig, alpha: int) -> Tensor:
    """Compute the usage of each subspace by Eq. (3), with a gradient, and return its loss."""
    sharpness = losses.regularization.sharpness
    usage_BK = compute_usage(*projected.relation, form=losses.oracle.form, sharpness=sharpness, alpha=alpha)
    return regularization_loss(usage_BK, losses.regularization.form)
