"""The objective of one step: L = L_rec + beta1 (L_dist + L_spar) + beta2 L_cons + beta3 L_reg (paper, Eq. 2 and 4).

B pairs over M images, K subspaces, D latent size, R mixed codes.
"""

import torch
from torch import Tensor

from detaux.config.schema import LossesConfig, PairsConfig
from detaux.disentangle.model import Disentangler
from detaux.losses.consistency import consistency_loss, mix_subspaces
from detaux.losses.distance import distance_loss
from detaux.losses.oracle import compute_oracle
from detaux.losses.principal_contrast import principal_contrast_loss
from detaux.losses.reconstruction import reconstruction_loss
from detaux.losses.regularization import compute_usage, regularization_loss
from detaux.losses.sparsity import sparsity_loss


def draw_mixes(pairs: int, subspaces: int, mixes: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which (pair, subspace) combinations are mixed: `mixes` per pair drawn without replacement, all K where 0."""
    total = pairs * subspaces
    count = total if mixes == 0 else min(total, max(1, round(mixes * pairs)))
    chosen = torch.randperm(total, generator=generator)[:count]
    return chosen // subspaces, chosen % subspaces


def compute_objective(
    model: Disentangler,
    images: Tensor,
    labels: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    betas: tuple[float, float, float],
    losses: LossesConfig,
    pairs: PairsConfig,
    generator: torch.Generator,
    autocast: torch.dtype | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss and its detached parts.

    images [M, 3, S, S]; labels [M], -1 where none is known; first and second [B] index the images of each pair. The
    networks run in `autocast` precision where one is given, the losses in float32. A term whose beta is 0 is not computed.
    """
    weights = losses.weights
    beta1, beta2, beta3 = betas

    def in_precision() -> torch.autocast:
        return torch.autocast(images.device.type, dtype=autocast, enabled=autocast is not None)

    with in_precision():
        subspaces_MKD, reconstructions = model(images)
    subspaces_MKD = subspaces_MKD.to(images.dtype)
    parts = {"reconstruction": reconstruction_loss(images, reconstructions, losses.reconstruction.form)}
    total = weights.reconstruction * parts["reconstruction"]
    first_BKD, second_BKD = subspaces_MKD[first], subspaces_MKD[second]
    is_known_B = (labels[first] >= 0) & (labels[second] >= 0)
    is_different_B = is_known_B & (labels[first] != labels[second])

    if beta1 > 0:
        changed_BK = compute_oracle(
            first_BKD,
            second_BKD,
            is_different_B,
            is_known_B,
            normalizer=losses.oracle.normalizer,
            form=losses.oracle.form,
            sharpness=losses.oracle.sharpness,
            alpha=model.alpha,
        )
        pull_B = torch.where(is_different_B, pairs.pull, 1.0)
        parts["distance"] = distance_loss(
            first_BKD, second_BKD, changed_BK, form=losses.distance.form, margin=losses.distance.margin, pull_B=pull_B
        )
        parts["sparsity"] = sparsity_loss(subspaces_MKD, losses.sparsity.form)
        total = total + beta1 * (weights.distance * parts["distance"] + weights.sparsity * parts["sparsity"])
        if pairs.principal_contrast > 0:
            parts["principal_contrast"] = principal_contrast_loss(
                subspaces_MKD[:, model.alpha], labels, losses.distance.margin
            )
            total = total + beta1 * pairs.principal_contrast * parts["principal_contrast"]
        parts["oracle_share"] = changed_BK.mean(0)

    if beta2 > 0 and weights.consistency > 0:
        pair_R, subspace_R = (
            index.to(images.device)
            for index in draw_mixes(len(first), model.num_subspaces, losses.consistency.mixes, generator)
        )
        mixed_RD, targets_RKD = mix_subspaces(first_BKD, second_BKD, pair_R, subspace_R)
        with in_precision():
            again_RKD = model.project(model.encode(model.decode(mixed_RD)))
        parts["consistency"] = consistency_loss(
            again_RKD.to(images.dtype), targets_RKD, subspace_R, losses.consistency.form
        )
        total = total + beta2 * weights.consistency * parts["consistency"]

    if beta3 > 0 and weights.regularization > 0:
        usage_BK = compute_usage(
            first_BKD,
            second_BKD,
            is_different_B,
            is_known_B,
            normalizer=losses.oracle.normalizer,
            form=losses.oracle.form,
            sharpness=losses.regularization.sharpness,
            alpha=model.alpha,
        )
        parts["regularization"] = regularization_loss(usage_BK, losses.regularization.form)
        total = total + beta3 * weights.regularization * parts["regularization"]

    return total, {"total": total.detach(), **{name: part.detach() for name, part in parts.items()}}
