"""Read the files of a run folder into one record. Nothing is written here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detaux.artefacts import (
    ACCURACIES_NAME,
    CONFIG_NAME,
    CURVES_NAME,
    DISCOVERY_NAME,
    GALLERY_NAME,
    LABELS_NAME,
    MANIFEST_NAME,
    RECORD_NAME,
    SCORES_NAME,
    VARIANTS_NAME,
)
from detaux.config.choice_rules import CHOICE_RULES, ChoiceRule
from detaux.config.location import find_folder
from detaux.config.variants import MARK
from detaux.data.labels_file import read_labels
from detaux.data.schema import Manifest, read_manifest
from detaux.errors import UserError
from detaux.runtime.files import hash_file
from detaux.runtime.metrics import read_lines, read_metrics
from detaux.runtime.readers import read_json, read_npz
from detaux.runtime.record import is_edited, read_stage_config
from detaux.stages import DECODER, MANIFEST, STAGES, Input

RECORDED = tuple(name for name, stage in STAGES.items() if stage.is_recorded)
# stage -> the file of an earlier stage that its numbers must have been computed from
MADE_FROM: dict[str, Input] = {
    name: one for name, stage in STAGES.items() for one in stage.inputs if one not in (MANIFEST, DECODER)
}
# arrays that gallery.npz always has, and those that it has if a task was chosen
GALLERY_NAMES = ("traversal", "traversal_subspaces", "pca_encoder", "pca_encoder_labels")
CHOSEN_NAMES = ("examples", "example_labels", "pca_subspace", "pca_subspace_labels")
Candidate = dict[str, Any]


@dataclass(frozen=True)
class OtherDiscovery:
    """Hold what a variant of discovery left in the run's folder: discovery.json, and whether its labels were edited."""

    discovery: dict[str, Any]
    has_edited_labels: bool

    @property
    def has_detaux_labels(self) -> bool:
        """Return whether its task comes from a disentangled subspace, not from a plain clustering."""
        return is_disentangled(self.discovery)


@dataclass(frozen=True)
class Run:
    """Hold the results of one run's stages. The fields of a stage that has not run are empty."""

    name: str
    key: str  # prefix of ids and file names, "" if the page has one run
    manifest: Manifest | None
    metrics: list[dict[str, Any]]  # lines of metrics.jsonl of the disentangler that discovery chose from
    factor_scores: dict[str, Any]  # scores.json of the same disentangler
    discovery: dict[str, Any]
    gallery: dict[str, np.ndarray]
    label_counts: dict[int, int]  # auxiliary label -> training images
    multitask: dict[str, Any] | None  # also None if it trained on labels other than these
    curves: list[dict[str, Any]]  # lines of curves.jsonl of multi-task training, one for each trial
    stale: list[str]  # stages that ran before their input changed
    has_edited_labels: bool  # labels.parquet is no longer what discovery wrote
    variants: dict[str, OtherDiscovery]  # name of a variant of discovery, which is its folder's -> what it left
    configs: dict[str, dict[str, Any]]  # stage -> frozen config
    records: dict[str, dict[str, Any]]  # stage -> record.json

    @property
    def chosen(self) -> Candidate | None:
        """Return the clustering that became the auxiliary task, or None if nothing was found."""
        return find_chosen(self.discovery)

    @property
    def clusterings(self) -> list[Candidate]:
        """Return all clusterings of the run's own discovery."""
        return list_clusterings(self.discovery)

    @property
    def has_detaux_labels(self) -> bool:
        """Return whether the hidden task comes from a disentangled subspace, not from a plain clustering."""
        return is_disentangled(self.discovery)

    @property
    def is_upper_bound(self) -> bool:
        """Return whether ground truth entered training, so that the results are an upper bound for the method."""
        return bool(self.discovery.get("pairs", {}).get("uses_ground_truth", False))

    @property
    def is_grouped(self) -> bool:
        """Return whether the classes are groups of the only factor's values, so that the factor itself is hidden."""
        return self.manifest is not None and len(self.manifest.factors) == 1

    @property
    def principal_name(self) -> str:
        if self.manifest is None:
            return "principal label"
        return self.manifest.principal.replace("_", " ") + (" groups" if self.is_grouped else "")

    @property
    def best_factor(self) -> tuple[str, float] | None:
        """Return the hidden factor that the chosen clusters match best, and its V-measure; None if none is known."""
        principal = self.manifest.principal if self.manifest and not self.is_grouped else ""
        factors = (self.chosen or {}).get("factors") or {}
        hidden = {name: row.get("v_measure") for name, row in factors.items() if name != principal}
        measured = [(name, value) for name, value in hidden.items() if value is not None]
        return max(measured, key=lambda item: item[1], default=None)

    def get_section(self, section: str) -> dict[str, Any]:
        """Return a config section from the first stage that reads it, but `run` and `report` from the newest stage."""
        stages = [stage for stage in RECORDED if stage in self.configs]
        readers = [stage for stage in stages if section in STAGES[stage].sections]
        if section in ("run", "report") or not readers:
            readers = stages[-1:]
        return self.configs[readers[0]].get(section, {}) if readers else {}

    def get_setting(self, section: str, name: str) -> Any:
        """Return a key of that section, or None if no stage left a config."""
        return self.get_section(section).get(name)


def list_clusterings(discovery: dict[str, Any]) -> list[Candidate]:
    """Return candidates, baselines and the principal subspace's clustering, each with `kind` and `is_chosen`.

    If a candidate and a baseline have the chosen index, the candidate is chosen. The principal subspace never is.
    """
    kinds = [("candidate", one) for one in discovery["candidates"]]
    kinds += [("baseline", one) for one in discovery.get("baselines", [])]
    indices = [one.get("index") for _, one in kinds]
    chosen = discovery["chosen"]
    place = indices.index(chosen) if chosen >= 0 and chosen in indices else -1
    rows = [{**one, "kind": kind, "is_chosen": here == place} for here, (kind, one) in enumerate(kinds)]
    principal = discovery.get("principal_subspace")
    return rows + ([{**principal, "kind": "principal", "is_chosen": False}] if principal else [])


def find_chosen(discovery: dict[str, Any]) -> Candidate | None:
    """Return the clustering that a discovery chose, or None if it found nothing."""
    return next((one for one in list_clusterings(discovery) if one["is_chosen"]), None)


def is_disentangled(discovery: dict[str, Any]) -> bool:
    """Return whether a discovery chose what its clusterer found in disentangled subspaces, and nothing of another source."""
    chosen = find_chosen(discovery)
    if chosen is None or chosen["kind"] != "candidate":
        return False
    return bool(chosen["subspaces"]) and chosen.get("source", "subspace") == "subspace"


def name_candidate(candidate: Candidate) -> str:
    """Return the name of a clustering in tables and sentences, for example `subspaces 3 + 7`."""
    subspaces = candidate.get("subspaces") or []
    if candidate["kind"] == "baseline":
        return f"baseline: {candidate.get('name', 'latents').replace('_', ' ')}"
    if candidate["kind"] == "principal":
        return f"principal subspace {' + '.join(map(str, subspaces or [0]))}"
    if not subspaces:
        return str(candidate.get("name", f"candidate {candidate['index']}")).replace("_", " ")
    of = f" of restart {candidate['restart'] + 1}" if candidate.get("restart") else ""
    kind = f"{candidate['name'].replace('_', ' ')} of " if candidate.get("name") else ""
    return f"{kind}subspace{'s' if len(subspaces) > 1 else ''} {' + '.join(map(str, subspaces))}{of}"


def _read_json(path: Path, missing: Any, names: Sequence[str] = ()) -> Any:
    """Read a stage's JSON file; return `missing` if there is none.

    Raises UserError if it is damaged or lacks one of `names`.
    """
    if not path.is_file():
        return missing
    return read_json(path, f"run the stage {path.parent.name} again", names)


def _read_discovery(path: Path) -> dict[str, Any] | None:
    """Read discovery.json, or return None if there is none.

    An older release wrote only the name of the rule and the text of a fault. Now the file has the rule's facts too, and
    a code for each fault. Old files are converted, because a discovery is not repeated if its inputs are unchanged.
    """
    found: dict[str, Any] | None = _read_json(path, None, ("chosen", "rule", "candidates", "samples"))
    if found is None or isinstance(found["rule"], dict):
        return found
    rule = CHOICE_RULES.get(name := str(found["rule"]), ChoiceRule(name, "", "higher", ""))
    for one in filter(None, [*found["candidates"], *found.get("baselines", []), found.get("principal_subspace")]):
        reason = one.pop("why_not", None)
        one["fault"] = reason and {"code": reason, "text": reason}
    return {**found, "rule": rule.to_row()}


def _read_variants(folder: Path) -> dict[str, OtherDiscovery]:
    """Read the variants of discovery that have finished in a run's folder."""
    found = {}
    for path in sorted((folder / VARIANTS_NAME).glob(f"*/discover/{DISCOVERY_NAME}")):
        discovery = _read_discovery(path)
        if discovery is not None:
            found[path.parent.parent.name] = OtherDiscovery(discovery, is_edited(path.parent, LABELS_NAME))
    return found


def _read_multitask(path: Path) -> dict[str, Any] | None:
    """Read metrics.json of multi-task training, or return None if there is none.

    An older release wrote no `kind` in its rows and no `labels` in its choice, which follow from method and labels.
    """
    found: dict[str, Any] | None = _read_json(path, None, ("summary", "chosen"))
    if found is None:
        return None
    summary = [{"kind": _name_kind(row), **row} for row in found["summary"]]
    labels = "none" if found["chosen"]["method"] == "stl" else "discovered"
    return {**found, "summary": summary, "chosen": {"labels": labels, **found["chosen"]}}


def _name_kind(row: dict[str, Any]) -> str:
    if row["method"] == "stl":
        return "stl"
    return "method" if row["labels"] in ("none", "discovered") else "control"


def _read_scores(path: Path) -> dict[str, Any]:
    """Read scores.json, which is {} if no factor is known."""
    return _read_json(path, {}) and _read_json(path, {}, ("factors", "variance_share"))


def _is_stale(folder: Path, stage: str, records: dict[str, dict[str, Any]]) -> bool:
    """Return whether a file that a stage read has changed since, or labels of a variant of discovery.

    A record without inputs counts as unchanged.
    """
    if stage not in records:
        return False
    made_from = MADE_FROM[stage]
    for name, digest in records[stage].get("inputs", {}).items():
        read, _, variant = name.partition(MARK)
        path = (folder / VARIANTS_NAME / variant if variant else folder) / made_from.maker / made_from.file
        if read == made_from.name and path.is_file() and hash_file(path) != digest:
            return True
        if (
            read == DECODER.name
            and (model := folder / DECODER.maker / DECODER.file).is_file()
            and hash_file(model) != digest
        ):
            return True
    return False


def _read_manifest(
    folder: Path, configs: dict[str, dict[str, Any]], records: dict[str, dict[str, Any]]
) -> Manifest | None:
    """Read the manifest of the shards that the newest stage read, or return None if it no longer exists."""
    newest = next((stage for stage in reversed(RECORDED) if stage in configs), "")
    data = configs.get(newest, {}).get("data", {})
    given = data.get("shards")
    shards = find_folder(given) if given else folder / "shards"
    if shards is None:
        from detaux.data.remote import locate_set  # imported here because it imports torch, which reports rarely need

        digest = records[newest].get("inputs", {}).get(MANIFEST.name, "")
        shards = locate_set(digest, data.get("remote_cache"))
    return read_manifest(shards) if (shards / MANIFEST_NAME).is_file() else None


def _count_labels(path: Path) -> dict[int, int]:
    return dict(sorted(Counter(read_labels(path).values()).items())) if path.is_file() else {}


def load_run(folder: Path, name: str, key: str = "") -> Run:
    """Read a run folder. Raises UserError if discovery has not run or a file cannot be read."""
    discovery_path = folder / "discover" / DISCOVERY_NAME
    discovery = _read_discovery(discovery_path)
    if discovery is None:
        raise UserError(f"{discovery_path} does not exist: a report needs a run folder with a finished discover stage.")
    gallery = discovery_path.with_name(GALLERY_NAME)
    arrays = GALLERY_NAMES + (CHOSEN_NAMES if discovery["chosen"] >= 0 else ())
    stages = {stage: folder / stage for stage in RECORDED}
    records = {stage: _read_json(path / RECORD_NAME, {}) for stage, path in stages.items()}
    records = {stage: record for stage, record in records.items() if record}
    # A stage that has not ended has no record. A config in its folder comes from an earlier attempt.
    configs = {stage: read_stage_config(stages[stage]) for stage in records if (stages[stage] / CONFIG_NAME).is_file()}
    stale = [stage for stage in MADE_FROM if _is_stale(folder, stage, records)]
    # Without a task, multitask has no labels to train on: its file comes from an earlier discovery.
    multitask = _read_multitask(stages["multitask"] / ACCURACIES_NAME)
    if discovery["chosen"] < 0 or "multitask" in stale:
        multitask = None
        configs.pop("multitask", None)
        records.pop("multitask", None)
    # the restart that discovery chose from
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
        curves=[] if multitask is None else read_lines(stages["multitask"] / CURVES_NAME),
        stale=stale,
        has_edited_labels="discover" in records and is_edited(stages["discover"], LABELS_NAME),
        variants=_read_variants(folder),
        configs=configs,
        records=records,
    )


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read several runs. Each is named by its folder, or by its path if two folders have the same name."""
    if not folders:
        raise UserError("a report needs at least one run folder, but none was given.")
    names = [folder.resolve().name for folder in folders]
    unique = len(set(names)) == len(names)
    return [
        load_run(folder, name if unique else str(folder), f"run-{number}-" if len(folders) > 1 else "")
        for number, (folder, name) in enumerate(zip(folders, names, strict=True), start=1)
    ]
