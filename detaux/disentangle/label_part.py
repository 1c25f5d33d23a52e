"""Condition the code on the principal label: its first dimensions hold the label's part, and the rest what is left.

N images, D latent size, L dimensions of the label's part, F = D - L free dimensions.
"""

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = -8.0, 4.0  # of a log variance, so that neither it nor its gradient overflows
START = -2.0


def count_label_dims(classes: int, latent: int) -> int:
    """Return L: the dimensions in which so many classes can lie apart in all directions, but at most half the code."""
    return max(1, min(classes - 1, latent // 2))


class LabelPart(nn.Module):
    """Hold a code for each class, and the variance of the free dimensions."""

    def __init__(self, classes: int, latent: int) -> None:
        super().__init__()
        self.size = count_label_dims(classes, latent)
        self.codes_CL = nn.Parameter(torch.randn(classes, self.size))
        self.log_variance_F = nn.Parameter(torch.full((latent - self.size,), START))

    def standardize(self) -> Tensor:
        """Return the codes [C, L] with mean 0 and variance 1 over the classes, as a free dimension has over images."""
        centred_CL = self.codes_CL - self.codes_CL.mean(0)
        return centred_CL / centred_CL.square().mean(0).clamp(min=1e-6).sqrt()

    def split(self, latents_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Split codes into the label's part [N, L] and the free part [N, F]."""
        return latents_ND[:, : self.size], latents_ND[:, self.size :]

    def condition(self, latents_ND: Tensor, labels_N: Tensor, noise_NF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the codes [N, D] that the decoder gets, the means [N, F], and the label's error, a scalar.

        The decoder gets the code of the class and a free part with noise. If a label is unknown (-1), it gets the
        label's part that the encoder guesses. Only known labels teach this guess: their squared distance from the code
        of the class is averaged over the batch.
        """
        guess_NL, means_NF = self.split(latents_ND)
        known_N1 = (labels_N >= 0)[:, None]
        given_NL = torch.where(known_N1, self.standardize()[labels_N.clamp(min=0)], guess_NL.detach())
        error = ((guess_NL - given_NL.detach()).square() * known_N1).sum() / len(labels_N)
        free_NF = means_NF + noise_NF * (self.log_variance / 2).exp()
        return torch.cat([given_NL, free_NF], 1), means_NF, error

    @property
    def log_variance(self) -> Tensor:
        """Return log sigma^2 of each free dimension [F]."""
        return self.log_variance_F.clamp(LOWEST, HIGHEST)
