"""Plain clusterings of a reconstruction-only autoencoder's latents, scored beside ours whatever the rule picks."""

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.candidate import Candidate
from detaux.discover.cluster import Clusters, cluster_points, renumber


def build_baselines(latents_ND: Tensor, labels_N: np.ndarray, config: DiscoverConfig, seed: int) -> list[Candidate]:
    """The clusterer on the latents, the same within each principal class, and k-means (++ starts) on the latents."""

    def within_class(rows: np.ndarray, draw_seed: int) -> Clusters:
        return cluster_within_class(latents_ND[torch.from_numpy(rows)], labels_N[rows], config, draw_seed)

    def by_kmeans(rows: np.ndarray, draw_seed: int) -> Clusters:
        return cluster_points(latents_ND[torch.from_numpy(rows)], config, draw_seed, clusterer="kmeans++")

    everything = np.arange(len(latents_ND))
    plain = Candidate(latents_ND, cluster_points(latents_ND, config, seed), name="latents")
    others = {"latents_within_class": within_class, "kmeans_latents": by_kmeans}
    return [
        plain,
        *(Candidate(latents_ND, how(everything, seed), name=name, recluster=how) for name, how in others.items()),
    ]


def cluster_within_class(latents_ND: Tensor, labels_N: np.ndarray, config: DiscoverConfig, seed: int) -> Clusters:
    """Cluster each principal class alone; a label is the cluster's rank by size within its class.

    Clusters of two classes that share a label have nothing else in common. Points without a principal label (-1) are
    a class of their own.
    """
    labels = np.full(len(labels_N), -1)
    probability = np.zeros(len(labels_N), np.float32)
    seconds, backend = 0.0, ""
    for value in np.unique(labels_N):
        members = np.flatnonzero(labels_N == value)
        part = cluster_points(latents_ND[torch.from_numpy(members)], config, seed)
        labels[members], probability[members] = part.labels, part.probability
        seconds, backend = seconds + part.seconds, part.backend
    return Clusters(renumber(labels), probability, backend, seconds)
