"""Which keys each stage reads, and which keys never change a number."""

# Keys that change where or how fast a run works, never its numbers: a change of one neither repeats a stage nor refuses a
# checkpoint.
NEUTRAL_KEYS = (
    "run.dir",
    "data.shards",
    "data.remote_cache",
    "data.remote_timeout",
    "data.workers",
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

# Keys that fewer stages read than read their section.
READ_BY = {
    "data.noise": ("disentangle", "discover", "multitask", "sweep"),
    "data.denoise": ("disentangle", "discover", "sweep"),
    "data.window": ("disentangle", "sweep"),
}

STAGES = ("shards", "disentangle", "discover", "multitask", "report")  # in the order they run

TRAINING = ("run", "data", "pairs", "model", "losses", "disentangle", "engine")

# What each stage reads: its help lists these sections, and its inputs hash covers them.
STAGE_SECTIONS: dict[str, tuple[str, ...]] = {
    "shards": ("data",),
    "disentangle": (*TRAINING, "track"),
    "discover": ("run", "data", "pairs", "model", "losses", "discover", "report", "track"),
    "multitask": ("run", "data", "multitask", "engine", "track"),
    "report": ("run", "report"),
    "run": (*TRAINING, "discover", "multitask", "report", "track"),
    "sweep": (*TRAINING, "discover", "multitask", "report", "track", "sweep"),
}
