"""Choose the principal label: a known factor, or a mapping of a factor's values onto new classes."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from detaux.errors import UserError
from shards.records import Source


@dataclass(frozen=True)
class Principal:
    """Hold the principal labels int64 [count], -1 if none, the class names in label order, and the factor's name."""

    labels: np.ndarray
    classes: list[str]
    name: str


def choose_principal(source: Source, principal: Any) -> Principal:
    """Return the labels that `data.principal` asks for.

    "class" is the source's main factor. A mapping puts each value of the main factor, by name or index, into one new
    class. Raises UserError for an unknown factor, for one with a single value, and for a mapping that misses, repeats
    or invents a value.
    """
    columns = list(source.factors)
    if isinstance(principal, dict):
        return _map_classes(source, principal)
    name = source.default_principal if principal == "class" else principal
    if name not in columns:
        raise UserError(f"data.principal={principal!r} is no factor of {source.name}; it has {', '.join(columns)}.")
    if source.factors[name] < 2:
        raise UserError(f"data.principal={principal!r}: {name} has a single value in {source.name}; two are needed.")
    return Principal(source.factor_values[:, columns.index(name)], source.value_names[name], name)


def _map_classes(source: Source, mapping: dict[Any, Any]) -> Principal:
    name = source.default_principal
    names = source.value_names[name]
    label_of: dict[int, int] = {}
    for label, (new, old_values) in enumerate(mapping.items()):
        for old in old_values if isinstance(old_values, list) else [old_values]:
            index = _find_value(names, old)
            if index is None:
                raise UserError(
                    f"data.principal: {old!r} of class {new!r} is no {name} of {source.name}; it has {', '.join(names)}."
                )
            if index in label_of:
                as_index = f" ({old!r} is taken as its number)" if str(old) != names[index] else ""
                raise UserError(
                    f"data.principal: {name} {names[index]!r}{as_index} occurs twice; each value belongs to one class."
                )
            label_of[index] = label
    missing = [text for index, text in enumerate(names) if index not in label_of]
    if missing or len(mapping) < 2:
        raise UserError(
            f"data.principal: the mapping has {len(mapping)} classes and leaves out {name} {', '.join(missing) or 'none'}; "
            "at least two classes that cover every value are needed."
        )
    table = np.array([*(label_of[index] for index in range(len(names))), -1])  # the last entry serves the value -1
    labels = table[source.factor_values[:, list(source.factors).index(name)]]
    return Principal(labels.astype(np.int64), [str(new) for new in mapping], name)


def _find_value(names: list[str], old: Any) -> int | None:
    """Find the index of a value by its name or, if no name fits, by the index itself as a plain decimal number."""
    if str(old) in names:
        return names.index(str(old))
    is_index = re.fullmatch("0|[1-9][0-9]*", str(old)) is not None and int(old) < len(names)
    return int(old) if is_index else None
