"""What makes a damaged artefact anew, or what was made from it: the command, with the run."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from data_contracts.errors import ContractError
from data_contracts.fingerprint import unseal
from data_contracts.manifest import MANIFEST_NAME, parse_manifest
from data_contracts.paths import default_store

_MODELS = {"train_contours": "wsis train-contours"}  # stage -> who makes what people use outside of runs
_Pair = tuple[str, str]  # stage and fingerprint
_Record = Mapping[str, Any]


class _Runs(Protocol):
    """Of a store, what is read here; the store itself asks."""

    location: str

    def names(self, folder: str, suffix: str) -> list[str]: ...

    def read_text(self, name: str) -> str | None: ...


def store_option(location: str) -> str:
    """` --store FOLDER` for a command on this store; nothing where the command would take it anyway."""
    return "" if location == default_store() else f" --store {shlex.quote(location)}"


def repair_of(store: _Runs, stage: str, fingerprint: str) -> str:
    """What to do about a damaged artefact: run the stage again in a run that uses it, make anew what was made from it,
    or remove it."""
    where = store_option(store.location)
    records = {name: _record(store, name) for name in store.names("runs", ".json")}
    for name, record in records.items():
        if (command := _command(name, record, stage, fingerprint)) is not None:
            return f"Run the stage again to repair it: {command}{where}"
    parents = dict[_Pair, list[_Pair]]()
    for name, record in records.items():
        for made, what, command in _made(name, record):
            if (stage, fingerprint) in _ancestors(store, made, parents):
                was = f"No run uses it any more, but {what} of run {name} was made from it"
                return f"{was}; to make that anew without it: {command}{where}"
    if stage in _MODELS:
        return f"The command that made it makes it anew: {_MODELS[stage]}{where}, with the same data and settings"
    return f"No run uses it; to remove what no run uses: wsis gc{where}"


def _record(store: _Runs, name: str) -> _Record:
    """The plain values of a run record; nothing where it is damaged, which is an error of its own."""
    try:
        found = unseal((store.read_text(f"runs/{name}.json") or "").encode(), name)
    except ContractError:
        return {}
    return found if isinstance(found, dict) else {}


def _command(name: str, record: _Record, stage: str, fingerprint: str) -> str | None:
    """The command that makes it in this run, None where the run does not use it."""
    for key, entry in record.get("entries", {}).items():
        if (entry["stage"], entry["fingerprint"]) == (stage, fingerprint):
            return f"wsis stage {key.partition('@')[0]} --run {name}" + _iteration(entry)
    for one in record.get("measured", []):
        if one["artefacts"].get(stage) == fingerprint:
            return _evaluation(name, one)
    return None


def _made(name: str, record: _Record) -> Iterator[tuple[_Pair, str, str]]:
    """Each artefact of a run, what it is called, and the command that makes it from what the run uses now."""
    for key, entry in record.get("entries", {}).items():
        yield (entry["stage"], entry["fingerprint"]), key, f"wsis run --name {name}"
    for one in record.get("measured", []):
        for pair in one["artefacts"].items():
            yield pair, f"a score on {one['data']}", _evaluation(name, one)


def _ancestors(store: _Runs, of: _Pair, parents: dict[_Pair, list[_Pair]]) -> set[_Pair]:
    """What an artefact was made from, and that from; `parents` remembers manifests."""
    found, ahead = set[_Pair](), [of]
    while ahead:
        one = ahead.pop()
        if one not in parents:
            parents[one] = _parents(store, *one)
        ahead += [pair for pair in parents[one] if pair not in found]
        found.update(parents[one])
    return found


def _parents(store: _Runs, stage: str, fingerprint: str) -> list[_Pair]:
    """What an artefact says that it was made from; nothing where it is damaged itself."""
    where = f"{stage}/{fingerprint}/{MANIFEST_NAME}"
    try:
        manifest = parse_manifest((store.read_text(where) or "").encode(), where, fingerprint)
    except ContractError:
        return []
    return [(parent.stage, parent.fingerprint) for parent in manifest.parents.values()]


def _evaluation(name: str, measured: _Record) -> str:
    asked = ["--data", measured["data"], "--split", measured["split"], "--format", measured["format"]]
    return shlex.join(["wsis", "evaluate", name, *asked]) + _iteration(measured)


def _iteration(entry: Mapping[str, Any]) -> str:
    return f" --iteration {entry['outer_iteration']}" if entry["outer_iteration"] else ""
