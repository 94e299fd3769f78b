"""What makes a damaged artefact anew: the command, with the run that uses it."""

import shlex
from collections.abc import Mapping
from typing import Any, Protocol

from data_contracts.errors import ContractError
from data_contracts.fingerprint import unseal
from data_contracts.paths import default_store


class _Runs(Protocol):
    """Of a store, what is read here; the store itself asks."""

    location: str

    def names(self, folder: str, suffix: str) -> list[str]: ...

    def read_text(self, name: str) -> str | None: ...


def store_option(location: str) -> str:
    """` --store FOLDER` for a command on this store; nothing where the command would take it anyway."""
    return "" if location == default_store() else f" --store {shlex.quote(location)}"


def repair_of(store: _Runs, stage: str, fingerprint: str) -> str:
    """What to do about a damaged artefact: run the stage again in a run that uses it, or remove it."""
    for name in store.names("runs", ".json"):
        if (command := _command(name, _record(store, name), stage, fingerprint)) is not None:
            return f"Run the stage again to repair it: {command}{store_option(store.location)}"
    return f"No run uses it; to remove what no run uses: wsis gc{store_option(store.location)}"


def _record(store: _Runs, name: str) -> Mapping[str, Any]:
    """The plain values of a run record; nothing where it is damaged, which is an error of its own."""
    try:
        found = unseal((store.read_text(f"runs/{name}.json") or "").encode(), name)
    except ContractError:
        return {}
    return found if isinstance(found, dict) else {}


def _command(name: str, record: Mapping[str, Any], stage: str, fingerprint: str) -> str | None:
    """The command that makes it in this run, None where the run does not use it."""
    for key, entry in record.get("entries", {}).items():
        if (entry["stage"], entry["fingerprint"]) == (stage, fingerprint):
            return f"wsis stage {key.partition('@')[0]} --run {name}" + _iteration(entry)
    for one in record.get("measured", []):
        if one["artefacts"].get(stage) == fingerprint:
            asked = ["--data", one["data"], "--split", one["split"], "--format", one["format"]]
            return shlex.join(["wsis", "evaluate", name, *asked]) + _iteration(one)
    return None


def _iteration(entry: Mapping[str, Any]) -> str:
    return f" --iteration {entry['outer_iteration']}" if entry["outer_iteration"] else ""
