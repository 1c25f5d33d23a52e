"""Answer which keys the numbers of a stage depend on."""

import functools

from detaux.config.load import iterate_fields

STAGES = ("shards", "disentangle", "discover", "multitask", "report")  # in the order they run

TRAINING = ("run", "data", "pairs", "model", "losses", "disentangle", "engine")

# The sections that each stage's help lists.
STAGE_SECTIONS: dict[str, tuple[str, ...]] = {
    "shards": ("data",),
    "disentangle": (*TRAINING, "track"),
    "discover": ("run", "data", "pairs", "model", "losses", "discover", "report", "track"),
    "multitask": ("run", "data", "multitask", "engine", "track"),
    "report": ("run", "report"),
    "run": (*TRAINING, "discover", "multitask", "report", "track"),
    "sweep": (*TRAINING, "discover", "multitask", "report", "track", "sweep"),
}

SHARED = ("run.seed", "run.device", "run.threads", "data.max_bad_fraction")  # of all stages that read shards

# What each stage reads, as sections and single keys: a change of anything else leaves what the stage has left as it is. What the
# shards are made of reaches the stages after them through the manifest, and a model's keys through its file.
READS: dict[str, tuple[str, ...]] = {
    "shards": ("data",),
    "disentangle": (*SHARED, "data.noise", "data.denoise", "data.window", "pairs", "model", "losses", "disentangle"),
    "discover": (
        *SHARED,
        "data.noise",
        "data.denoise",
        "pairs.partner",
        "pairs.pool",
        "pairs.nearest",
        "model.restarts",
        "losses.distance",
        "losses.oracle",
        "discover",
    ),
    "multitask": (*SHARED, "data.noise", "multitask"),
    "report": ("report",),
    "sweep": (*TRAINING, "discover", "multitask", "sweep"),
}

# Keys of `data` that no builder reads
NOT_BUILT = ("data.noise", "data.denoise", "data.window")


@functools.cache
def list_neutral() -> frozenset[str]:
    """Return the keys that are declared neutral: they change where or how fast a run works, never its numbers."""
    return frozenset(dotted for dotted, entry, _ in iterate_fields() if entry.metadata["neutral"])


def reads(stage: str, dotted: str) -> bool:
    """Whether the numbers of a stage depend on a key."""
    if dotted in list_neutral() or (stage == "shards" and dotted in NOT_BUILT):
        return False
    return any(dotted == name or dotted.startswith(f"{name}.") for name in READS[stage])
