"""Find the kinds of candidates by name. The name of a kind is the name of its file.

A kind is a function that makes candidates from the embeddings by one disentangler. To add one, write its file and enter
it here: in SOURCES if `discover.source` selects it, in BASELINES if it serves for comparison.
"""

from collections.abc import Callable

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.encoder import propose_encoder
from detaux.discover.candidates.kmeans_latents import propose_kmeans_latents
from detaux.discover.candidates.latents import propose_latents
from detaux.discover.candidates.latents_within_class import propose_latents_within_class
from detaux.discover.candidates.mixture import propose_mixtures
from detaux.discover.candidates.subspace import propose_subspaces

Propose = Callable[[EmbeddedSplit, Config], list[Candidate]]
SOURCES: dict[str, Propose] = {"subspace": propose_subspaces, "encoder": propose_encoder}  # `discover.source`
BASELINES: dict[str, Propose] = {
    "latents": propose_latents,
    "latents_within_class": propose_latents_within_class,
    "kmeans_latents": propose_kmeans_latents,
}


def propose_candidates(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Make the candidates that `discover.source` and `discover.mixtures` ask for, from one disentangler."""
    found = SOURCES[config.discover.source](embedded, config)
    if config.discover.mixtures and config.discover.source == "subspace":
        found += propose_mixtures(embedded, config)
    for one in found:
        one.restart = embedded.restart
    return found


def propose_baselines(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Make the plain baselines, in the order of BASELINES."""
    return [one for propose in BASELINES.values() for one in propose(embedded, config)]
