"""Read YAML and keep the text of each scalar, so that `007` can be a name for a text key and 7 for a number.

YAML 1.1 turns `2024_05_01`, `12:30` and `no` into two numbers and false, whatever key they belong to. Here each such
scalar becomes a Scalar, and code that knows the key's type takes its text or its value.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

MOST_NODES = 10**6  # counts an alias each time it is used, because a short text can stand for billions of nodes


class Scalar(NamedTuple):
    """Hold a scalar that YAML does not read as text: its value, and its text as it was typed."""

    value: Any
    text: str


class _Loader(yaml.SafeLoader):
    """Keep the text of scalars, and refuse a repeated key, of which YAML would silently keep only the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        repeated = [name for name in names if names.count(name) > 1 and name != "<<"]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _keep_text(kind: str) -> None:
    make = yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]

    def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Scalar:
        try:
            return Scalar(make(loader, node), node.value)
        except (ValueError, LookupError):  # !!int x, !!bool maybe, !!float ""
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value!r} is no {kind}", node.start_mark
            ) from None

    _Loader.add_constructor(f"tag:yaml.org,2002:{kind}", construct)


def _refuse_kind(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(
        None,
        None,
        f"{node.tag} is not allowed in a config; values are text, numbers, lists and mappings",
        node.start_mark,
    )


for _kind in ("null", "bool", "int", "float"):
    _keep_text(_kind)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _refuse_kind)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)  # a name such as 2024-05-01
_Loader.add_constructor(None, _refuse_kind)


def read_yaml(text: str) -> Any:
    """Read the tree of a YAML text, with each scalar as text or Scalar.

    Raises yaml.YAMLError if the text is not YAML, repeats a key, or grows beyond MOST_NODES through its aliases.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count_nodes(node, {})
        return loader.construct_document(node)
    except RecursionError:  # endless brackets, for example
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, ArithmeticError):  # "\\UFFFFFFFF"
        raise yaml.YAMLError("a \\U in it names no character") from None
    finally:
        loader.dispose()


def _count_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the nodes of a tree; nodes behind an alias count each time that it is used."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # an alias that contains itself finds this number
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        parts = () if isinstance(node, yaml.ScalarNode) else inner
        known[id(node)] = 1 + sum(_count_nodes(part, known) for part in parts)
    if known[id(node)] > MOST_NODES:
        raise yaml.constructor.ConstructorError(
            None, None, f"it holds more than {MOST_NODES} values through its aliases", node.start_mark
        )
    return known[id(node)]


def take_text(tree: Any) -> Any:
    """Return a tree of read_yaml with every scalar as the text that was typed."""
    if isinstance(tree, Scalar):
        return tree.text
    if isinstance(tree, dict):
        return {take_text(name): take_text(value) for name, value in tree.items()}
    return [take_text(value) for value in tree] if isinstance(tree, list) else tree


def take_values(tree: Any, read: Callable[[Scalar | str], Any] | None = None) -> Any:
    """Return a tree of read_yaml with scalars as YAML, or the function `read`, reads them. Mapping names stay text."""
    if isinstance(tree, dict):
        return {take_text(name): take_values(value, read) for name, value in tree.items()}
    if isinstance(tree, list):
        return [take_values(value, read) for value in tree]
    if read is not None and isinstance(tree, Scalar | str):
        return read(tree)
    return tree.value if isinstance(tree, Scalar) else tree
