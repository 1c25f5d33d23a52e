"""What a trial is worth: a number from a discovery, or from a model that is still training.

A row is a candidate in the form of discovery.json.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detaux.config import Config
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import load_split
from detaux.discover.candidate import build_candidates
from detaux.discover.choose import choose_tasks, find_fault
from detaux.discover.embed import embed_split
from detaux.discover.judging_pairs import draw_judging_pairs
from detaux.discover.scores import score_candidates, score_clusters
from detaux.disentangle.model import Disentangler
from detaux.runtime.device import select_device
from detaux.sweep.space import Dimension

Row = dict[str, Any]


def compute_discovery(rows: Sequence[Row], chosen: int, manifest: Manifest) -> float:
    """Separation x (1 - NMI with the principal label), of the best candidate that may be chosen; 0 where none may. No ground
    truth beyond the principal label is read."""
    worth = [
        row["scores"]["separation"] * (1 - (row["principal"]["nmi"] or 0.0))
        for row in rows
        if row["eligible"] and row["subspaces"]
    ]
    return max(0.0, max(worth, default=0.0))


def find_best_factor(rows: Sequence[Row], chosen: int, manifest: Manifest) -> tuple[str, float] | None:
    """The hidden factor that the chosen clusters match best and their V-measure; None where none is known or chosen."""
    row = next((row for row in rows if row["index"] == chosen), None)
    principal = (
        manifest.principal if len(manifest.factors) > 1 else ""
    )  # classes that group the only factor leave it hidden
    factors = (row or {}).get("factors", {})
    measured = [(name, measures["v_measure"]) for name, measures in factors.items() if name != principal]
    return max(measured, key=lambda item: item[1], default=None)


def compute_known_factor(rows: Sequence[Row], chosen: int, manifest: Manifest) -> float:
    """V-measure of the chosen clusters with the hidden factor they match best, 0 where nothing is chosen: ground truth."""
    best = find_best_factor(rows, chosen, manifest)
    return best[1] if best else 0.0


OBJECTIVES: dict[str, Callable[[Sequence[Row], int, Manifest], float]] = {
    "discovery": compute_discovery,
    "known_factor": compute_known_factor,
}
GROUND_TRUTH = ("known_factor",)  # objectives that use it
ONE_FACTOR = "one_factor"  # the rule of pairs that uses it


def uses_ground_truth(config: Config, space: Sequence[Dimension]) -> bool:
    """Whether ground truth enters a sweep, by its objective or by how some trial makes pairs: its best is an upper bound."""
    rules = [value for one in space if one.key == "pairs.partner" for value in one.values]
    return config.sweep.objective in GROUND_TRUTH or ONE_FACTOR in (config.pairs.partner, *rules)


class Judge:
    """Computes the objective of a model as it is; the data it judges on are read once."""

    def __init__(self, config: Config, shards: Path) -> None:
        self.config = config
        self.manifest, self.device = read_manifest(shards), select_device(config.run)
        self.split = load_split(shards, "train", config.data, self.device)
        self.pairs = draw_judging_pairs(self.split, config)

    def judge(self, model: Disentangler) -> tuple[float, tuple[str, float] | None]:
        """The objective of the model, which is left as it was; and what find_best_factor says of it, for the record."""
        config, data, was_training = self.config, self.config.data, model.training
        model.eval()
        embeddings = embed_split(
            model, self.split.images, self.device, data.noise, config.run.seed, denoise=data.denoise
        )
        model.train(was_training)
        free = [index for index in range(model.num_subspaces) if index != model.alpha]
        candidates = build_candidates(embeddings, free, config)
        score_candidates(candidates, embeddings, self.pairs, self.split, config, model.alpha)
        for one in candidates:
            score_clusters(one, self.split, self.manifest, config)
            one.why_not = find_fault(one, config.discover)
        tasks = choose_tasks(candidates, config.discover)
        rows = [one.to_row(index) for index, one in enumerate(candidates)]
        chosen = tasks[0] if tasks else -1
        objective = OBJECTIVES[config.sweep.objective](rows, chosen, self.manifest)
        return objective, find_best_factor(rows, chosen, self.manifest)
