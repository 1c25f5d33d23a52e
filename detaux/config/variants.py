"""Expand `multitask` into variants of discovery: the same search under a few changed keys, whose labels are compared.

A variant is not a run of its own: it repeats only the stages that read a changed key, and only multitask uses it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detaux.artefacts import VARIANTS_NAME
from detaux.config.schema import Config, MultitaskConfig
from detaux.stages import LABELS

DISCOVERED, ENTANGLED = "discovered", "entangled"  # names of labels in metrics.json
MARK = "@"  # between the labels and the variant in a name; safe in file names and in no other name of labels
SEED, CLUSTERER, SOURCES = "run.seed", "discover.clusterer", "discover.sources"
ONLY: dict[str, Any] = {"discover.features": None, "discover.include_baselines": False}  # beside the named source
SEEDED = f"{DISCOVERED}{MARK}seed"  # begins the name of the labels of another seed of discovery
POOLED = f"{SEEDED}s"  # names the lines that pool all seeds of discovery


@dataclass(frozen=True)
class Variant:
    """Describe one variant: its name, which is also its folder's, its labels in metrics.json, and its changed keys."""

    name: str
    labels: str
    changes: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Return the name and the changed keys for messages."""
        return f"{self.name} ({', '.join(f'{dotted}={value}' for dotted, value in self.changes.items())})"

    @property
    def is_seed(self) -> bool:
        """Return whether it repeats the same search with other random draws."""
        return SEED in self.changes

    @property
    def input(self) -> str:
        """Return the name of its labels in the record of multitask."""
        return f"{LABELS.name}{MARK}{self.name}"

    def locate(self, root: Path) -> Path:
        """Return its folder in a run's folder, with a folder for each stage that it repeats."""
        return root / VARIANTS_NAME / self.name


def list_variants(config: MultitaskConfig) -> list[Variant]:
    """Return the variants that `multitask` asks for: seeds, then clusterers, then the control `entangled`.

    A seed repeats the run's own search, so it may choose what the search may. The row of a clusterer is named after it,
    so only subspaces may be chosen for it, and neither the plain baselines nor candidates that others cluster. The
    control clusters the latents at the end of the warm-up, without disentanglement; the baselines are clusterings of
    the same latents.
    """
    found = [
        Variant(f"{prefix}{value}", f"{DISCOVERED}{MARK}{prefix}{value}", {dotted: value, **others})
        for prefix, dotted, values, others in (
            ("seed", SEED, config.discovery_seeds, {}),
            ("", CLUSTERER, config.discovery_clusterers, {SOURCES: ["subspace"], **ONLY}),
        )
        for value in values
    ]
    if ENTANGLED in config.controls:
        found.append(Variant(ENTANGLED, ENTANGLED, {SOURCES: ["encoder"], **ONLY}))
    return found


def list_repeats(config: Config) -> dict[str, bool]:
    """Return sentences about variants, each with whether it is true: that one repeats the run's own, or another."""
    variants = list_variants(config.multitask)
    names, found = [one.name for one in variants], {}
    for one in variants:
        is_own = all(functools.reduce(getattr, dotted.split("."), config) == to for dotted, to in one.changes.items())
        found[f"multitask asks for the discovery {one.title}, which is the run's own; give another value"] = is_own
        found[f"multitask asks twice for the discovery {one.title}; name it once"] = names.count(one.name) > 1
    return found


def drop_comparisons(config: MultitaskConfig) -> MultitaskConfig:
    """Return the settings without controls and variants, which are trained only for comparison."""
    return replace(
        config,
        controls=[],
        control_methods=[],
        correlated_nmi=[],
        oracle=None,
        discovery_seeds=[],
        discovery_clusterers=[],
    )
