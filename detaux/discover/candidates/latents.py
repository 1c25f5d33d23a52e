"""Propose a plain baseline: the config's clusterer on the latents of an autoencoder that only reconstructs."""

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.cluster import cluster_points


def propose_latents(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the latents by the clusterer of the config."""
    latents_ND = embedded.embeddings.latents_ND
    return [Candidate(latents_ND, cluster_points(latents_ND, config.discover, config.run.seed), name="latents")]
