"""Looking for damage: every byte of every artefact against its manifest, where the store really lies."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from data_contracts.errors import ContractError
from data_contracts.manifest import MANIFEST_NAME, Manifest, parse_manifest
from data_contracts.remote import Remote
from data_contracts.store import PRIVATE, Store, damaged_files

_FINGERPRINT = re.compile(r"[0-9a-f]{12}")
Pair = tuple[str, str]


def stored_artefacts(store: Store) -> list[Pair]:
    """Stage and fingerprint of every artefact: of a URL store, those on the other side."""
    if store.remote is not None:
        ends = (name.split("/") for name in store.remote.files())
        return sorted((p[0], p[1]) for p in ends if len(p) == 3 and p[2] == MANIFEST_NAME)
    found = []
    for stage in store.stages():
        folder = store.root / stage
        named = sorted(name for name in os.listdir(folder) if _FINGERPRINT.fullmatch(name))
        # reports and previews are no stages: nothing is ever at work there
        if (folder / PRIVATE).is_dir() or any((folder / n / MANIFEST_NAME).is_file() for n in named):
            found += [(stage, name) for name in named]
    return found


def damage_of(store: Store, artefacts: Iterable[Pair]) -> list[str]:
    """A line for each file that is missing or changed, and for each manifest that is not of its fingerprint."""
    problems: list[str] = []
    for stage, fingerprint in artefacts:
        try:
            if store.remote is not None:
                problems += _remote_damage(store.remote, stage, fingerprint, store.root)
            else:
                artefact = store.open(stage, fingerprint, verify=False)
                where = str(artefact.path / MANIFEST_NAME)
                problems += [*damaged_files(artefact), *_foreign(artefact.manifest, stage, where)]
        except ContractError as error:
            problems.append(f"{stage}/{fingerprint}: {error}")
    return problems


def _foreign(manifest: Manifest, stage: str, where: str) -> list[str]:
    """Whether a manifest says of itself what its fingerprint was made of."""
    if manifest.stage != stage:
        return [f"{where}: is of stage {manifest.stage}, not {stage}"]
    if (got := manifest.identity()) != manifest.fingerprint:
        return [f"{where}: its content gives the fingerprint {got}, not {manifest.fingerprint}"]
    return []


def _remote_damage(remote: Remote, stage: str, fingerprint: str, mirror: Path) -> list[str]:
    """As `damaged_files`, read from the other side; what lies in the mirror does not count."""
    there = remote.files(stage, fingerprint)
    where = remote.url(stage, fingerprint, MANIFEST_NAME)
    if MANIFEST_NAME not in there:
        local = (mirror / stage / fingerprint / MANIFEST_NAME).is_file()
        hint = "; it is in the mirror on this machine, and uploaded when a run uses it" if local else ""
        return [f"{where}: missing{hint}"]
    data = remote.read(f"{stage}/{fingerprint}/{MANIFEST_NAME}") or b""
    manifest = parse_manifest(data, where, fingerprint)
    damaged = []
    for name, entry in manifest.files.items():
        place = remote.url(stage, fingerprint, name)
        if name not in there:
            damaged.append(f"{place}: missing")
        elif there[name] != entry.bytes:
            damaged.append(f"{place}: expected {entry.bytes} bytes, got {there[name]}")
        elif (got := remote.sha256(stage, fingerprint, name)) != entry.sha256:
            damaged.append(f"{place}: expected sha256 {entry.sha256[:12]}…, got {got[:12]}…")
    unknown = sorted(set(there) - set(manifest.files) - {MANIFEST_NAME})
    damaged += [f"{remote.url(stage, fingerprint, name)}: not in the manifest" for name in unknown]
    return [*damaged, *_foreign(manifest, stage, where)]
