"""Read a run folder's files into one record; nothing is computed here and nothing is written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detaux.artefacts import (
    ACCURACIES_NAME,
    CONFIG_NAME,
    DISCOVERY_NAME,
    GALLERY_NAME,
    LABELS_NAME,
    MANIFEST_NAME,
    RECORD_NAME,
    SCORES_NAME,
)
from detaux.config.choice_rules import CHOICE_RULES, ChoiceRule
from detaux.config.location import find_folder
from detaux.data.labels_file import read_labels
from detaux.data.schema import Manifest, read_manifest
from detaux.errors import UserError
from detaux.runtime.files import hash_file
from detaux.runtime.metrics import read_metrics
from detaux.runtime.readers import read_json, read_npz
from detaux.runtime.record import is_edited, read_stage_config
from detaux.stages import MANIFEST, STAGES, Input

RECORDED = tuple(name for name, stage in STAGES.items() if stage.is_recorded)
# stage -> the input, left by an earlier stage of the run, that its numbers must have been made from
MADE_FROM: dict[str, Input] = {name: one for name, stage in STAGES.items() for one in stage.inputs if one != MANIFEST}
# arrays of gallery.npz, and those where a task was chosen
GALLERY_NAMES = ("traversal", "traversal_subspaces", "pca_encoder", "pca_encoder_labels")
CHOSEN_NAMES = ("examples", "example_labels", "pca_subspace", "pca_subspace_labels")
Candidate = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What the stages of one run left; a stage that has not run leaves its field empty."""

    name: str
    key: str  # prefix of ids and file names: "" for the only run of a page
    manifest: Manifest | None
    metrics: list[dict[str, Any]]  # lines of metrics.jsonl of the disentangler that was chosen from
    factor_scores: dict[str, Any]  # its scores.json
    discovery: dict[str, Any]
    gallery: dict[str, np.ndarray]
    label_counts: dict[int, int]  # auxiliary label -> training images
    multitask: dict[str, Any] | None  # None also where it trained on other labels than these
    stale: list[str]  # stages whose input has been made anew since
    has_edited_labels: bool  # labels.parquet is no longer what discovery wrote
    configs: dict[str, dict[str, Any]]  # stage -> frozen config
    records: dict[str, dict[str, Any]]  # stage -> record.json

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that became the auxiliary task, None where nothing was found."""
        return next((one for one in self.clusterings if one["is_chosen"]), None)

    @property
    def clusterings(self) -> list[Candidate]:
        """Candidates, plain baselines and what the principal subspace holds, each with its `kind` and `is_chosen`.

        The chosen index names a candidate before it names a baseline; the principal subspace is never chosen.
        """
        kinds = [("candidate", one) for one in self.discovery["candidates"]]
        kinds += [("baseline", one) for one in self.discovery.get("baselines", [])]
        indices = [one.get("index") for _, one in kinds]
        chosen = self.discovery["chosen"]
        place = indices.index(chosen) if chosen >= 0 and chosen in indices else -1
        rows = [{**one, "kind": kind, "is_chosen": here == place} for here, (kind, one) in enumerate(kinds)]
        principal = self.discovery.get("principal_subspace")
        return rows + ([{**principal, "kind": "principal", "is_chosen": False}] if principal else [])

    @property
    def is_upper_bound(self) -> bool:
        """Whether ground truth entered training: its results bound what the method could reach."""
        return bool(self.discovery.get("pairs", {}).get("uses_ground_truth", False))

    @property
    def is_grouped(self) -> bool:
        """Whether a mapping groups the values of the only factor into classes, which leaves the factor itself hidden."""
        return self.manifest is not None and len(self.manifest.factors) == 1

    @property
    def principal_name(self) -> str:
        if self.manifest is None:
            return "principal label"
        return self.manifest.principal.replace("_", " ") + (" groups" if self.is_grouped else "")

    @property
    def best_factor(self) -> tuple[str, float] | None:
        """The hidden factor that the chosen clusters match best and their V-measure; None where none is known."""
        principal = self.manifest.principal if self.manifest and not self.is_grouped else ""
        factors = (self.chosen or {}).get("factors") or {}
        hidden = {name: row.get("v_measure") for name, row in factors.items() if name != principal}
        measured = [(name, value) for name, value in hidden.items() if value is not None]
        return max(measured, key=lambda item: item[1], default=None)

    def get_section(self, section: str) -> dict[str, Any]:
        """A config section as the first stage that reads it had it, `run` and `report` as the newest stage had them."""
        stages = [stage for stage in RECORDED if stage in self.configs]
        readers = [stage for stage in stages if section in STAGES[stage].sections]
        if section in ("run", "report") or not readers:
            readers = stages[-1:]
        return self.configs[readers[0]].get(section, {}) if readers else {}

    def get_setting(self, section: str, name: str) -> Any:
        """A key of that section, None where no stage left a config."""
        return self.get_section(section).get(name)


def name_candidate(candidate: Candidate) -> str:
    """How tables and sentences call a clustering, for example `subspaces 3 + 7`."""
    subspaces = candidate.get("subspaces") or []
    if candidate["kind"] == "baseline":
        return f"baseline: {candidate.get('name', 'latents').replace('_', ' ')}"
    if candidate["kind"] == "principal":
        return f"principal subspace {' + '.join(map(str, subspaces or [0]))}"
    if not subspaces:
        return str(candidate.get("name", f"candidate {candidate['index']}")).replace("_", " ")
    of = f" of restart {candidate['restart'] + 1}" if candidate.get("restart") else ""
    return f"subspace{'s' if len(subspaces) > 1 else ''} {' + '.join(map(str, subspaces))}{of}"


def _read_json(path: Path, missing: Any, names: Sequence[str] = ()) -> Any:
    """The mapping that a stage left in a file, which holds at least these names. Raises UserError when it is damaged."""
    if not path.is_file():
        return missing
    return read_json(path, f"run the stage {path.parent.name} again", names)


def _read_discovery(path: Path) -> dict[str, Any] | None:
    """Read discovery.json, None if there is none.

    An older release wrote the rule's name and the text of a fault, where a name and its facts, a code and its text stand now. A
    discovery whose inputs are unchanged is not made anew, so such a file is read as well.
    """
    found: dict[str, Any] | None = _read_json(path, None, ("chosen", "rule", "candidates", "samples"))
    if found is None or isinstance(found["rule"], dict):
        return found
    rule = CHOICE_RULES.get(name := str(found["rule"]), ChoiceRule(name, "", "higher", ""))
    for one in filter(None, [*found["candidates"], *found.get("baselines", []), found.get("principal_subspace")]):
        reason = one.pop("why_not", None)
        one["fault"] = reason and {"code": reason, "text": reason}
    return {**found, "rule": rule.to_row()}


def _read_scores(path: Path) -> dict[str, Any]:
    """scores.json, which is empty where no factor is known."""
    return _read_json(path, {}) and _read_json(path, {}, ("factors", "variance_share"))


def _is_stale(folder: Path, stage: str, records: dict[str, dict[str, Any]]) -> bool:
    """Whether the file a stage read has changed since; a record that names no inputs is believed."""
    if stage not in records:
        return False
    made_from = MADE_FROM[stage]
    path, digest = folder / made_from.maker / made_from.file, records[stage].get("inputs", {}).get(made_from.name)
    return digest is not None and path.is_file() and hash_file(path) != digest


def _read_manifest(
    folder: Path, configs: dict[str, dict[str, Any]], records: dict[str, dict[str, Any]]
) -> Manifest | None:
    """The manifest of the shards that the newest stage read, None where it is gone."""
    newest = next((stage for stage in reversed(RECORDED) if stage in configs), "")
    data = configs.get(newest, {}).get("data", {})
    given = data.get("shards")
    shards = find_folder(given) if given else folder / "shards"
    if shards is None:
        from detaux.data.remote import locate_set  # it imports torch, which a report needs for nothing else

        digest = records[newest].get("inputs", {}).get(MANIFEST.name, "")
        shards = locate_set(digest, data.get("remote_cache"))
    return read_manifest(shards) if (shards / MANIFEST_NAME).is_file() else None


def _count_labels(path: Path) -> dict[int, int]:
    return dict(sorted(Counter(read_labels(path).values()).items())) if path.is_file() else {}


def load_run(folder: Path, name: str, key: str = "") -> Run:
    """Read RUN; raises UserError where discovery has not run or a file cannot be read."""
    discovery_path = folder / "discover" / DISCOVERY_NAME
    discovery = _read_discovery(discovery_path)
    if discovery is None:
        raise UserError(f"{discovery_path} does not exist: a report needs a run folder whose discover stage has ended.")
    gallery = discovery_path.with_name(GALLERY_NAME)
    arrays = GALLERY_NAMES + (CHOSEN_NAMES if discovery["chosen"] >= 0 else ())
    stages = {stage: folder / stage for stage in RECORDED}
    records = {stage: _read_json(path / RECORD_NAME, {}) for stage, path in stages.items()}
    records = {stage: record for stage, record in records.items() if record}
    # A stage that has not ended has no record, and a config in its folder is of an earlier attempt.
    configs = {stage: read_stage_config(stages[stage]) for stage in records if (stages[stage] / CONFIG_NAME).is_file()}
    stale = [stage for stage in MADE_FROM if _is_stale(folder, stage, records)]
    # Without a task there is nothing multitask could have trained on: a file there is of an earlier discovery.
    multitask = _read_json(stages["multitask"] / ACCURACIES_NAME, None, ("summary", "chosen"))
    if discovery["chosen"] < 0 or "multitask" in stale:
        multitask = None
        configs.pop("multitask", None)
        records.pop("multitask", None)
    # of several restarts the one that was chosen from
    disentangle = folder / discovery.get("disentangle", "disentangle")
    return Run(
        name=name,
        key=key,
        manifest=_read_manifest(folder, configs, records),
        metrics=read_metrics(disentangle),
        factor_scores=_read_scores(disentangle / SCORES_NAME),
        discovery=discovery,
        gallery=read_npz(gallery, "run `detaux discover` again", arrays) if gallery.is_file() else {},
        label_counts=_count_labels(stages["discover"] / LABELS_NAME),
        multitask=multitask,
        stale=stale,
        has_edited_labels="discover" in records and is_edited(stages["discover"], LABELS_NAME),
        configs=configs,
        records=records,
    )


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read several runs, named by their folder; two folders of one name are told apart by their path."""
    if not folders:
        raise UserError("a report needs at least one run folder, none was given.")
    names = [folder.resolve().name for folder in folders]
    unique = len(set(names)) == len(names)
    return [
        load_run(folder, name if unique else str(folder), f"run-{number}-" if len(folders) > 1 else "")
        for number, (folder, name) in enumerate(zip(folders, names, strict=True), start=1)
    ]
