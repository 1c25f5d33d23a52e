"""Open the mirrors of metrics.jsonl that the section `track` asks for. Only a mirror in use imports its package."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from detaux.config import Config
from detaux.config.schema import TrackConfig
from detaux.errors import UserError
from detaux.runtime.metrics import Mirror
from detaux.tracking.wandb import WandbMirror, choose_mode


def check_mirrors(track: TrackConfig) -> None:
    """Raise UserError if a mirror lacks its package or its key."""
    wanted = {
        f"track.wandb={track.wandb}": ("wandb", choose_mode(track) is not None),
        "track.tensorboard=true": ("tensorboard", track.tensorboard),
    }
    for setting, (package, is_wanted) in wanted.items():
        if is_wanted and find_spec(package) is None:
            raise UserError(f"{setting} needs the Python package {package}; run `pip install 'detaux[{package}]'`.")


def open_mirrors(config: Config, stage: str, folder: Path, inputs_hash: str, keys: Sequence[str]) -> list[Mirror]:
    """Open the mirrors of the metrics.jsonl in `folder` for a training with these inputs, which charts `keys`.

    Raises UserError if a mirror cannot start.
    """
    check_mirrors(config.track)
    mirrors: list[Mirror] = []
    if choose_mode(config.track) is not None:
        mirrors.append(WandbMirror(config, stage, folder, inputs_hash, keys))
    if config.track.tensorboard:
        from detaux.tracking.tensorboard import TensorBoardMirror

        mirrors.append(TensorBoardMirror(folder))
    return mirrors
