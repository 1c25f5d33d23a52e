"""What is recorded: runs of the command line, each with its overrides of config keys, and nothing else of Detaux.

Every config key and every name of a command stands in this file: where a key gets another name, it is changed here. Where a
file, a field or a weight gets another name and keeps its value, `RENAMED` says so.
"""

from dataclasses import dataclass

# (pattern, replacement) by re.sub: the name that a recorded value has now; a name is CASE/FILE:FIELD
RENAMED: tuple[tuple[str, str], ...] = ()

COMMON = ("run.device=cpu", "run.threads=1")
STEPS = ("disentangle.log_interval=1", "disentangle.checkpoint_interval=25", "disentangle.keep_checkpoints=9")
SMALL = ("model.subspaces=4", "model.latent=6", "model.restarts=1", "data.window=64", *STEPS)
MINED = ("pairs.pool=128", "pairs.nearest=16", "pairs.walk_interval=7")
FEW = ("disentangle.warmup.steps=2", "disentangle.main.steps=4")
BATCH = ("disentangle.warmup.batch_size=16", "disentangle.main.batch_size=16")
PRESET = ("data.side=16", "data.window=64", *STEPS, *FEW, *BATCH)
# the same images under the grid's own split, and the split by combination, which the full presets have
GRID = ("data.grid=[3,3,4,3,2,1]", "data.side=16", "data.block_samples=32")
LARGER = ("data.side=32",)  # the smallest that VGG16 takes; the same keys as of the others
BY_HUE = (*GRID, "data.split=combination", "data.principal=scale", "data.validation_fraction=0.1")
QUICK = (*GRID, *SMALL, *MINED, *BATCH, "disentangle.warmup.steps=20", "disentangle.main.steps=30")
DIGITS = ("data.side=8", "data.block_samples=128", "data.test_fraction=0.6", "data.validation_fraction=0.3")
DIGITS_RUN = (*DIGITS, *SMALL, *MINED, *BATCH, "pairs.nearest=5")
RESNET = (*GRID, *SMALL, *MINED, "disentangle.warmup.steps=1", "disentangle.main.steps=1")
DISCOVER = ("discover.min_cluster_size=5", "discover.min_samples=5", "discover.stability_samples=2")
TINY_CLUSTERS = (*DISCOVER, "discover.min_cluster_fraction=0.02", "discover.max_outlier_fraction=1")
MULTITASK = (
    "multitask.epochs=2",
    "multitask.least_steps=0",
    "multitask.seeds=2",
    "multitask.batch_size=32",
    "multitask.head_hidden=16",
    "multitask.weights=[0.5]",
    "multitask.methods=[stl,hard_sharing,hard_sharing+uncertainty]",
    "multitask.controls=[random,permuted,within_class,rotation]",
)
ONE_TRIAL = (
    "multitask.seeds=1",
    "multitask.methods=[hard_sharing]",
    "multitask.controls=[]",
    "multitask.select=fixed",
    "multitask.epochs=1",
    "multitask.batch_size=52",
)
SWITCHES = ("losses.oracle.form=squared", "losses.oracle.sharpness=4", "losses.sparsity.form=official")
FORMS = (
    *("losses.distance.form=official", "losses.consistency.form=paper", "losses.consistency.mixes=2"),
    *("losses.weights.regularization=1", "losses.regularization.form=official", "losses.reconstruction.form=sum"),
)
TWO_HALVES = ("disentangle.micro_batches=2", "pairs.reuse=2")


@dataclass(frozen=True)
class Case:
    """One command: `detaux STAGE CONFIG keys`, on the shard set `set`, in a copy of what the case `base` has left.

    A default case is compared by the default run of the tests; the others by the slow ones and by record.py --check.
    """

    name: str
    stage: str
    keys: tuple[str, ...] = ()
    config: str = "quickstart"
    set: str | None = "grid"
    base: str | None = None
    ranks: int = 1
    is_default: bool = False


def build(name: str, config: str, *keys: str, is_default: bool = False) -> Case:
    """Build a shard set."""
    return Case(f"shards_{name}", "shards", keys, config, None, None, 1, is_default)


def train(name: str, *keys: str, config: str = "quickstart", **rest) -> Case:
    """Train a disentangler."""
    return Case(f"disentangle_{name}", "disentangle", (*COMMON, *keys), config, **rest)


def find(name: str, *keys: str, base: str = "disentangle_quickstart", **rest) -> Case:
    """Discover on a trained disentangler."""
    return Case(f"discover_{name}", "discover", (*COMMON, *QUICK, *DISCOVER, *keys), base=base, **rest)


def classify(name: str, *keys: str, **rest) -> Case:
    """Train classifiers on what was discovered."""
    keys = (*COMMON, *QUICK, *DISCOVER, *MULTITASK, *keys)
    return Case(f"multitask_{name}", "multitask", keys, **{"base": "discover_quickstart", **rest})


def cluster(clusterer: str, backend: str, *keys: str, name: str = "", is_default: bool = False) -> Case:
    """Cluster embeddings of a file."""
    chosen = (f"discover.clusterer={clusterer}", f"discover.backend={backend}", "discover.min_samples=5")
    name = f"cluster_{clusterer.replace('+', 'p')}_{backend}{name}"
    return Case(name, "cluster", (*COMMON, *chosen, "discover.clusters=4", *keys), set=None, is_default=is_default)


LEAF = ("discover.selection=leaf", "discover.outliers=nearest")
PRESETS = {
    "paper": ("paper/quickstart-grid", "grid", ("pairs.pool=128", *GRID)),
    "official": ("official/quickstart-grid", "grid", ("pairs.pool=128", *GRID)),
    "paper_full": ("paper/shapes3d", "hue", BY_HUE),
    "official_full": ("official/shapes3d", "hue", BY_HUE),
}
CASES = (
    build("grid", "quickstart", *GRID, is_default=True),
    build("digits", "digits", *DIGITS, is_default=True),
    build("grid_standard", "quickstart", *GRID, "data.layout=standard", "data.labelled_fraction=0.5"),
    build("digits_standard", "digits", *DIGITS, "data.layout=standard"),
    build("digits_small_tars", "digits", *DIGITS, "data.shard_samples=256", "data.split_seed=3"),
    build("grid_larger", "quickstart", *GRID, *LARGER),
    build("hue", "quickstart", *BY_HUE),
    train("quickstart", *QUICK, is_default=True),
    train("digits", *DIGITS_RUN, *STEPS, "disentangle.warmup.steps=8", "disentangle.main.steps=16", config="digits",
          set="digits", is_default=True),
    *(train(f"partner_{partner}", *QUICK, *FEW, f"pairs.partner={partner}", "pairs.pull=0.5")
      for partner in ("mined", "nearest", "label", "one_factor", "independent")),
    train("noise", *QUICK, *FEW, "data.noise=0.1", "data.denoise=true"),
    train("restarts", *QUICK, *FEW, "model.restarts=2", "run.seed=5"),
    train("switches", *QUICK, *FEW, *SWITCHES, "losses.oracle.normalizer=rms_distance", "disentangle.optimizer=adam"),
    train("forms", *QUICK, *FEW, *FORMS, "losses.oracle.normalizer=mean_norm", "losses.schedule.beta3.shape=rise"),
    train("micro_batches", *QUICK, *FEW, *TWO_HALVES),
    train("bf16", *QUICK, *FEW, "disentangle.precision=bf16"),
    train("simple_conv", *QUICK, *FEW, "model.encoder=simple_conv", "model.projector_hidden=5"),
    train("resnet18", *RESNET, *BATCH, "model.encoder=resnet18"),
    train("resnet18_map", *RESNET, "disentangle.warmup.batch_size=4", "disentangle.main.batch_size=4",
          "model.encoder=resnet18_map"),
    *(train(f"preset_{name}", *keys, *PRESET, config=config, set=images)
      for name, (config, images, keys) in PRESETS.items()),
    train("two_ranks", *QUICK, *FEW, "engine.name=ddp", ranks=2, is_default=True),
    train("two_ranks_digits", *DIGITS_RUN, *FEW, "disentangle.micro_batches=2", config="digits", set="digits", ranks=2),
    train("deepspeed", *QUICK, *FEW, "engine.name=deepspeed", ranks=2),
    find("quickstart", is_default=True),
    find("kmeans", "discover.clusterer=kmeans", "discover.choose=silhouette", "discover.include_baselines=true"),
    find("kmeans_plus_plus", "discover.clusterer=kmeans++", "discover.choose=stability", "discover.clusters=5"),
    find("meanshift", "discover.clusterer=meanshift", "discover.choose=invariance"),
    find("torch", "discover.backend=torch", *LEAF, "discover.choose=agreement", "discover.tasks=2"),
    find("encoder", "discover.sources=[encoder]", "discover.choose=validity", "discover.min_samples=0"),
    find("choose_paper", "discover.choose=paper", "discover.merge=false"),
    find("choose_official", "discover.choose=official", "discover.merge_threshold=0.9"),
    find("merge", "discover.choose=least_noise", "discover.merge_threshold=0.0001"),
    find("noise", *FEW, "data.noise=0.1", base="disentangle_noise"),
    find("restarts", *FEW, "model.restarts=2", base="disentangle_restarts"),
    Case("discover_digits", "discover", (*COMMON, *DIGITS_RUN, *TINY_CLUSTERS), "digits", "digits", "disentangle_digits"),
    find("two_ranks", ranks=2),
    *(cluster(clusterer, backend, is_default=clusterer == "hdbscan")
      for clusterer in ("hdbscan", "kmeans", "kmeans++", "meanshift") for backend in ("cpu", "torch")),
    *(cluster("hdbscan", backend, *LEAF, name="_leaf") for backend in ("cpu", "torch")),
    classify("small_cnn", is_default=True),
    classify("noise", *ONE_TRIAL, "data.noise=0.1", "multitask.dropout=0.5"),
    classify("resnet18", *ONE_TRIAL, "multitask.backbone=resnet18"),
    classify("vgg16", *ONE_TRIAL, *LARGER, "multitask.backbone=vgg16", set="grid_larger"),
    classify("vgg16_bn", *ONE_TRIAL, *LARGER, "multitask.backbone=vgg16_bn", "multitask.auxiliary_on=labelled",
             set="grid_larger"),
    classify("uncertainty", *ONE_TRIAL, "multitask.methods=[hard_sharing+uncertainty]", "multitask.decay=none"),
    classify("two_ranks", *ONE_TRIAL, "multitask.controls=[rotation]", ranks=2),
    classify("two_seeds", *ONE_TRIAL, "multitask.methods=[stl]", "multitask.seeds=2"),
    Case("report", "report", set=None, base="multitask_small_cnn", is_default=True),
)  # fmt: skip
