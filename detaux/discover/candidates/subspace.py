"""Propose the free subspaces of a disentangler. Those that depend on each other are joined and clustered again."""

from collections.abc import Sequence

import torch

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate, cluster_candidate, score_separation
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.cluster import complete_labels
from detaux.discover.merge import compute_dependence, merge_greedily
from detaux.disentangle.embed import Embeddings
from detaux.runtime.progress import track


def cluster_subspaces(embeddings: Embeddings, indices: Sequence[int], config: Config) -> list[Candidate]:
    """Cluster each of the subspaces [N, D] by itself."""
    found = []
    with track("discover: cluster", len(indices)) as advance:
        for index in indices:
            points_ND = embeddings.subspaces_NKD[:, index].contiguous()
            found.append(cluster_candidate(points_ND, config, subspaces=(index,)))
            advance()
    return found


def propose_subspaces(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Cluster the free subspaces, and join the dependent ones (`discover.merge`).

    Dependence is judged within the principal classes too. An image without a label joins the class of the nearest
    labelled image in the principal subspace; without any label, all images are one class.
    """
    discover = config.discover
    single = cluster_subspaces(embedded.embeddings, embedded.list_free(), config)
    if not discover.merge:
        return single

    class_N = complete_labels(embedded.embeddings.subspaces_NKD[:, embedded.alpha], embedded.labels_N)

    def join(first: Candidate, second: Candidate) -> Candidate:
        points_ND = torch.cat([first.points_ND, second.points_ND], 1)
        subspaces = tuple(sorted((*first.subspaces, *second.subspaces)))
        return cluster_candidate(points_ND, config, subspaces=subspaces)

    def depend(first: Candidate, second: Candidate) -> float:
        return compute_dependence(first.clusters.labels, second.clusters.labels, class_N)

    def separate(one: Candidate) -> float:
        return score_separation(one, config.run.seed)

    return merge_greedily(single, depend, join, separate, discover.merge_threshold)
