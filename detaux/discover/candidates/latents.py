"""Propose a plain baseline: the config's clusterer on the latents of an autoencoder that only reconstructs."""

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate, cluster_candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit


def propose_latents(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the latents by the clusterer of the config."""
    return [cluster_candidate(embedded.embeddings.latents_ND, config, name="latents")]
