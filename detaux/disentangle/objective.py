"""The objective of one step: L = L_rec + beta1 (L_dist + L_spar) + beta2 L_cons + beta3 L_reg (paper, Eq. 2 and 4).

A batch is N images in chains: pair b is the images b and b + chains. B pairs, K subspaces, D latent size, R mixed codes.
On several ranks each computes its part of the batch; the mean of their losses is the loss of the whole, gradient included.
"""

import torch
from torch import Tensor

from detaux.config.schema import LossesConfig, PairsConfig
from detaux.data.relation import relate_labels
from detaux.disentangle.mixes import Mixes
from detaux.disentangle.model import Disentangler
from detaux.losses.backends import BACKENDS, choose_backend
from detaux.losses.consistency import consistency_loss, mix_subspaces
from detaux.losses.distance import distance_loss
from detaux.losses.neighbour_contrast import neighbour_contrast_loss
from detaux.losses.oracle import compute_oracle
from detaux.losses.principal_contrast import principal_contrast_loss
from detaux.losses.reconstruction import reconstruction_loss
from detaux.losses.regularization import compute_usage, regularization_loss
from detaux.losses.sparsity import sparsity_loss


def compute_reconstruction(
    model: Disentangler, images: Tensor, *, losses: LossesConfig, autocast: torch.dtype | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The warm-up's loss on images [N, 3, S, S], weighted Eq. (5) alone, and its parts."""
    with torch.autocast(images.device.type, dtype=autocast, enabled=autocast is not None):
        _, reconstructions = model(images)
    part = reconstruction_loss(images, reconstructions, losses.reconstruction.form)
    total = losses.weights.reconstruction * part
    return total, {"reconstruction": part}


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
    autocast: torch.dtype | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss and its parts.

    images [N, 3, S, S]; labels [N], -1 where none is known. The networks run in `autocast` precision where one is given,
    the losses in float32. A term whose beta is 0 is not computed.
    """
    weights, oracle = losses.weights, losses.oracle
    beta1, beta2, beta3 = betas

    def in_precision() -> torch.autocast:
        return torch.autocast(images.device.type, dtype=autocast, enabled=autocast is not None)

    with in_precision():
        subspaces_NKD, reconstructions = model(images)
    subspaces_NKD = subspaces_NKD.to(images.dtype)
    parts = {"reconstruction": reconstruction_loss(images, reconstructions, losses.reconstruction.form)}
    total = weights.reconstruction * parts["reconstruction"]
    if max(betas) == 0:
        return total, parts

    measure_pairs = BACKENDS[choose_backend(losses.backend, images.device)]
    measures = measure_pairs(subspaces_NKD, chains, oracle.normalizer)
    is_different_B, is_known_B = relate_labels(labels[:-chains], labels[chains:])
    relation = (measures.squared_BK, measures.normalizer_K, is_different_B, is_known_B)

    if beta1 > 0:
        changed_BK = compute_oracle(*relation, form=oracle.form, sharpness=oracle.sharpness, alpha=model.alpha)
        pull_B = torch.where(is_different_B, pairs.pull, 1.0)
        parts["distance"] = distance_loss(
            measures.squared_BK, changed_BK, form=losses.distance.form, margin=losses.distance.margin, pull_B=pull_B
        )
        parts["sparsity"] = sparsity_loss(measures.overlap_N, subspaces_NKD.shape[2], losses.sparsity.form)
        total = total + beta1 * (weights.distance * parts["distance"] + weights.sparsity * parts["sparsity"])
        if pairs.principal_contrast > 0:
            parts["principal_contrast"] = principal_contrast_loss(
                subspaces_NKD[:, model.alpha], labels, losses.distance.margin
            )
            total = total + beta1 * pairs.principal_contrast * parts["principal_contrast"]
        if pairs.neighbour_contrast > 0:
            parts["neighbour_contrast"] = neighbour_contrast_loss(subspaces_NKD[:, -1], chains, ~is_different_B)
            total = total + beta1 * pairs.neighbour_contrast * parts["neighbour_contrast"]
        parts["oracle_share"] = changed_BK.mean(0)

    if beta2 > 0 and weights.consistency > 0:
        pair_R, subspace_R = mixes.pair_R, mixes.subspace_R
        mixed_RD, targets_RKD = mix_subspaces(measures.first_BKD, measures.second_BKD, pair_R, subspace_R)
        with in_precision():
            again_RKD = model.project(model.encode(model.decode(mixed_RD)))
        parts["consistency"] = consistency_loss(
            again_RKD.to(images.dtype), targets_RKD, subspace_R, losses.consistency.form, mixes.mean_count
        )
        total = total + beta2 * weights.consistency * parts["consistency"]

    if beta3 > 0 and weights.regularization > 0:
        usage_BK = compute_usage(
            *relation, form=oracle.form, sharpness=losses.regularization.sharpness, alpha=model.alpha
        )
        parts["regularization"] = regularization_loss(usage_BK, losses.regularization.form)
        total = total + beta3 * weights.regularization * parts["regularization"]

    return total, parts
