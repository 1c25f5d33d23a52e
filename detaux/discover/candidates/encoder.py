"""Propose the whole code of the autoencoder as one candidate: the paper's entangled space (section 5.3)."""

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate, cluster_candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit


def propose_encoder(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the latents of an autoencoder that no label and no pair has shaped. All disentanglers share it."""
    return [] if embedded.restart else [cluster_candidate(embedded.embeddings.latents_ND, config, name="encoder")]
