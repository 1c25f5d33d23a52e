"""A trial: one training of a method, and the columns that name it in metrics.json."""

from dataclasses import dataclass
from typing import Any

STL = "stl"  # single-task learning: what every other trial is compared with
NO_LABELS, DISCOVERED = "none", "discovered"
Setting = tuple[str, str, float]  # method, labels, weight: what seeds repeat


@dataclass(frozen=True)
class Trial:
    """A method trained on a kind of auxiliary labels with a weight and a seed; STL is ("stl", "none", 0)."""

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
        """Return what the trial is run for: "stl", "method", or "control" if its labels are neither absent nor discovered."""
        if self.method == STL:
            return "stl"
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


COLUMNS = tuple(Trial(STL, NO_LABELS, 0.0, 0).describe(""))
