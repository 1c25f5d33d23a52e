"""Which keys each stage reads, and which keys never change a number."""

# Keys that change where or how fast a run works, never its numbers: a change of one neither repeats a stage nor refuses a
# checkpoint.
NEUTRAL_KEYS = (
    "run.dir",
    "data.shards",
    "data.remote_cache",
    "data.remote_timeout",
    "data.workers",
    "data.worker_timeout",
    "data.cache",
    "data.cache_bytes",
    "engine.name",
    "engine.deepspeed",
    "losses.backend",
    "disentangle.compile",
    "disentangle.log_interval",
    "disentangle.checkpoint_interval",
    "disentangle.keep_checkpoints",
    "report.title",
    "track.wandb",
    "track.tensorboard",
    "track.project",
    "track.group",
    "sweep.concurrent",
    "sweep.ranks",
    "sweep.cpus",
    "sweep.gpus",
    "sweep.retries",
    "sweep.share_warmups",
)

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


def reads(stage: str, dotted: str) -> bool:
    """Whether the numbers of a stage depend on a key."""
    if dotted in NEUTRAL_KEYS or (stage == "shards" and dotted in NOT_BUILT):
        return False
    return any(dotted == name or dotted.startswith(f"{name}.") for name in READS[stage])
