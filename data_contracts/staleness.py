"""Stale results: artefacts of a run that were made from others than those that the run uses now."""

from collections.abc import Iterable

from data_contracts.errors import ContractError
from data_contracts.manifest import MANIFEST_NAME, Manifest, parse_manifest
from data_contracts.runs import RunEntry, RunRecord
from data_contracts.store import Store


def stale_keys(store: Store, record: RunRecord) -> list[str]:
    """Keys of the entries that are stale, in the record's order.

    An entry is stale where a parent that its manifest names is not what the run uses now, or is stale itself: a stage
    before it was computed again, alone, with other settings or data. Nothing is stored: going on with the run mends it.
    A manifest that is gone or damaged is none of this function's business, see `wsis verify`.
    """
    manifests = {key: _manifest(store, entry) for key, entry in record.entries.items()}
    parents = {
        key: {(p.stage, p.fingerprint) for p in found.parents.values()}
        for key, found in manifests.items()
        if found is not None
    }
    sound = {key: (entry.stage, entry.fingerprint) for key, entry in record.entries.items()}
    while fallen := [key for key in parents if key in sound and not parents[key] <= set(sound.values())]:
        for key in fallen:
            del sound[key]
    return [key for key in record.entries if key not in sound]


def stale_line(record: RunRecord, stale: Iterable[str]) -> str | None:
    """What is stale and how to mend it, in one line; None where nothing is."""
    keys = list(stale)
    if not keys:
        return None
    shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    return (
        f"stale: {shown}, made from artefacts that run {record.name} has replaced since; "
        f"to compute again: wsis run --name {record.name}"
    )


def _manifest(store: Store, entry: RunEntry) -> Manifest | None:
    """Read alone: of a URL store no artefact is downloaded for it."""
    where = f"{entry.stage}/{entry.fingerprint}/{MANIFEST_NAME}"
    try:
        text = store.read_text(where)
        return None if text is None else parse_manifest(text.encode(), where, entry.fingerprint)
    except ContractError:
        return None
