"""Compute what a trial is worth, at its end or while it still trains. For every objective, more is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detaux.config import Config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.config.schema import SweepConfig
from detaux.data.partners.registry import PARTNER_RULES
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import load_split
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import FROM_MODEL
from detaux.discover.judging_pairs import draw_judging_pairs
from detaux.discover.search import embed_images, search
from detaux.disentangle.model import Disentangler
from detaux.runtime.device import select_device
from detaux.sweep.space import Dimension


@dataclass(frozen=True)
class Finding:
    """Hold what a trial found.

    `rows` are the candidates in the form of discovery.json, and `chosen` is the index of the chosen one (-1: none).
    `gain` is the validation accuracy with the labels minus that of the principal task only (0 if it was not measured).
    """

    rows: Sequence[dict[str, Any]]
    chosen: int
    manifest: Manifest
    gain: float = 0.0

    @property
    def choice(self) -> dict[str, Any] | None:
        """Return the chosen candidate, or None."""
        return next((row for row in self.rows if row["index"] == self.chosen), None)


def compute_discovery(finding: Finding) -> float:
    """Return the largest separation x (1 - NMI with the principal label) of the candidates that may be chosen.

    The value is at least 0, and 0 if no candidate may be chosen. The only ground truth it reads is the principal label.
    """
    worth = [
        row["scores"]["separation"] * (1 - (row["principal"]["nmi"] or 0.0))
        for row in finding.rows
        if row["eligible"] and row["subspaces"]
    ]
    return max(0.0, max(worth, default=0.0))


def compute_independence(finding: Finding) -> float:
    """Return 1 - NMI of the chosen clusters with the principal label; 0 if nothing is chosen."""
    choice = finding.choice
    return 1 - (choice["principal"]["nmi"] or 0.0) if choice else 0.0


def compute_stability(finding: Finding) -> float:
    """Return how well the chosen clusters agree with clusterings of subsamples.

    The value is 0 if nothing is chosen or stability was not measured.
    """
    choice = finding.choice
    return (choice["scores"].get("stability") or 0.0) if choice else 0.0


def compute_downstream(finding: Finding) -> float:
    """Return the mean validation accuracy of the chosen method minus that of the principal task only, as a fraction."""
    return finding.gain


def find_best_factor(finding: Finding) -> tuple[str, float] | None:
    """Return the hidden factor that the chosen clusters match best, and their V-measure with it.

    Return None if no factor is known or nothing is chosen.
    """
    manifest = finding.manifest
    # classes that group the only factor leave it hidden
    principal = manifest.principal if len(manifest.factors) > 1 else ""
    factors = (finding.choice or {}).get("factors", {})
    measured = [(name, measures["v_measure"]) for name, measures in factors.items() if name != principal]
    return max(measured, key=lambda item: item[1], default=None)


def compute_known_factor(finding: Finding) -> float:
    """Return the V-measure of the chosen clusters with the hidden factor that they match best; 0 if nothing is chosen.

    It reads ground truth.
    """
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
AT_END = (DOWNSTREAM, STABILITY)  # not measured before the end of a trial: rungs compare by RUNG instead
RUNG = "discovery"
GROUND_TRUTH = ("known_factor",)  # objectives that read ground truth


def gives_upper_bound(config: Config, space: Sequence[Dimension]) -> bool:
    """Return whether a sweep uses ground truth, in an objective or in the pairs of a trial."""
    rules = [value for one in space if one.key == "pairs.partner" for value in one.values]
    if any(PARTNER_RULES[rule].uses_ground_truth for rule in (config.pairs.partner, *rules)):
        return True
    return bool(set(list_objectives(config.sweep)) & set(GROUND_TRUTH))


def list_objectives(settings: SweepConfig) -> list[str]:
    """Return the objectives of a sweep: first the one that chooses the best trial, then the trade-offs."""
    return list(dict.fromkeys((settings.objective, *settings.tradeoffs)))


@dataclass(frozen=True)
class Worth:
    """Hold the values of a trial.

    `objective` chooses the best trial, `rung` compares trials at a rung, and `tradeoffs` holds the other objectives by
    name. A value that is measured only at the end is None before. `has_task` is true if a candidate was chosen.
    For the record only, `factor` is the hidden factor that the clusters match best, and `v_measure` is their V-measure
    with it. Both are None if no factor is known.
    """

    objective: float | None = 0.0
    rung: float = 0.0
    tradeoffs: dict[str, float | None] = field(default_factory=dict)
    has_task: bool = False
    factor: str | None = None
    v_measure: float | None = None


def weigh(finding: Finding, settings: SweepConfig, *, is_end: bool) -> Worth:
    """Compute the worth of a finding by the objectives of a sweep, at the end of a trial or at a rung."""
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


def chooses_by_stability(config: Config) -> bool:
    """Return whether the choice rule reads the stability of clusters, which takes many clusterings."""
    return "stability" in dict(CHOICE_RULES[config.discover.choose].scores)


class Judge:
    """Compute the objective of a model that is still training. The data are read once, when the judge is made.

    Only the sources that need the model take part, because what comes from the images does not change with training.
    Shapes are found only if the choice reads them.
    """

    def __init__(self, config: Config, shards: Path) -> None:
        if not chooses_by_stability(config):  # costly, and no objective has it at a rung
            config = replace(config, discover=replace(config.discover, stability_samples=0))
        off = replace(config.discover.cross_prediction, rounds=0)  # too slow for a rung
        sources = [one for one in config.discover.sources if one in FROM_MODEL]
        config = replace(config, discover=replace(config.discover, cross_prediction=off, sources=sources))
        self.config = config
        self.manifest = read_manifest(shards)
        self.split = load_split(shards, "train", config.data, select_device(config.run))
        self.pairs = draw_judging_pairs(self.split, config)

    def judge(self, model: Disentangler) -> Worth:
        """Return the worth of the model at a rung. The model keeps its weights and its mode."""
        was_training = model.training
        model.eval()
        embeddings = embed_images(model, self.split, self.config)
        model.train(was_training)
        embedded = EmbeddedSplit(embeddings, model.alpha, self.split.labels.cpu().numpy())
        found = search(
            *([embedded], self.pairs, self.split, self.manifest, self.config),
            with_baselines=False,
            with_shapes=not self.config.discover.cut_continua,
        )
        rows = [one.to_row(index) for index, one in enumerate(found.candidates)]
        return weigh(
            Finding(rows, found.tasks[0] if found.tasks else -1, self.manifest), self.config.sweep, is_end=False
        )
