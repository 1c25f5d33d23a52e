"""Propose the whole code of the autoencoder as one candidate, instead of the subspaces (`discover.source=encoder`)."""

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.cluster import cluster_points


def propose_encoder(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the latents of an autoencoder that no label and no pair has shaped."""
    latents_ND = embedded.embeddings.latents_ND
    return [Candidate(latents_ND, cluster_points(latents_ND, config.discover, config.run.seed), name="encoder")]
