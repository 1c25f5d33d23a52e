"""Load pretrained weights into a backbone from a file that torchvision or timm publishes."""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from detaux.backbones.backbone import Backbone
from detaux.config.location import expand_path
from detaux.config.schema import PACKAGE, WEIGHT_PACKAGES
from detaux.errors import UserError
from detaux.runtime.packages import require_package
from detaux.runtime.readers import read_weights

COUNTER = "num_batches_tracked"  # of batch normalisation; files before 2018 lack it, and only momentum=None reads it


def load_pretrained(backbone: Backbone, name: str, file: str, key: str) -> None:
    """Load `file`, the value of the config key `key`, into the backbone called `name`.

    The word `package` stands for the file of a Python package that has weights of this backbone.
    The backbone then normalises images as the weights expect. Raises UserError if the file is missing or damaged, or if
    a key does not fit; the message names the first such key.
    """
    path = find_in_package(name, key) if file == PACKAGE else expand_path(file, key)
    if not path.is_file():
        raise UserError(f"{key}={path} does not exist; give a .pth or .safetensors file of {name}'s weights.")
    weights = backbone.rename(read_weights(path, f"give {key} a .pth or .safetensors file of {name}'s weights"))
    wanted = _spell_as_published(backbone)
    found = {each: value for each, value in weights.items() if not each.startswith(backbone.published.classifier)}
    if fault := _find_fault(found, wanted):
        raise UserError(f"{key}={path} does not fit {name}: {fault}.")
    theirs, ours = backbone.published.prefix
    renamed = {ours + each.removeprefix(theirs): value for each, value in found.items()}
    backbone.body.load_state_dict(backbone.body.state_dict() | renamed)
    backbone.normalize_by(backbone.published.normalization)


def find_in_package(name: str, key: str) -> Path:
    """Return the file of weights in the package of a backbone. Nothing of the package runs.

    Raises UserError if no package has weights of it, or if the package is not installed.
    """
    if name not in WEIGHT_PACKAGES:
        names = ", ".join(WEIGHT_PACKAGES)
        raise UserError(f"{key}={PACKAGE}, but no package has weights of {name}; only {names} has one.")
    package, extra = WEIGHT_PACKAGES[name]
    require_package(package, extra, f"{key}={PACKAGE}")
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return next((Path(found.origin).parent / "models").glob("*.pth"), Path(found.origin))


def _spell_as_published(backbone: Backbone) -> dict[str, Tensor]:
    """Return the tensors of a backbone under the keys that published files use."""
    theirs, ours = backbone.published.prefix
    return {theirs + each.removeprefix(ours): value for each, value in backbone.body.state_dict().items()}


def _find_fault(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Return a text about the first key that differs, in the order of the backbone's keys; "" if all fit."""
    for each, value in wanted.items():
        if each not in found:
            if not each.endswith(COUNTER):
                return f"it lacks {each}"
        elif found[each].shape != value.shape:
            return f"{each} has shape {list(found[each].shape)}, and {list(value.shape)} is needed"
    for each in found:
        if each not in wanted:
            return f"it also holds {each}"
    return ""
