"""Looking for damage: every byte of every artefact against its manifest, where the store really lies."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from data_contracts.errors import ContractError, CorruptArtefactError
from data_contracts.manifest import MANIFEST_NAME, FileEntry, Manifest, damaged_files
from data_contracts.remote import Remote
from data_contracts.remote_layout import by_object, digest_of, file_key, manifest_key, parts_of
from data_contracts.store import PRIVATE, Store

_FINGERPRINT = re.compile(r"[0-9a-f]{12}")
Pair = tuple[str, str]


def stored_artefacts(store: Store) -> list[Pair]:
    """Stage and fingerprint of every artefact: of a URL store, those on the other side."""
    if store.remote is not None:
        return store.remote.artefacts()
    found = []
    for stage in store.stages():
        folder = store.root / stage
        named = sorted(name for name in os.listdir(folder) if _FINGERPRINT.fullmatch(name))
        # reports and previews are no stages: nothing is ever at work there
        if (folder / PRIVATE).is_dir() or any((folder / n / MANIFEST_NAME).is_file() for n in named):
            found += [(stage, name) for name in named]
    return found


def damage_of(store: Store, artefacts: Iterable[Pair]) -> dict[Pair, list[str]]:
    """Of each damaged artefact a line for each file that is missing or changed, and for a manifest that is not of its
    fingerprint."""
    found: dict[Pair, list[str]] = {}
    for stage, fingerprint in artefacts:
        try:
            if store.remote is not None:
                problems = _remote_damage(store.remote, stage, fingerprint, store.root)
            else:
                artefact = store.open(stage, fingerprint, verify=False)
                where = str(artefact.path / MANIFEST_NAME)
                problems = [
                    *damaged_files(artefact.path, artefact.manifest),
                    *_foreign(artefact.manifest, stage, where),
                ]
        except ContractError as error:
            # the caller says the remedy
            said = error.what if isinstance(error, CorruptArtefactError) else error
            problems = [f"{stage}/{fingerprint}: {said}"]
        if problems:
            found[stage, fingerprint] = problems
    return found


def _foreign(manifest: Manifest, stage: str, where: str) -> list[str]:
    """Whether a manifest says of itself what its fingerprint was made of."""
    if manifest.stage != stage:
        return [f"{where}: is of stage {manifest.stage}, not {stage}"]
    if (got := manifest.identity()) != manifest.fingerprint:
        return [f"{where}: its content gives the fingerprint {got}, not {manifest.fingerprint}"]
    return []


def _remote_damage(remote: Remote, stage: str, fingerprint: str, mirror: Path) -> list[str]:
    """As `damaged_files`, read from the other side; what lies in the mirror does not count."""
    record = remote.record(stage, fingerprint)
    where = remote.objects.url(manifest_key(stage, fingerprint))
    if record is None:
        local = (mirror / stage / fingerprint / MANIFEST_NAME).is_file()
        hint = "; it is in the mirror on this machine, and uploaded when a run uses it" if local else ""
        return [f"{where}: missing{hint}"]
    manifest = remote.manifest(stage, fingerprint, record)
    damaged = []
    for key, files in by_object(manifest, manifest.files).items():
        place, entries = remote.objects.url(key), dict(files)
        try:
            for name, pieces in parts_of(files, remote.objects.stream(key)):
                inside = f"{place} ({name})" if entries[name].offset is not None else place
                damaged += _wrong(inside, entries[name], digest_of(pieces))
        except FileNotFoundError:
            damaged.append(f"{place}: missing")
    if manifest.attempt is None:  # in the former layout all that lay there was the artefact's
        known = {file_key(manifest, name, entry) for name, entry in manifest.files.items()}
        there = (
            set(remote.objects.list(f"{stage}/{fingerprint}")) - known - {manifest_key(stage, fingerprint)}
        )
        damaged += [f"{remote.objects.url(key)}: not in the manifest" for key in sorted(there)]
    return [*damaged, *_foreign(manifest, stage, where)]


def _wrong(place: str, entry: FileEntry, got: FileEntry) -> list[str]:
    if got.bytes != entry.bytes:
        return [f"{place}: expected {entry.bytes} bytes, got {got.bytes}"]
    if got.sha256 != entry.sha256:
        return [f"{place}: expected sha256 {entry.sha256[:12]}…, got {got.sha256[:12]}…"]
    return []
