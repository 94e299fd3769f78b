"""YAML that people wrote, bounded in size, depth and what its aliases grow to; nothing in it can win in silence.

Numbers and truth values are those of YAML 1.2: `010` is no octal, `1:30` no number of base 60, `no` no boolean, a date
is text. Pydantic reads such text where a field wants a number or a truth value.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from data_contracts.errors import ConfigError

_LARGEST = 1 << 20  # bytes
_DEEPEST = 32  # levels of lists and mappings
_MOST_VALUES = 50_000  # as written, and with every alias written out
_TOO_MANY = f"more than {_MOST_VALUES} values"
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = {
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
    "null": r"~|null|Null|NULL|",
    "merge": r"<<",
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader in Python: libyaml's recurses in C, where depth ends the process."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # as PyYAML's
    depth, nodes = 0, 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > _DEEPEST or self.nodes > _MOST_VALUES:
            what = f"nested deeper than {_DEEPEST} levels" if self.depth > _DEEPEST else _TOO_MANY
            raise yaml.MarkedYAMLError(problem=what, problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, KeyError, IndexError, AttributeError) as error:
            what = f"{str(getattr(node, 'value', ''))[:40]!r} is no {node.tag.rpartition(':')[2]}: {error}"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Hashable] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {str(key)!r} is there twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


for _kind, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})\Z"), None)


def parse_yaml(text: str, where: str, error: type[Exception] = ConfigError) -> Any:
    """The value of one YAML document as plain Python values.

    Args:
        where: what the text belongs to, for messages.
        error: the type to raise.

    Raises:
        ConfigError (or `error`): no YAML, a key that is there twice in a mapping, an alias that contains itself, values
            that cannot be parsed; more than 1 MiB, 32 levels or 50,000 values. One line with the place.
    """
    if len(text) > _LARGEST:
        raise error(f"{where}: expected at most {_LARGEST} characters of YAML, got {len(text)}")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded_values(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as problem:
        raise error(f"{where} is not YAML that can be used: {_described(problem)}") from problem
    except yaml.YAMLError as problem:
        raise error(f"{where} is not YAML: {' '.join(str(problem).split())}") from problem
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml_file(path: Path, error: type[Exception] = ConfigError) -> Any:
    """The value of a YAML file, as :func:`parse_yaml`.

    Raises:
        ConfigError (or `error`): as there; also no plain file, unreadable, or not UTF-8.
    """
    try:
        if not path.is_file():  # a pipe or device would be waited for
            raise error(f"{path}: expected a YAML file, got {'a folder' if path.is_dir() else 'none'}")
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem
    if len(data) > _LARGEST:
        raise error(f"{path}: expected at most {_LARGEST} bytes of YAML, got {path.stat().st_size}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise error(
            f"{path}: expected UTF-8 text, got byte {data[problem.start]:#04x} in line {line}"
        ) from problem
    return parse_yaml(text, str(path), error)


def _expanded_values(node: Any, known: dict[Any, int | None]) -> int:
    """Number of values below a node with every alias written out.

    Raises:
        yaml.MarkedYAMLError: too many, or a node that contains itself.
    """
    if node in known:
        count = known[node]
        if count is None:
            raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=node.start_mark)
        return count
    known[node] = None
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    count = 1
    for child in children:
        for one in child if isinstance(child, tuple) else (child,):
            count += _expanded_values(one, known)
    if count > _MOST_VALUES:
        raise yaml.MarkedYAMLError(problem=f"{_TOO_MANY}, aliases written out", problem_mark=node.start_mark)
    known[node] = count
    return count


def _described(problem: yaml.MarkedYAMLError) -> str:
    mark = problem.problem_mark or problem.context_mark
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    context = f"{problem.context}: " if problem.context else ""
    return " ".join(f"{context}{problem.problem}{place}".split())
