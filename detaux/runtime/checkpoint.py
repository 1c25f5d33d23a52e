"""Save and load training checkpoints: each is written whole, the last N are kept, and only tensors are unpickled."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from detaux.artefacts import WEIGHTS_NAME
from detaux.errors import UserError
from detaux.runtime.collectives import gather_objects
from detaux.runtime.files import atomic_path, write_json
from detaux.runtime.ranks import is_first

log = logging.getLogger(__name__)

FORMAT = 2  # goes up by one whenever a model's tensors get other names or shapes
STEP_FOLDER = re.compile(r"step-(\d{8})")


def save_checkpoint(
    folder: Path, step: int, model: dict[str, Tensor], training: dict[str, Any], inputs_hash: str, keep: int
) -> None:
    """Write FOLDER/step-NNNNNNNN on the first rank, and remove all but the last `keep` checkpoints.

    `model` goes to model.safetensors. `training` (optimiser state and other tensors) goes to training.pt. `inputs_hash`
    says which config and data the checkpoint belongs to. It does not depend on the engine or the number of ranks.
    """
    if not is_first():
        return
    with atomic_path(folder / f"step-{step:08d}") as partial:
        partial.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in model.items()}, partial / WEIGHTS_NAME)
        torch.save(training, partial / "training.pt")
        write_json(partial / "state.json", {"format": FORMAT, "step": step, "inputs_hash": inputs_hash})
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if STEP_FOLDER.fullmatch(path.name))


def load_checkpoint(folder: Path, inputs_hash: str) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return (step, model, training) of the newest sound checkpoint with these inputs, or None if there is none.

    A checkpoint that cannot be read or has another format is skipped and named in the log. Every rank reads the files.
    Raises UserError if the ranks find different checkpoints.
    """
    found = _read_newest(folder, inputs_hash)
    steps = gather_objects(None if found is None else found[0])
    if len(set(steps)) > 1:
        raise UserError(
            f"the ranks find different checkpoints in {folder}; set run.dir to a folder that all machines share."
        )
    return found


def _read_newest(folder: Path, inputs_hash: str) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    for path in reversed(list_checkpoints(folder)):
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if state.get("format") != FORMAT:
                log.warning("checkpoint %s was written by another version and is passed over", path)
            elif state["inputs_hash"] == inputs_hash:
                training = torch.load(path / "training.pt", weights_only=True, map_location="cpu")
                return state["step"], load_file(path / WEIGHTS_NAME), training
        except Exception as error:  # a damaged file makes torch, pickle and safetensors raise nearly anything
            log.warning("checkpoint %s cannot be read and is passed over: %s", path, error)
    return None
