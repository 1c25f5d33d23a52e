"""Check that the keys of a config fit together, and that the files that it names exist."""

from detaux.config.location import expand_path, find_folder
from detaux.config.schema import FROZEN, PACKAGE, VGG_MIN_SIDE, WEIGHT_PACKAGES, Config
from detaux.config.schema.methods import UNWEIGHTED_METHODS
from detaux.config.variants import list_repeats
from detaux.errors import UserError

FEATURE_SUFFIXES = (".npy", ".npz", ".safetensors")
PICTURE_SOURCES = ("folder", "faces", "cars")  # values of data.source that are single pictures below data.path


def check_together(config: Config) -> None:
    """Raise UserError for keys that contradict each other, or that name a file that does not exist.

    Use it only for a config that is about to run: a frozen config may name files that no longer exist.
    """
    if config.data.shards:
        find_folder(config.data.shards)
    multitask = config.multitask
    rule = next((name for name in multitask.methods if "+" in name), "")
    files = {
        ("multitask.pretrained", multitask.pretrained): multitask.backbone,
        ("multitask.mti.pretrained", multitask.mti.pretrained): multitask.mti.backbone,
    }
    faults = {
        **_find_faults_of_search(config),
        f"multitask.backbone={multitask.backbone} needs data.side of at least {VGG_MIN_SIDE}; it is {config.data.side}": (
            multitask.backbone.startswith("vgg") and not config.data.shards and config.data.side < VGG_MIN_SIDE
        ),
        "multitask.mti.loss=pixel needs the maps of multitask.mti.head=aggregate, and multitask.mti.head is pooled": (
            multitask.mti.loss == "pixel" and multitask.mti.head == "pooled"
        ),
        f"multitask.methods={multitask.methods} has methods with a weight and multitask.weights is empty; give a weight": (
            not multitask.weights
            and (
                multitask.controls or multitask.discovery_clusterers or set(multitask.methods) - set(UNWEIGHTED_METHODS)
            )
        ),
        f"multitask.recombine={multitask.recombine:g} of multitask.batch_size={multitask.batch_size} is less than half an image, "
        "so no image would be recombined; raise it, or set it to 0": (
            0 < multitask.recombine * multitask.batch_size <= 0.5
        ),
        f"multitask.weights={multitask.weights} has no weight above 0, which the rule of {rule} needs; give one": (
            bool(rule) and bool(multitask.weights) and not any(multitask.weights)
        ),
        f"multitask.crop={multitask.crop} is not below data.side={config.data.side}, so images could be shifted out of view; "
        "lower it": multitask.crop >= config.data.side and not config.data.shards,
        f"multitask.controls={multitask.controls} and multitask.control_methods is empty; give a method to train on them": (
            bool(multitask.controls and not multitask.control_methods)
        ),
        "multitask.controls has oracle and multitask.oracle is empty; name the factor whose values it takes as labels": (
            "oracle" in multitask.controls and not multitask.oracle
        ),
        **list_repeats(config),
    }
    for name in ("methods", "weights", "controls", "control_methods", "correlated_nmi"):
        values = [f"{value:g}" if isinstance(value, float) else value for value in getattr(multitask, name)]
        for value in set(values):
            sentence = f"multitask.{name}={getattr(multitask, name)} has {value} twice, to six digits; give each once"
            faults[sentence] = values.count(value) > 1
    for (name, file), network in files.items():
        sentence = f"{name}={file} does not exist; give a .pth or .safetensors file of {network}'s weights"
        faults[sentence] = file not in (None, PACKAGE) and not expand_path(file, name).is_file()
        sentence = f"{name}={file}, but no package has weights of {network}; only {', '.join(WEIGHT_PACKAGES)} has one"
        faults[sentence] = file == PACKAGE and network not in WEIGHT_PACKAGES
    for sentence, is_fault in faults.items():
        if is_fault:
            raise UserError(f"{sentence}.")


def _find_faults_of_search(config: Config) -> dict[str, bool]:
    """Return sentences about the keys of disentangling and discovery, each with whether it is true."""
    main, model, discover = config.disentangle.main, config.model, config.discover
    has_file = discover.features not in (None, FROZEN)
    features = f"discover.features={discover.features}"
    sources = f"discover.sources={discover.sources}"
    return {
        f"{sources} names no source of candidates; name at least one": not discover.sources,
        f"{sources} names a source twice; name each once": len(set(discover.sources)) < len(discover.sources),
        f"discover.choose={discover.choose} reads a score that no candidate of {sources} has; add subspace, or take "
        "another rule": (
            discover.choose in ("paper", "official", "invariance", "agreement")
            and not {"subspace", "mixture", "encoder"} & set(discover.sources)
        ),
        "discover.sources has features and discover.features is empty; give a file of features, or efficientnet_lite0": (
            "features" in discover.sources and discover.features is None
        ),
        f"discover.sources has files, which reads single pictures below data.path, and data.source={config.data.source} has "
        f"data.path={config.data.path}; take {', '.join(PICTURE_SOURCES)} with the folder of the pictures, or leave files out": (
            "files" in discover.sources and (config.data.source not in PICTURE_SOURCES or not config.data.path)
        ),
        f"{features} and discover.sources={discover.sources} has no features, which reads it; add features, or leave it out": (
            discover.features is not None and "features" not in discover.sources
        ),
        f"{features} is no .npy, .npz or .safetensors file and not {FROZEN}; give one of these": (
            has_file and not str(discover.features).endswith(FEATURE_SUFFIXES)
        ),
        f"{features} does not exist; give a .npy, .npz or .safetensors file of features, or {FROZEN}": (
            has_file and not expand_path(str(discover.features), "discover.features").is_file()
        ),
        f"model.conditional needs a code that is one vector of at least 2 numbers, and model.encoder={model.encoder} with "
        f"model.latent={model.latent} has another; take another encoder or a larger model.latent": (
            model.conditional and (model.encoder.endswith("_map") or model.latent < 2)
        ),
        "disentangle.warmup.steps=0 leaves the code untrained, which is to become the start of a conditional model; raise it": (
            model.conditional and config.disentangle.warmup.steps == 0
        ),
        f"disentangle.hard_fraction={config.disentangle.hard_fraction:g} belongs to the warm-up of a conditional model, and "
        "model.conditional is false; set it to true, or the fraction to 0": (
            config.disentangle.hard_fraction > 0 and not model.conditional
        ),
        "disentangle.warmup.steps=0 and disentangle.main.steps=0 leave nothing to train; raise one": (
            config.disentangle.warmup.steps == main.steps == 0
        ),
        f"discover.choose={discover.choose}, discover.min_recognition={discover.min_recognition:g} and "
        f"discover.min_attraction={discover.min_attraction:g} read scores of cross-prediction, which need "
        "discover.cross_prediction.rounds of at least 1; it is 0": (
            (discover.choose == "recognition" or max(discover.min_recognition, discover.min_attraction) > 0)
            and discover.cross_prediction.rounds == 0
        ),
        f"model.projector_hidden={model.projector_hidden} is below model.latent={model.latent}, and projectors of a "
        "conditional model start as linear maps of the whole code; give 0 or at least model.latent": (
            model.conditional and 0 < model.projector_hidden < model.latent
        ),
        f"disentangle.main.batch_size={main.batch_size} is not a multiple of pairs.reuse={config.pairs.reuse}; every chain "
        "of pairs has pairs.reuse links": main.batch_size % config.pairs.reuse > 0,
    }
