"""Compare the settings of a run with the config of the paper for its data set, which comes with Detaux."""

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from detaux.config import Config, load_config
from detaux.config.influence import reads
from detaux.config.load import get_value, iterate_fields
from detaux.config.shipped import find_shipped
from detaux.report.collect import Run
from detaux.report.published import DATASETS

MISSING = object()  # an older release had no such key, or the run did not make its shards
DISCOVERY_STAGES = ("disentangle", "discover")
NOT_COMPARED = (
    "run",  # seeds are shown, the rest is the machine
    # places, the form of the tars, and what _is_same_task asks for
    *("data.path", "data.layout", "data.block_samples", "data.shard_samples"),
    *("data.source", "data.principal", "data.noise"),
    # the row of the cell says the clusterer; no baseline fills a cell
    *("discover.clusterer", "discover.include_baselines"),
    # these add rows or seeds, and the table shows both
    *("multitask.methods", "multitask.controls", "multitask.control_methods", "multitask.correlated_nmi"),
    *("multitask.oracle", "multitask.seeds", "multitask.discovery_seeds", "multitask.discovery_clusterers"),
    "multitask.select",  # the table takes what validation ranks first
    "multitask.mti.pretrained",  # said in words
)
OF_LABELS = ("multitask.weights", "multitask.auxiliary_on")  # read only by methods that take labels
OF_BACKBONE = ("multitask.backbone", "multitask.pretrained")  # mti has its own


@dataclass(frozen=True)
class Setting:
    """Hold a key whose value in a run is not that of the paper's config."""

    section: str
    name: str
    value: Any
    paper: Any

    def show(self) -> str:
        return f"{self.name}={_show_value(self.value)} ({_show_value(self.paper)})"


def _show_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def name_config(dataset: str) -> str:
    """Return the name of the paper's config for a data set."""
    return f"configs/paper/{dataset}.yaml"


@functools.cache
def load_paper(dataset: str) -> Config | None:
    """Return the paper's config for a data set, or None if it is not installed."""
    path = find_shipped(name_config(dataset))
    return None if path is None else load_config(path)


def _starts(dotted: str, names: Iterable[str]) -> bool:
    return any(dotted == name or dotted.startswith(f"{name}.") for name in names)


def _is_read_by_method(dotted: str, method: str, dataset: str) -> bool:
    """Return whether a method reads a key. Keys with three parts belong to the method or rule that the second names."""
    parts = dotted.split(".")
    if parts[0] != "multitask":
        return True
    if len(parts) > 2:
        return parts[1] in method.split("+")
    if dotted == "multitask.pretrained" and DATASETS[dataset].is_pretrained:
        return False  # said in words
    return not (method == "mti" or method.startswith("mti+")) or dotted not in OF_BACKBONE


def _find_value(run: Run, dotted: str, stages: Sequence[str]) -> Any:
    """Return the value of a key in the first of the stages that reads it; the manifest knows the shards best."""
    assert run.manifest is not None
    if dotted in (facts := {"data.side": run.manifest.side, "data.split": run.manifest.split.get("rule")}):
        return facts[dotted]
    value: Any = next((run.configs[stage] for stage in stages if stage in run.configs and reads(stage, dotted)), None)
    for name in dotted.split("."):
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
    return value


def list_settings(
    run: Run, dataset: str, stages: Sequence[str], method: str = "", has_labels: bool = True
) -> list[Setting]:
    """List the keys that some stages and a method read and that are not as in the paper's config.

    The list is empty if that config is not installed.
    """
    paper, found = load_paper(dataset), []
    if paper is None:
        return []
    skipped = NOT_COMPARED if has_labels else (*NOT_COMPARED, *OF_LABELS)
    for dotted, _, _ in iterate_fields():
        if _starts(dotted, skipped) or not any(reads(stage, dotted) for stage in stages):
            continue
        if not _is_read_by_method(dotted, method, dataset):
            continue
        value, wanted = _find_value(run, dotted, stages), get_value(paper, dotted)
        if value is not MISSING and value != wanted:
            section, _, name = dotted.partition(".")
            found.append(Setting(section, name, value, wanted))
    return found


def show_settings(settings: Sequence[Setting]) -> list[str]:
    """Return a text for each section, as `multitask: epochs=30 (150), lr=0.001 (0.0005)`."""
    sections = dict.fromkeys(one.section for one in settings)
    return [f"{section}: {', '.join(one.show() for one in settings if one.section == section)}" for section in sections]
