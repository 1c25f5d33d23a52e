"""Every key a user can set: frozen dataclasses, one per section of the YAML.

A field's metadata holds the line that ``detaux STAGE --help`` prints and, for numbers, the allowed closed range; that of a
list holds for each element.
Nothing here imports torch or the rest of detaux.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from detaux.config.key import key
from detaux.config.sweep import SweepConfig

VGG_MIN_SIDE = 32  # pixels: VGG16 halves five times


@dataclass(frozen=True)
class RunConfig:
    dir: str = key("runs/default", "folder that holds everything this run writes")
    seed: int = key(0, "seed of every random draw", 0, 2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = key("auto", "where tensors live; auto takes a GPU where there is one")
    threads: int = key(0, "CPU threads of torch; 0 leaves torch's own choice", 0, 1024)


@dataclass(frozen=True)
class DataConfig:
    source: Literal["shapes3d", "fashion_mnist", "digits", "folder", "webdataset"] = key(
        "shapes3d", "builder that makes the shards"
    )
    path: str | None = key(None, "file or folder the builder reads; null where the builder needs none")
    shards: str | None = key(
        None, "existing shard set to use, a folder or a URL (http, https, s3, gs, file, pipe); null builds RUN/shards"
    )
    remote_cache: str | None = key(
        None, "folder that keeps what is fetched from a URL; null: detaux/shards in $XDG_CACHE_HOME or ~/.cache"
    )
    remote_timeout: float = key(30.0, "seconds without a byte from a URL, after which it is tried again", 0.1, 3600.0)
    principal: Any = key(
        "class", "principal label: a factor's name, or a mapping from new class to old classes", is_text=True
    )
    side: int = key(32, "image side in pixels", 8, 512)
    grid: list[int] = key(
        [10, 10, 10, 8, 4, 15], "shapes3d: number of floor, wall and object hues, scales, shapes, orientations"
    )
    layout: Literal["packed", "standard"] = key("packed", "a block of samples per tar member, or one sample per member")
    block_samples: int = key(256, "samples in a block, the unit of reading", 1, 65536)
    shard_samples: int = key(8192, "samples in a tar", 1, 10**7)
    split: Literal["random", "combination", "published"] = key(
        "random", "test split: random samples, unseen floor-wall hue pairs (paper, section 5.1), or the data set's own"
    )
    test_fraction: float = key(0.25, "share of samples held out for the reported split", 0.001, 0.9)
    validation_fraction: float = key(0.1, "share of the remaining samples used for every choice", 0.001, 0.9)
    split_seed: int = key(0, "seed of the split; kept apart from run.seed so that seeds share one split", 0, 2**31 - 1)
    noise: float = key(0.0, "share of pixels turned black or white (salt and pepper) on the device", 0.0, 1.0)
    denoise: bool = key(
        True,
        "with data.noise: the disentangler sees a black or white pixel as the mean of its other neighbours, as mining does",
    )
    labelled_fraction: float = key(
        1.0, "share of training images that keep their label; no stage sees the others", 0.0, 1.0
    )
    cache: Literal["auto", "device", "host", "none"] = key("auto", "where a split is kept after its first pass")
    cache_bytes: int = key(
        4 * 2**30, "largest split that cache=auto keeps, and largest pool of pairs that is held, in bytes", 0
    )
    workers: int = key(0, "loader processes that decode; the order of samples does not depend on it", 0, 256)
    worker_timeout: float = key(
        300.0, "seconds that a loader process may take for a block before the run stops and says so", 0.1
    )
    window: int = key(4096, "samples shuffled together, and recent samples a partner is drawn from", 2, 10**7)
    max_bad_fraction: float = key(0.01, "share of unreadable samples that is skipped before the run stops", 0.0, 1.0)


@dataclass(frozen=True)
class PairsConfig:
    partner: Literal["mined", "nearest", "label", "one_factor", "independent"] = key(
        "mined",
        "second image: a mined neighbour, one of the nearest images, any image by label (paper), one ground-truth factor "
        "away, or any (official)",
    )
    different: float = key(0.2, "chance that the second image has another principal label", 0.0, 1.0)
    pull: float = key(
        0.0, "weight of pulling free subspaces together when principal labels differ; Eq. (7) has 1", 0.0, 10.0
    )
    principal_contrast: float = key(1.0, "weight of the label contrast on the principal subspace; paper has 0", 0.0)
    neighbour_contrast: float = key(
        0.0, "weight of the contrast that keeps near images together in the last subspace, which it reserves", 0.0
    )
    walk: int = key(2, "mined: most further edges of the same subspace a pair is extended by", 0, 16)
    walk_interval: int = key(100, "mined: steps between two readings of the oracle for the walk", 1)
    pool: int = key(65536, "mined, nearest: training images among which neighbours are sought", 16, 10**6)
    nearest: int = key(
        256,
        "nearest images of an image: mined tries them as its neighbours, nearest draws from them, where 10 to 15 serve",
        1,
        4096,
    )
    reuse: int = key(1, "pairs that one encoded image serves in", 1, 64)


@dataclass(frozen=True)
class ModelConfig:
    encoder: Literal["simple_conv", "patch_conv", "resnet18", "resnet18_map"] = key(
        "patch_conv", "autoencoder architecture; resnet18_map keeps a map of positions as its code"
    )
    latent: int = key(16, "size D of the latent code; resnet18_map: channels at each position of its map", 1, 65536)
    subspaces: int = key(10, "number K of subspaces; the first carries the principal task", 2, 256)
    restarts: int = key(
        1, "disentanglers trained from different seeds; discovery chooses among the candidates of all", 1, 64
    )
    projector_hidden: int = key(0, "hidden units of a projector; 0 means as many as model.latent", 0, 65536)


@dataclass(frozen=True)
class WeightsConfig:
    reconstruction: float = key(1.0, "weight of Eq. (5)", 0.0)
    distance: float = key(1.0, "weight of Eq. (7)", 0.0)
    sparsity: float = key(1.0, "weight of Eq. (8)", 0.0)
    consistency: float = key(1.0, "weight of Eq. (9)", 0.0)
    regularization: float = key(1.0, "weight of Eq. (10)", 0.0)


@dataclass(frozen=True)
class ReconstructionConfig:
    form: Literal["sum", "mean"] = key("mean", "squared error summed over an image (paper) or averaged (official)")


@dataclass(frozen=True)
class DistanceConfig:
    form: Literal["paper", "official"] = key("paper", "Eq. (7), or the released code's hinge on squared distances")
    margin: float = key(1.0, "margin m of Eq. (7)", 0.0)


@dataclass(frozen=True)
class SparsityConfig:
    form: Literal["paper", "official"] = key(
        "paper", "Eq. (8): L1 norm summed over K and D, or averaged over D (released code)"
    )


@dataclass(frozen=True)
class ConsistencyConfig:
    form: Literal["paper", "official"] = key("official", "Eq. (9) on projector i only, or on all projectors (released)")
    mixes: float = key(1.0, "mixed codes per pair, drawn from the K possible; 0 takes all K", 0.0, 256.0)


@dataclass(frozen=True)
class RegularizationConfig:
    form: Literal["paper", "official"] = key("paper", "Eq. (10) with its gradient, or detached (released: no gradient)")
    sharpness: float = key(5.0, "softmax sharpness (1 / temperature) of the soft usage that carries the gradient", 0.01)


@dataclass(frozen=True)
class OracleConfig:
    normalizer: Literal["mean_norm", "mean_distance", "rms_distance"] = key(
        "mean_distance", "what a subspace's distance is divided by: mean vector length (paper) or mean pair distance"
    )
    form: Literal["distance", "squared"] = key("distance", "Euclidean distance (paper) or its square (official)")
    sharpness: float = key(0.0, "softmax sharpness (1 / temperature); 0 is a hard arg max", 0.0)


@dataclass(frozen=True)
class BetaConfig:
    """One warm-up curve min(exp(rate (t - middle)), 1) over training progress t in [0, 1]."""

    rate: float = key(25.0, "growth rate of the curve", 0.0)
    middle: float = key(0.4, "progress at which the curve reaches 1", 0.0, 1.0)
    shape: Literal["rise", "fall", "constant"] = key("rise", "the curve, one minus the curve, or always 1")


@dataclass(frozen=True)
class ScheduleConfig:
    warmup_fraction: float = key(0.25, "progress t at which the main phase begins", 0.0, 1.0)
    beta1: BetaConfig = field(default_factory=BetaConfig, metadata={"meaning": "distance and sparsity"})
    beta2: BetaConfig = field(default_factory=lambda: BetaConfig(middle=0.5), metadata={"meaning": "consistency"})
    beta3: BetaConfig = field(default_factory=lambda: BetaConfig(shape="fall"), metadata={"meaning": "regularization"})


@dataclass(frozen=True)
class LossesConfig:
    backend: Literal["auto", "reference", "triton"] = key(
        "auto", "what computes the terms on pairs: plain torch, fused GPU kernels, or the kernels where there is a GPU"
    )
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    distance: DistanceConfig = field(default_factory=DistanceConfig)
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    oracle: OracleConfig = field(default_factory=OracleConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


@dataclass(frozen=True)
class PhaseConfig:
    steps: int = key(2500, "optimiser steps", 1)
    batch_size: int = key(32, "images a step (warm-up) or pairs a step (main phase)", 1)
    lr: float = key(2e-3, "peak learning rate", 0.0)
    ramp_steps: int = key(50, "steps of linear learning-rate ramp at the start", 0)
    decay: Literal["none", "linear", "cosine"] = key("linear", "shape of the learning-rate decay")
    decay_fraction: float = key(0.1, "share of the steps, at the end, over which the rate decays", 0.0, 1.0)
    final_lr_fraction: float = key(0.0, "learning rate at the end as a share of the peak", 0.0, 1.0)


@dataclass(frozen=True)
class DisentangleConfig:
    warmup: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(
            steps=3000, batch_size=64, lr=4e-3, decay="cosine", decay_fraction=1.0, final_lr_fraction=0.1
        ),
        metadata={"meaning": "reconstruction only"},
    )
    main: PhaseConfig = field(default_factory=PhaseConfig, metadata={"meaning": "all terms"})
    optimizer: Literal["adamw", "adam"] = key("adamw", "optimiser (paper: adamw; released code: adam)")
    weight_decay: float = key(0.01, "weight decay", 0.0)
    micro_batches: int = key(
        1,
        "parts a step's batch is computed in, one after the other; statistics over the batch are over a part",
        1,
        1024,
    )
    clip: float = key(1.0, "largest gradient norm; 0 clips nothing", 0.0)
    precision: Literal["fp32", "bf16"] = key("fp32", "arithmetic of the networks; losses are always fp32")
    compile: bool = key(
        False, "compile each step's forward and losses with torch.compile, which takes a minute to begin"
    )
    log_interval: int = key(100, "steps between two lines of metrics.jsonl", 1)
    checkpoint_interval: int = key(500, "steps between two checkpoints", 1)
    keep_checkpoints: int = key(2, "checkpoints kept", 1)


@dataclass(frozen=True)
class EngineConfig:
    name: Literal["auto", "single", "ddp", "deepspeed"] = key(
        "auto", "how ranks share a step; auto: single for one rank, ddp for several that a launcher started"
    )
    deepspeed: str | None = key(
        None, "deepspeed: JSON file of its own settings, such as launch/deepspeed.json; null: ZeRO stage 1"
    )


@dataclass(frozen=True)
class DiscoverConfig:
    source: Literal["subspace", "encoder"] = key(
        "subspace", "cluster subspaces, or the plain autoencoder (entangled ablation)"
    )
    clusterer: Literal["hdbscan", "kmeans", "kmeans++", "meanshift"] = key("hdbscan", "clustering algorithm")
    backend: Literal["auto", "cuml", "torch", "cpu"] = key(
        "auto",
        "what clusters: cuml, NVIDIA's on a GPU; torch, our own on any device, its hdbscan the same for any order of the "
        "images; cpu, hdbscan and scikit-learn; auto: cuml or else torch on a GPU, cpu on a CPU, where it is faster",
    )
    selection: Literal["excess_of_mass", "leaf"] = key(
        "excess_of_mass", "hdbscan: the most stable clusters of its hierarchy, or the finest"
    )
    min_cluster_fraction: float = key(0.02, "hdbscan: smallest cluster as a share of the training images", 0.0, 1.0)
    min_cluster_size: int = key(
        15, "hdbscan: images that the smallest cluster has, however few there are; two of them lie near by chance", 2
    )
    min_samples: int = key(
        64, "hdbscan: neighbours that make a core point; 0, or more than the smallest cluster size, means that size", 0
    )
    noise: Literal["class", "nearest"] = key(
        "class",
        "hdbscan: noise is a class of its own, or each point of it joins the cluster of the nearest point in one",
    )
    clusters: int = key(10, "kmeans: number of clusters", 2)
    bandwidth_quantile: float = key(0.1, "meanshift: quantile of pair distances used as bandwidth", 0.0, 1.0)
    merge: bool = key(True, "join free subspaces whose clusters depend on each other before choosing")
    merge_threshold: float = key(0.012, "subspaces join above this mutual information over smaller entropy", 0.0, 1.0)
    choose: Literal[
        "separation",
        "paper",
        "official",
        "invariance",
        "least_noise",
        "silhouette",
        "validity",
        "stability",
        "agreement",
    ] = key(
        "separation",
        "rule that picks the auxiliary task; separation = silhouette x ln(clusters) x (1 - noise share) x "
        "((1 + validity) / 2)^2",
    )
    include_baselines: bool = key(False, "let the choice rule also pick a plain baseline clustering")
    max_noise_share: float = key(0.3, "a candidate with more noise is not chosen", 0.0, 1.0)
    min_oracle_share: float = key(0.03, "a candidate that the oracle uses less is not chosen", 0.0, 1.0)
    min_variance_share: float = key(1e-3, "a candidate with a smaller share of the variance is dead", 0.0, 1.0)
    max_principal_nmi: float = key(1.0, "a candidate that tells more of the principal label is not chosen", 0.0, 1.0)
    max_seconds: float = key(
        3600.0, "a clustering planned to take longer clusters a subsample and predicts the rest; 0: no limit", 0.0
    )
    max_memory: float = key(
        16.0, "GiB; a clustering planned to need more clusters a subsample and predicts the rest; 0: no limit", 0.0
    )
    tasks: int = key(1, "auxiliary tasks written to labels.parquet, best first; multitask trains on the first", 1, 64)
    stability_samples: int = key(5, "bootstrap reclusterings behind the stability score; 0 skips it", 0, 100)


@dataclass(frozen=True)
class UncertaintyConfig:
    init: float = key(0.0, "log variance s of each task at the start; its loss has weight exp(-s)", -6.0, 6.0)
    lr_factor: float = key(10.0, "learning rate of the log variances, as a multiple of multitask.lr", 0.0)


@dataclass(frozen=True)
class MultitaskConfig:
    backbone: Literal["small_cnn", "vgg16", "vgg16_bn", "resnet18"] = key("small_cnn", "shared feature extractor")
    methods: list[str] = key(["stl", "hard_sharing"], "methods to run", choices=("stl", "hard_sharing", "uncertainty"))
    weights: list[float] = key([0.2, 1.0], "auxiliary weights tried; 0 (STL) is always a candidate", 0.0)
    controls: list[str] = key(
        ["random", "within_class"],
        "label controls run beside ours",
        choices=("random", "permuted", "within_class", "rotation"),
    )
    auxiliary_on: Literal["all", "labelled"] = key("all", "images that carry the auxiliary loss")
    seeds: int = key(3, "training seeds", 1, 100)
    select: Literal["validation", "fixed"] = key(
        "validation", "choose STL or an auxiliary weight by validation accuracy, or report the first weight"
    )
    epochs: int = key(15, "passes over the labelled training images", 1)
    least_steps: int = key(0, "more passes, where there are few labelled images, until there are this many steps", 0)
    batch_size: int = key(32, "labelled images a step", 1)
    lr: float = key(1e-3, "peak learning rate", 0.0)
    weight_decay: float = key(5e-3, "weight decay", 0.0)
    decay: Literal["none", "cosine"] = key("cosine", "learning-rate schedule")
    dropout: float = key(0.1, "dropout of each head", 0.0, 0.99)
    head_hidden: int = key(512, "hidden units of each head", 1)
    crop: int = key(
        0, "training images move by up to this many pixels, up, down and sideways, black coming in; 0: none", 0, 64
    )
    flip: bool = key(False, "half of the training images, drawn anew each time, change left and right")
    pretrained: str | None = key(
        None,
        "file (.pth, .safetensors) of the backbone's weights as torchvision or timm publish them; images are then normalised "
        "by ImageNet's mean and standard deviation, except for small_cnn",
    )
    uncertainty: UncertaintyConfig = field(default_factory=UncertaintyConfig)


@dataclass(frozen=True)
class ReportConfig:
    title: str = key("Detaux report", "heading of the page")
    examples: int = key(8, "example images shown per cluster", 1, 16)


@dataclass(frozen=True)
class TrackConfig:
    wandb: Literal["off", "auto", "online", "offline"] = key(
        "off",
        "Weights & Biases as a mirror of metrics.jsonl; offline leaves files for `wandb sync`; auto: online where there is a "
        "key, else offline",
    )
    tensorboard: bool = key(False, "TensorBoard event files as a mirror of metrics.jsonl")
    project: str = key("detaux", "W&B project")
    group: str | None = key(
        None, "W&B group that the stages of a run share, or all trials of a sweep; null: the name of run.dir"
    )


@dataclass(frozen=True)
class Config:
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    losses: LossesConfig = field(default_factory=LossesConfig)
    disentangle: DisentangleConfig = field(default_factory=DisentangleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    discover: DiscoverConfig = field(default_factory=DiscoverConfig)
    multitask: MultitaskConfig = field(default_factory=MultitaskConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
