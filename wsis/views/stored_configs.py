"""Configurations that earlier versions stored, in the keys of this one: the one place that knows removed keys.

A run's record and an artefact's manifest keep the configuration as it was. Where a removed key had the value that is
the only one now, it is dropped; where it had another, this version cannot do what the run did, and says so.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from data_contracts.errors import ConfigError

LAST_VERSION = "0.1.0 (commit ab8a9db)"
"""The last version that had the keys of `REMOVED`."""

Tree = dict[str, Any]
ANY: Collection[Any] | None = None

REMOVED: Mapping[str, Collection[Any] | None] = {}
"""Dotted key -> the values that mean what this version does anyway; `ANY`: whatever it was, nothing depends on it."""

CHANGED: tuple[Callable[[Tree], str | None], ...] = ()
"""Functions that put several removed keys as new ones, in place; each returns what it cannot put, as `key=value`."""


def current_config(stored: Mapping[str, Any], where: str) -> Tree:
    """A stored configuration in the keys of this version; one of this version is left as it is.

    Args:
        stored: sections of plain values, of which any may be absent.
        where: what it is the configuration of, for errors: `run demo`.

    Raises:
        ConfigError: an option was used that this version does not have; names the option and the version that has it.
    """
    tree = _copy(stored)
    refused = [found for change in CHANGED if (found := change(tree))]
    for key, same in REMOVED.items():
        *above, name = key.split(".")
        section = _section(tree, above)
        if section is not None and name in section:
            value = section.pop(name)
            if same is not None and value not in same:
                refused.append(f"{key}={value!r:.100}")
    if refused:
        raise ConfigError(
            f"{where}: made by an earlier version with {', '.join(refused)}, which this one has no more; "
            f"use wsis {LAST_VERSION} for it"
        )
    return tree


def current_section(name: str, stored: Mapping[str, Any], where: str) -> Tree:
    """As `current_config` for one section alone, such as a stage's manifest keeps it."""
    section: Tree = current_config({name: stored}, where)[name]
    return section


def _section(tree: Tree, above: list[str]) -> Tree | None:
    node: Any = tree
    for part in above:
        node = node.get(part)
        if not isinstance(node, dict):
            return None
    section: Tree = node
    return section


def _copy(tree: Mapping[str, Any]) -> Tree:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in tree.items()}
