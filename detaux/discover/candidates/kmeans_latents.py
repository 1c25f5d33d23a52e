"""Propose a plain baseline: k-means with k-means++ starts on the latents of an autoencoder that only reconstructs."""

import numpy as np
import torch

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.cluster import Clusters, cluster_points


def propose_kmeans_latents(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the latents by k-means, whatever clusterer the config names."""
    latents_ND = embedded.embeddings.latents_ND

    def by_kmeans(rows: np.ndarray, seed: int) -> Clusters:
        return cluster_points(latents_ND[torch.from_numpy(rows)], config.discover, seed, clusterer="kmeans++")

    clusters = by_kmeans(np.arange(len(latents_ND)), config.run.seed)
    return [Candidate(latents_ND, clusters, name="kmeans_latents", recluster=by_kmeans)]
