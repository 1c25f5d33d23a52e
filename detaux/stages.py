"""Declare every stage: what it reads, what it leaves, on which ranks it runs, and which function runs it.

The command line, the chain of stages, the hash of inputs, the report and W&B read this table. It imports no stage: a
runner is a text, and is imported when it runs.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

from detaux.artefacts import (
    ACCURACIES_NAME,
    CHECKPOINT_NAME,
    CONFIG_NAME,
    CURVES_NAME,
    DISCOVERY_NAME,
    GALLERY_NAME,
    HELD_OUT_LABELS,
    LABELS_NAME,
    MANIFEST_NAME,
    METRICS_NAME,
    MODEL_FILE,
    RECORD_NAME,
    REPORT_NAME,
    ROWS_NAME,
    SCORES_NAME,
    STATES_NAME,
)

TRAINING = ("run", "data", "pairs", "model", "losses", "disentangle", "engine")
SHARED = ("run.seed", "run.device", "run.threads", "data.max_bad_fraction")  # read by all stages that read shards


@dataclass(frozen=True)
class Input:
    """Describe a file that a stage reads: its name in the record, the stage that leaves it, its path in that folder."""

    name: str
    maker: str
    file: str


MANIFEST = Input("manifest", "shards", MANIFEST_NAME)
MODEL = Input("model", "disentangle", str(MODEL_FILE))  # one for each restart: model, model_1, ...
DECODER = Input("decoder", "disentangle", str(MODEL_FILE))  # read only if multitask.recombine is above 0
LABELS = Input("labels", "discover", LABELS_NAME)


@dataclass(frozen=True, kw_only=True)
class Command:
    """Describe a command that takes a config.

    Its help lists `sections`. Its numbers depend on the sections and keys of `reads`, except those of `ignores`. A
    change of any other key does not repeat it.
    """

    name: str
    meaning: str
    sections: tuple[str, ...]
    reads: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stage(Command):
    """Describe a stage of a run.

    `runner` is MODULE:FUNCTION. It is called with the config, the folder of each input's maker, and the stage's own
    folder. If `is_observed`, it also gets `observe`, which sees training step by step. `leaves` are the names in the
    stage's folder. A person may change the files `editable`, and change or delete the files `unread`, which no stage
    reads. `artefacts` are the files that W&B gets, by name. The tars of `splits` are fetched before the stage runs, and
    those of the splits on which nothing trains if the key `held_out_key` is not 0. All ranks run the stage if
    `is_shared`, else only the first. `command` runs only this stage.
    """

    runner: str
    inputs: tuple[Input, ...] = ()
    leaves: tuple[str, ...]
    artefacts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    held_out_key: str = ""
    is_shared: bool = True
    is_observed: bool = False
    editable: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    command: str = "detaux {stage} {arguments}"

    @property
    def is_recorded(self) -> bool:
        """Return whether the stage ends by writing a record of what it read and left."""
        return RECORD_NAME in self.leaves

    def load_runner(self) -> Callable[..., None]:
        """Import the function that runs the stage, and with it the packages that it needs."""
        module, _, function = self.runner.partition(":")
        runner: Callable[..., None] = getattr(importlib.import_module(module), function)
        return runner


TABLE = (  # in the order they run
    Stage(
        name="shards",
        meaning="dataset -> tars and manifest.json",
        sections=("data",),
        # later stages do not read these keys, because they depend on the manifest
        reads=("data",),
        ignores=("data.noise", "data.denoise", "data.window"),  # read by no builder
        runner="shards.build:build_shards",
        leaves=(MANIFEST_NAME, CONFIG_NAME, RECORD_NAME),
        is_shared=False,
        command="detaux shards build {arguments} --out {shards}",
    ),
    Stage(
        name="disentangle",
        meaning="shards -> disentangler",
        sections=(*TRAINING, "track"),
        reads=(*SHARED, "data.noise", "data.denoise", "data.window", "pairs", "model", "losses", "disentangle"),
        runner="detaux.disentangle.train:run_disentangle",
        inputs=(MANIFEST,),
        leaves=(CHECKPOINT_NAME, METRICS_NAME, SCORES_NAME, CONFIG_NAME, RECORD_NAME),
        artefacts={MODEL.name: (MODEL.file,)},
        splits=("train",),
        is_observed=True,
    ),
    Stage(
        name="discover",
        meaning="disentangler + shards -> auxiliary labels",
        sections=("run", "data", "pairs", "model", "losses", "discover", "report", "track"),
        reads=(  # the keys of the model are missing, because the stage depends on the model's file
            *SHARED,
            "data.path",  # of the source files
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
        runner="detaux.discover.run:run_discover",
        inputs=(MANIFEST, MODEL),
        leaves=(LABELS_NAME, *HELD_OUT_LABELS.values(), DISCOVERY_NAME, GALLERY_NAME, CONFIG_NAME, RECORD_NAME),
        artefacts={LABELS.name: (LABELS.file,)},
        splits=("train",),
        held_out_key="discover.cross_prediction.rounds",
        editable=(LABELS_NAME,),
        unread=tuple(HELD_OUT_LABELS.values()),
    ),
    Stage(
        name="multitask",
        meaning="shards + auxiliary labels -> classifiers and their accuracies",
        sections=("run", "data", "multitask", "engine", "track"),
        reads=(*SHARED, "data.noise", "data.denoise", "multitask"),
        runner="detaux.multitask.run:run_multitask",
        inputs=(MANIFEST, LABELS, DECODER),
        leaves=(ROWS_NAME, STATES_NAME, ACCURACIES_NAME, CURVES_NAME, CHECKPOINT_NAME, CONFIG_NAME, RECORD_NAME),
        artefacts={"classifier": (ACCURACIES_NAME, str(MODEL_FILE))},
        splits=("train", *HELD_OUT_LABELS),
    ),
    Stage(
        name="report",
        meaning="run folders -> report.html",
        sections=("run", "report"),
        reads=("report",),
        runner="detaux.report.build:report_run",
        leaves=(REPORT_NAME,),
        is_shared=False,
        command="detaux report {root}",
    ),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in TABLE}

RUN = Command(
    name="run",
    meaning=f"all stages: {', '.join(STAGES)}",
    sections=tuple(dict.fromkeys(section for stage in TABLE for section in stage.sections)),
)
SWEEP = Command(
    name="sweep",
    meaning="many short trainings over sweep.space -> best.yaml and a table of trials",
    sections=(*RUN.sections, "sweep"),
    reads=(*TRAINING, "discover", "multitask", "sweep"),
)
COMMANDS: dict[str, Command] = {**STAGES, RUN.name: RUN, SWEEP.name: SWEEP}
