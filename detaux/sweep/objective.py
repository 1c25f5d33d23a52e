"""What a trial is worth: numbers from what it found, or from a model that is still training. More is better for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detaux.config import Config
from detaux.config.sweep import SweepConfig
from detaux.data.partners.registry import PARTNER_RULES
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import load_split
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.judging_pairs import draw_judging_pairs
from detaux.discover.search import embed_images, search
from detaux.disentangle.model import Disentangler
from detaux.runtime.device import select_device
from detaux.sweep.space import Dimension


@dataclass(frozen=True)
class Finding:
    """What a trial found: candidates in the form of discovery.json, the index of the chosen one (-1: none), and the validation
    accuracy that its labels bring over the principal task alone (0 where that was not measured)."""

    rows: Sequence[dict[str, Any]]
    chosen: int
    manifest: Manifest
    gain: float = 0.0

    @property
    def choice(self) -> dict[str, Any] | None:
        """The chosen candidate."""
        return next((row for row in self.rows if row["index"] == self.chosen), None)


def compute_discovery(finding: Finding) -> float:
    """Separation x (1 - NMI with the principal label), of the best candidate that may be chosen; 0 where none may. No ground
    truth beyond the principal label is read."""
    worth = [
        row["scores"]["separation"] * (1 - (row["principal"]["nmi"] or 0.0))
        for row in finding.rows
        if row["eligible"] and row["subspaces"]
    ]
    return max(0.0, max(worth, default=0.0))


def compute_independence(finding: Finding) -> float:
    """1 - NMI of the chosen clusters with the principal label, 0 where nothing is chosen."""
    choice = finding.choice
    return 1 - (choice["principal"]["nmi"] or 0.0) if choice else 0.0


def compute_stability(finding: Finding) -> float:
    """How much the chosen clusters stay the same on subsamples, 0 where nothing is chosen or that was not measured."""
    choice = finding.choice
    return (choice["scores"].get("stability") or 0.0) if choice else 0.0


def compute_downstream(finding: Finding) -> float:
    """Mean validation accuracy with what validation chooses less that of the principal task alone, in [0, 1]."""
    return finding.gain


def find_best_factor(finding: Finding) -> tuple[str, float] | None:
    """The hidden factor that the chosen clusters match best and their V-measure; None where none is known or chosen."""
    manifest = finding.manifest
    # classes that group the only factor leave it hidden
    principal = manifest.principal if len(manifest.factors) > 1 else ""
    factors = (finding.choice or {}).get("factors", {})
    measured = [(name, measures["v_measure"]) for name, measures in factors.items() if name != principal]
    return max(measured, key=lambda item: item[1], default=None)


def compute_known_factor(finding: Finding) -> float:
    """V-measure of the chosen clusters with the hidden factor they match best, 0 where nothing is chosen: ground truth."""
    best = find_best_factor(finding)
    return best[1] if best else 0.0


DOWNSTREAM, STABILITY = "downstream", "stability"  # cost more than a discovery
OBJECTIVES: dict[str, Callable[[Finding], float]] = {
    "discovery": compute_discovery,
    DOWNSTREAM: compute_downstream,
    "independence": compute_independence,
    STABILITY: compute_stability,
    "known_factor": compute_known_factor,
}
AT_END = (DOWNSTREAM, STABILITY)  # objectives that a model in training does not have: rungs compare by RUNG instead
RUNG = "discovery"
GROUND_TRUTH = ("known_factor",)  # objectives that use it


def gives_upper_bound(config: Config, space: Sequence[Dimension]) -> bool:
    """Return whether ground truth enters a sweep, by an objective or by how some trial makes pairs."""
    rules = [value for one in space if one.key == "pairs.partner" for value in one.values]
    if any(PARTNER_RULES[rule].uses_ground_truth for rule in (config.pairs.partner, *rules)):
        return True
    return bool(set(list_objectives(config.sweep)) & set(GROUND_TRUTH))


def list_objectives(settings: SweepConfig) -> list[str]:
    """The names of all objectives of a sweep: first the one that chooses, then those it is traded against."""
    return list(dict.fromkeys((settings.objective, *settings.tradeoffs)))


@dataclass(frozen=True)
class Worth:
    """`objective` chooses the best trial, `rung` is what trials are compared by at a rung, `tradeoffs` hold the other objectives
    by name; what is known at the end alone is None before. `has_task` says that some candidate was chosen. For the record,
    `factor` is the hidden one that is met best and `v_measure` how well, None where none is known."""

    objective: float | None = 0.0
    rung: float = 0.0
    tradeoffs: dict[str, float | None] = field(default_factory=dict)
    has_task: bool = False
    factor: str | None = None
    v_measure: float | None = None


def weigh(finding: Finding, settings: SweepConfig, *, is_end: bool) -> Worth:
    """What a finding is worth by the objectives of a sweep, at the end of a trial or at a rung."""
    first, *others = list_objectives(settings)

    def measure(name: str) -> float | None:
        return OBJECTIVES[name](finding) if is_end or name not in AT_END else None

    return Worth(
        measure(first),
        OBJECTIVES[RUNG if first in AT_END else first](finding),
        {name: measure(name) for name in others},
        finding.choice is not None,
        *(find_best_factor(finding) or (None, None)),
    )


class Judge:
    """Computes the objective of a model as it is; the data it judges on are read once."""

    def __init__(self, config: Config, shards: Path) -> None:
        if config.discover.choose != STABILITY:  # costly, and no objective has it at a rung
            config = replace(config, discover=replace(config.discover, stability_samples=0))
        self.config = config
        self.manifest = read_manifest(shards)
        self.split = load_split(shards, "train", config.data, select_device(config.run))
        self.pairs = draw_judging_pairs(self.split, config)

    def judge(self, model: Disentangler) -> Worth:
        """What the model is worth at a rung, which is left as it was."""
        was_training = model.training
        model.eval()
        embeddings = embed_images(model, self.split, self.config)
        model.train(was_training)
        embedded = EmbeddedSplit(embeddings, model.alpha, self.split.labels.cpu().numpy())
        found = search([embedded], self.pairs, self.split, self.manifest, self.config, with_baselines=False)
        rows = [one.to_row(index) for index, one in enumerate(found.candidates)]
        return weigh(
            Finding(rows, found.tasks[0] if found.tasks else -1, self.manifest), self.config.sweep, is_end=False
        )
