"""Read and check `sweep.space`, which says which keys a sweep varies and over what values, and draw from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detaux.config import Config, list_neutral
from detaux.config.load import change_config, iterate_fields
from detaux.errors import UserError

ORIGIN = "sweep.space"
RANGES = ("uniform", "log", "integer")
KINDS = (*RANGES, "choice")
REASONS = {
    "data": "all trials read the same shards",
    "multitask": "a sweep varies how labels are found, not the classifiers that use them",
}
SWEPT = ("pairs", "model", "losses", "disentangle", "discover")  # sections with keys that change the objective
SWEPT_KEYS = ("run.seed", "data.noise", "data.denoise", "data.window")  # and such keys of other sections


@dataclass(frozen=True)
class Dimension:
    """Describe one key that varies.

    `values` are the two ends of a closed range, or for the kind `choice` the values to choose from. The key varies only
    if the keys in `when` have the values there.
    """

    key: str
    kind: str
    values: tuple[Any, ...]
    when: tuple[tuple[str, Any], ...] = ()
    unit: str = ""

    def allows(self, value: Any) -> bool:
        """Return whether the key can take a value; the ends of a range are included."""
        if self.kind == "choice":
            return value in self.values
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.values[0] <= value <= self.values[1]


def parse_space(config: Config) -> tuple[Dimension, ...]:
    """Return the dimensions of `sweep.space`. Each dimension comes after those that its `when` names.

    Raises UserError for a key that is unknown or does not change the objective, for an end of a range that the key does
    not allow, for a kind that is not in KINDS, and for a `when` that can never be true.
    """
    space = config.sweep.space
    if not isinstance(space, Mapping) or not space:
        raise UserError(
            f"{ORIGIN}={space!r} names no key to vary; give a mapping such as model.latent: {{choice: [8, 16]}}."
        )
    dimensions = [_parse_dimension(str(dotted), entry, config) for dotted, entry in space.items()]
    return _order(dimensions)


def _parse_dimension(dotted: str, entry: Any, config: Config) -> Dimension:
    kinds = [name for name in entry if name in KINDS] if isinstance(entry, Mapping) else []
    if len(kinds) != 1 or set(entry) - {*kinds, "when", "unit"}:
        raise UserError(
            f"{ORIGIN}: {dotted}: {entry!r} is not allowed; expected one of {'|'.join(KINDS)}, and optionally when and "
            "unit."
        )
    kind, values, when = kinds[0], entry[kinds[0]], entry.get("when", {})
    if not isinstance(values, list) or not values or (kind in RANGES and len(values) != 2):
        wanted = "[low, high]" if kind in RANGES else "a list of values"
        raise UserError(f"{ORIGIN}: {dotted}: {kind}={values!r} is not allowed; expected {wanted}.")
    if not isinstance(when, Mapping):
        raise UserError(f"{ORIGIN}: {dotted}: when={when!r} is not allowed; expected a mapping from a key to a value.")
    for value in values:  # raises if the key is unknown or the value has a wrong type or range
        change_config(config, {dotted: value}, ORIGIN)
    _check_effect(dotted)
    _check_values(dotted, kind, values)
    return Dimension(dotted, kind, tuple(values), tuple(when.items()), str(entry.get("unit", "")))


def _check_effect(dotted: str) -> None:
    """Raise UserError for a key that does not change the objective, or that all trials share."""
    section = dotted.split(".")[0]
    if dotted in list_neutral() or (section not in SWEPT and dotted not in SWEPT_KEYS):
        reason = REASONS.get(section, "the objective does not depend on it")
        raise UserError(f"{ORIGIN}: {dotted} cannot vary; {reason}.")


def _check_values(dotted: str, kind: str, values: Sequence[Any]) -> None:
    if kind == "choice":
        wrong = [value for value in values if not isinstance(value, str | int | float | None)]
        if wrong:
            raise UserError(f"{ORIGIN}: {dotted}: choice {wrong[0]!r} is not allowed; expected numbers or words.")
        return
    low, high = values
    is_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not is_numbers or not math.isfinite(low) or not math.isfinite(high) or low >= high:
        raise UserError(
            f"{ORIGIN}: {dotted}: {kind}={list(values)!r} is not allowed; expected numbers, low below high."
        )
    if kind == "log" and low <= 0:
        raise UserError(f"{ORIGIN}: {dotted}: log={list(values)!r} is not allowed; expected low above 0.")
    is_whole = all(isinstance(value, int) for value in values)
    hint = next(hint for name, _, hint in iterate_fields() if name == dotted)
    if kind == "integer" and not is_whole:
        raise UserError(f"{ORIGIN}: {dotted}: integer={list(values)!r} is not allowed; expected whole numbers.")
    if kind != "integer" and hint is int:
        raise UserError(f"{ORIGIN}: {dotted} takes whole numbers; use integer or choice instead of {kind}.")


def _order(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Sort the dimensions so that each comes after those that its `when` names."""
    by_key = {one.key: one for one in dimensions}
    for one in dimensions:
        for other, value in one.when:
            if other not in by_key or other == one.key:
                raise UserError(f"{ORIGIN}: {one.key}: when names {other}, which is not another key of {ORIGIN}.")
            if by_key[other].kind not in ("choice", "integer") or not by_key[other].allows(value):
                raise UserError(f"{ORIGIN}: {one.key}: when {other}={value!r} never comes true.")
    ordered: dict[str, Dimension] = {}
    while len(ordered) < len(dimensions):
        ready = [one for one in dimensions if one.key not in ordered and all(other in ordered for other, _ in one.when)]
        if not ready:
            raise UserError(f"{ORIGIN}: the keys in when depend on each other in a circle.")
        ordered |= {one.key: one for one in ready}
    return tuple(ordered.values())


def suggest_values(space: Sequence[Dimension], trial: Any) -> None:
    """Ask an Optuna trial for a value of each dimension that applies; the key is the parameter's name."""
    drawn: dict[str, Any] = {}
    for one in space:
        if any(other not in drawn or drawn[other] != value for other, value in one.when):
            continue
        if one.kind == "choice":
            drawn[one.key] = trial.suggest_categorical(one.key, list(one.values))
        elif one.kind == "integer":
            drawn[one.key] = trial.suggest_int(one.key, *one.values)
        else:
            drawn[one.key] = trial.suggest_float(one.key, *one.values, log=one.kind == "log")


def make_distributions(space: Sequence[Dimension]) -> dict[str, Any]:
    """Return Optuna's distribution of each dimension without a `when`, by key."""
    from optuna import create_study

    trial = create_study().ask()
    suggest_values([one for one in space if not one.when], trial)
    return dict(trial.distributions)
