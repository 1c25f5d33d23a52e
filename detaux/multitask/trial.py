"""Define a trial, which is one training of a method, and the columns that name it in metrics.json."""

from dataclasses import dataclass
from typing import Any

from detaux.config.variants import DISCOVERED, MARK

STL = "stl"  # single-task learning; every other trial is compared with it
STL_LONG = "stl_long"  # single-task learning with more passes: a second baseline, of any budget
NO_LABELS = "none"
ORACLE = "oracle"  # labels from a ground-truth factor: an upper bound
Setting = tuple[str, str, float]  # method, labels, weight; each seed repeats it


@dataclass(frozen=True)
class Trial:
    """Describe one training: a method, a kind of auxiliary labels, a weight and a seed. STL is ("stl", "none", 0)."""

    method: str
    labels: str
    weight: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.labels}-{self.weight:g}-seed{self.seed}"

    @property
    def setting(self) -> Setting:
        return self.method, self.labels, self.weight

    @property
    def kind(self) -> str:
        """Return what the trial is run for: stl, baseline, method, variant, control or upper_bound.

        A baseline learns a single task too, so it is no method; with weight 0 no network learns another. Labels of an
        upper bound are ground truth.
        """
        if self.method in (STL, STL_LONG):
            return "stl" if self.method == STL else "baseline"
        if self.labels == DISCOVERED and self.weight == 0:
            return "baseline"
        if self.labels == ORACLE:
            return "upper_bound"
        if self.labels.startswith(f"{DISCOVERED}{MARK}"):
            return "variant"
        return "method" if self.labels in (NO_LABELS, DISCOVERED) else "control"

    def describe(self, split: str) -> dict[str, Any]:
        """Return the columns that name a row of metrics.json."""
        return {
            "kind": self.kind,
            "method": self.method,
            "labels": self.labels,
            "weight": self.weight,
            "seed": self.seed,
            "split": split,
        }


# what a trial took: parameters that it trained, whether the classifier keeps them or not; steps; seconds
COSTS = ("parameters", "steps", "seconds")
COLUMNS = tuple(Trial(STL, NO_LABELS, 0.0, 0).describe(""))
