"""Declare the keys of discovery: what is clustered and how, and which candidate is chosen."""

from dataclasses import dataclass, field
from typing import Literal

from detaux.config.choice_rules import CHOICE_RULES
from detaux.config.key import key
from detaux.config.schema.cross_prediction import CrossPredictionConfig

FROZEN = "efficientnet_lite0"  # word of discover.features for a network, instead of a file
Clusterer = Literal["hdbscan", "kmeans", "kmeans++", "meanshift"]


@dataclass(frozen=True)
class DiscoverConfig:
    sources: list[str] = key(
        ["subspace"],
        "what candidates come from. subspace: clusters of each free subspace; mixture: two parts of each free subspace that "
        "is a line; encoder: clusters of the code at the end of the warm-up (entangled ablation); graph: factors of the graph "
        "that joins each image to its relative neighbours, which needs no training; layout: two clusterings of a "
        "neighbour layout of the pixels (extra layout); features: the same for discover.features; statistics: clusters of "
        "image statistics, such as the colour of the border or the place of the object; files: format, size, mode and camera of "
        "the picture files below data.path",
        choices=("subspace", "mixture", "encoder", "graph", "layout", "features", "statistics", "files"),
    )
    features: str | None = key(
        None,
        "what the source features clusters. A .npz file: arrays keys and features, in any order (`detaux shards order DIR` "
        "prints the keys); .safetensors: tensor features, and keys as a JSON list in the metadata; .npy: a row for each "
        "training image, in the order of the labels.parquet of an earlier discovery; "
        "efficientnet_lite0: that network, frozen (extra efficientnet)",
        names_file=True,
    )
    clusterer: Clusterer = key("hdbscan", "clustering algorithm")
    backend: Literal["auto", "cuml", "torch", "cpu"] = key(
        "auto",
        "library that clusters. cuml: NVIDIA's, on a GPU; torch: our own, on any device, and its hdbscan gives the same "
        "for any order of the images; cpu: hdbscan and scikit-learn; auto: cuml or else torch on a GPU, and cpu, which is "
        "faster there, on a CPU",
    )
    selection: Literal["excess_of_mass", "leaf"] = key(
        "excess_of_mass", "hdbscan: the most stable clusters of its hierarchy, or the finest"
    )
    min_cluster_fraction: float = key(0.02, "hdbscan: smallest cluster as a share of the training images", 0.0, 1.0)
    min_cluster_size: int = key(
        15,
        "hdbscan: least images in the smallest cluster, whatever min_cluster_fraction gives; a few can be close by chance",
        2,
    )
    min_samples: int = key(
        64, "hdbscan: neighbours that make a core point; 0, or more than the smallest cluster size, means that size", 0
    )
    outliers: Literal["class", "nearest"] = key(
        "class",
        "hdbscan: class makes the outliers one class; nearest puts each into the cluster of the nearest clustered point",
    )
    clusters: int = key(10, "kmeans: number of clusters", 2)
    bandwidth_quantile: float = key(0.1, "meanshift: quantile of pair distances used as bandwidth", 0.0, 1.0)
    merge: bool = key(True, "join free subspaces whose clusters depend on each other before choosing")
    merge_threshold: float = key(0.012, "subspaces join above this mutual information over smaller entropy", 0.0, 1.0)
    choose: str = key(
        "separation",
        f"rule that picks the auxiliary task; separation = {CHOICE_RULES['separation'].meaning}",
        choices=tuple(CHOICE_RULES),
    )
    include_baselines: bool = key(False, "let the choice rule also pick a plain baseline clustering")
    max_outlier_fraction: float = key(0.3, "a candidate with a larger fraction of outliers is not chosen", 0.0, 1.0)
    min_oracle_fraction: float = key(
        0.03, "a candidate to which the oracle gives a smaller fraction of the pairs is not chosen", 0.0, 1.0
    )
    min_variance_fraction: float = key(1e-3, "a candidate with a smaller fraction of the variance is dead", 0.0, 1.0)
    related_nmi: float = key(
        0.1,
        "a candidate with a larger normalised mutual information with the principal label, if it is not chance, is called "
        "related; it may be chosen like any other",
        0.0,
        1.0,
    )
    min_unexplained: float = key(
        0.1,
        "a candidate is not chosen if the principal label leaves a smaller share of its entropy open: it is the label "
        "itself or joins its classes; a factor that follows one of 10 classes in 95 % of the images has 0.13, in 98 % 0.06",
        0.0,
        1.0,
    )
    min_recognition: float = key(
        0.0,
        "a candidate that cross-prediction recognises worse (score recognition) is not chosen; 0.7 refuses noise and most "
        "cuts of a continuum",
        0.0,
        1.0,
    )
    min_attraction: float = key(
        0.0,
        "a candidate is not chosen if networks that learn its clusters with displaced borders agree less (score attraction): "
        "it is a cut of a continuum; 0.45 refuses cuts; 0: not measured",
        0.0,
        1.0,
    )
    cut_continua: bool = key(
        True,
        "also choose clusters of a candidate whose points form a line or ring without separate values; false: only if "
        "asked, by a kmeans clusterer or by mixture in discover.sources",
    )
    max_seconds: float = key(
        3600.0,
        "seconds; a clustering that would take longer clusters a subsample and predicts the rest; 0: no limit",
        0.0,
    )
    max_memory: float = key(
        16.0, "GiB; a clustering that would need more clusters a subsample and predicts the rest; 0: no limit", 0.0
    )
    tasks: int = key(1, "auxiliary tasks written to labels.parquet, best first; multitask trains on the first", 1, 64)
    stability_samples: int = key(5, "bootstrap reclusterings behind the stability score; 0 skips it", 0, 100)
    cross_prediction: CrossPredictionConfig = field(default_factory=CrossPredictionConfig)
