"""Send trainings to Weights & Biases: each training has one W&B run and continues it; artefacts name their inputs."""

import netrc
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from detaux.artefacts import VARIANTS_NAME, WANDB_NAME
from detaux.config import Config
from detaux.config.frozen import config_to_dict
from detaux.config.location import expand_path
from detaux.config.schema import TrackConfig
from detaux.errors import NonFiniteLossError, UserError
from detaux.runtime.files import write_json
from detaux.runtime.metrics import WARNING, flatten
from detaux.runtime.readers import read_json

SERVER = "https://api.wandb.ai"


def choose_mode(track: TrackConfig) -> Literal["online", "offline"] | None:
    """Return `online`, `offline` or, for off, None, as `track.wandb` says. Raises UserError for online without key."""
    if track.wandb == "off":
        return None
    if track.wandb == "auto":
        return "online" if has_key() else "offline"
    if track.wandb == "online" and not has_key():
        raise UserError("track.wandb=online finds no W&B key; run `wandb login` first or use track.wandb=offline.")
    return track.wandb


def has_key() -> bool:
    """Return whether W&B will find a key: in WANDB_API_KEY, or in the netrc file under W&B's server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", SERVER)).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def name_group(config: Config) -> str:
    """Return the W&B group that all stages of a run share."""
    return config.track.group or name_run(config)


def name_run(config: Config) -> str:
    """Return the name of the run's folder."""
    return expand_path(config.run.dir, "run.dir").resolve().name


def name_place(config: Config, folder: Path) -> str:
    """Return the name of a stage's W&B run: the run's and the folder's, and the variant's if the folder is in one."""
    place, variants = folder.resolve(), expand_path(config.run.dir, "run.dir").resolve() / VARIANTS_NAME
    inner = place.relative_to(variants).parts[0] if place.is_relative_to(variants) else None
    return "/".join(filter(None, (name_run(config), inner, folder.name)))


def make_state(inputs_hash: str) -> dict[str, Any]:
    """Make the content of wandb.json for a new W&B run.

    It holds the hash of the inputs, the run's id, the last step that W&B surely has, and W&B's folder of files that are
    being written.
    """
    return {"inputs_hash": inputs_hash, "id": secrets.token_hex(4), "step": 0, "open": None}


def read_state(folder: Path) -> dict[str, Any]:
    """Return the saved W&B state, or {} if the stage has none."""
    path = folder / WANDB_NAME
    names = ("inputs_hash", "id", "step", "open")
    return read_json(path, f"delete {path}, and W&B starts another run", names) if path.is_file() else {}


def begin_run(config: Config, stage: str, folder: Path, state: dict[str, Any]) -> Any:
    """Start or resume the W&B run of `state` for a stage's folder. Raises UserError if W&B starts no run.

    Offline files of a killed process are removed: they lack what W&B had not yet written, and their lines are sent
    again.
    """
    import wandb

    if state["open"]:
        shutil.rmtree(folder / state["open"], ignore_errors=True)
    try:
        run = wandb.init(
            project=config.track.project,
            group=name_group(config),
            job_type=stage,
            name=name_place(config, folder),
            id=state["id"],
            resume="allow",
            mode=choose_mode(config.track),
            dir=str(folder),
            config=config_to_dict(config),
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
    except Exception as error:  # W&B raises many kinds of errors if a network, a key or a server is missing
        raise UserError(
            f"track.wandb={config.track.wandb}: W&B starts no run: {error}; offline needs no network."
        ) from None
    files = os.path.relpath(Path(run.dir).parent, folder) if run.offline else None
    write_json(folder / WANDB_NAME, {**state, "open": files})
    return run


def end_run(run: Any, folder: Path, step: int, exit_code: int = 0) -> None:
    """Finish a W&B run, so that W&B writes everything up to the line of `step`."""
    run.finish(exit_code=exit_code)
    write_json(folder / WANDB_NAME, {**read_state(folder), "step": step, "open": None})


class WandbMirror:
    """Send every line of metrics.jsonl once to a W&B run, by W&B's own process.

    If the inputs are unchanged, a restarted training resumes the same W&B run, even if it died before its first
    checkpoint, and sends only the missing lines, because the same steps give the same losses. Other inputs start a new
    W&B run.
    """

    name = "track.wandb"

    def __init__(self, config: Config, stage: str, folder: Path, inputs_hash: str, keys: Sequence[str]) -> None:
        state = read_state(folder)
        if state.get("inputs_hash") != inputs_hash:
            state = make_state(inputs_hash)
        self._folder, self.step = folder, state["step"]
        self._run = begin_run(config, stage, folder, state)
        self._run.define_metric("step")
        for key in keys:
            self._run.define_metric(key, step_metric="step")

    def write(self, line: dict[str, Any]) -> None:
        self._run.log(flatten(line), step=line["step"], commit=True)
        if WARNING in line:
            self._run.alert("A warning of the training", line[WARNING], level="WARN")
        self.step = line["step"]

    def close(self, error: BaseException | None) -> None:
        if isinstance(error, NonFiniteLossError):
            self._run.alert("The loss is not finite", str(error), level="ERROR")
        end_run(self._run, self._folder, self.step, 0 if error is None else getattr(error, "exit_code", 1))


def build_artefact(config: Config, name: str, files: Sequence[Path], facts: dict[str, Any]) -> Any:
    """Build a W&B artefact of a run's group from files. Equal content gives the same version, whoever makes it."""
    import wandb

    artefact = wandb.Artifact(
        re.sub(r"[^\w.-]", "-", f"{name_group(config)}-{name}"), name.split("_")[0], metadata=facts
    )
    for file in files:
        artefact.add_file(str(file))
    return artefact


def log_use(run: Any, artefact: Any) -> None:
    """Record that a W&B run read an artefact."""
    if run.offline:  # the public method refuses offline runs; this is what it does for a file that the server may lack
        run._log_artifact(artefact, use_after_commit=True)
    else:
        run.use_artifact(artefact)
