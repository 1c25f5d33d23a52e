"""Propose a plain baseline: the config's clusterer on the latents of each principal class by itself."""

import numpy as np
import torch
from torch import Tensor

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.cluster import Clusters, cluster_points, complete_labels, renumber


def propose_latents_within_class(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the latents class by class.

    An image without a label joins the class of the nearest labelled image in the principal subspace.
    """
    latents_ND, discover = embedded.embeddings.latents_ND, config.discover
    labels_N = complete_labels(embedded.embeddings.subspaces_NKD[:, embedded.alpha], embedded.labels_N)

    def within_class(rows: np.ndarray, seed: int) -> Clusters:
        return cluster_within_class(latents_ND[torch.from_numpy(rows)], labels_N[rows], discover, seed)

    clusters = within_class(np.arange(len(latents_ND)), config.run.seed)
    return [Candidate(latents_ND, clusters, name="latents_within_class", recluster=within_class)]


def cluster_within_class(latents_ND: Tensor, labels_N: np.ndarray, config: DiscoverConfig, seed: int) -> Clusters:
    """Cluster each principal class by itself; a label is the cluster's rank by size within its class.

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
