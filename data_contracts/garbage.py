"""What a store holds for nobody: artefacts that no run uses, and work folders that a killed process left.

An artefact is used where its fingerprint stands anywhere in a run's record, or where a used one was made from it.
Trained models (`KEPT`) are used by people: they and what they were made from stay.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import LockTimeoutError, StoreError
from data_contracts.locks import exclusive
from data_contracts.manifest import MANIFEST_NAME, parse_manifest
from data_contracts.patience import many
from data_contracts.printable import counted
from data_contracts.runs import list_runs, load_run
from data_contracts.store import PRIVATE, Store
from data_contracts.verification import stored_artefacts

KEPT = ("train_contours", "train_ranker")  # the latter was made by 0.1
"""Stages whose artefacts no run names and people use by path."""

_FINGERPRINT = re.compile(r"\b[0-9a-f]{12}\b")


@dataclass(frozen=True)
class Piece:
    """A folder that may go: an artefact, or a work folder that was left; behind a URL the `keys` of an attempt."""

    stage: str
    path: Path
    bytes: int
    keys: tuple[str, ...] = ()

    @property
    def is_work(self) -> bool:
        return self.path.parent.name == PRIVATE


@dataclass(frozen=True)
class Garbage:
    """What may go, and why something else stays although no run uses it (a line each)."""

    pieces: tuple[Piece, ...]
    kept: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.pieces)


def find_garbage(store: Store) -> Garbage:
    """Look for what no run uses. Changes nothing.

    Behind a URL artefacts stay, since who else uses them cannot be seen; attempts go that were lost, discarded or
    killed, a day after anything was written there.

    While a process is at work in the store its artefacts stay, since it reads some that no record names yet; and
    work folders stay while a run is unfinished, which would go on from them.

    Raises:
        CorruptArtefactError: a run's record is damaged, so that nobody knows what it uses.
    """
    if store.remote is not None:
        attempts = store.remote.leftovers()
        why = "artefacts: who else uses a store behind a URL cannot be seen"
        return Garbage(tuple(Piece(o.stage, Path(o.place), o.bytes, o.keys) for o in attempts), (why,))
    kept = []
    unfinished = [name for name in list_runs(store) if load_run(store, name).status != "completed"]
    work = [piece for piece in _work_folders(store) if _holder(_lock_of(piece)) is None]
    if work and unfinished:
        size = sum(piece.bytes for piece in work)
        kept.append(
            f"{len(work)} work folders of {size / 1e6:.1f} MB: unfinished runs may go on from them "
            f"({', '.join(unfinished)}: wsis run --name RUN, or wsis rm RUN)"
        )
        work = []
    artefacts = _unused(store)
    if artefacts and (holders := [held for path in _locks(store) if (held := _holder(path))]):
        size = sum(piece.bytes for piece in artefacts)
        kept.append(
            f"{counted(len(artefacts), 'artefact')} of {size / 1e6:.1f} MB while a process is at work: {holders[0]}"
        )
        artefacts = []
    return Garbage((*artefacts, *work), tuple(kept))


def remove(store: Store, garbage: Garbage) -> int:
    """Remove what was found, piece by piece, and give the bytes freed; what a process has taken meanwhile stays."""
    freed = 0
    for piece in garbage.pieces:
        if store.remote is not None:
            many(store.remote.objects.remove, piece.keys)
            freed += piece.bytes
            continue
        try:
            with exclusive(_lock_of(piece), timeout=0):
                _remove(piece)
        except LockTimeoutError:
            continue
        freed += piece.bytes
    return freed


def _remove(piece: Piece) -> None:
    """An artefact is moved aside first: half of one is never seen."""
    path = piece.path
    try:
        if not piece.is_work:
            path = path.parent / PRIVATE / f"{path.name}.discarded-{time.time_ns()}"
            piece.path.rename(path)
        shutil.rmtree(path)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror}") from error


def used_by(store: Store, names: Iterable[str]) -> set[str]:
    """Fingerprints that stand in the records of these runs.

    Raises:
        CorruptArtefactError: a record is damaged.
    """
    return {
        found for name in names for found in _FINGERPRINT.findall(load_run(store, name).model_dump_json())
    }


def _unused(store: Store) -> list[Piece]:
    # Artefacts before records: one that a run commits meanwhile is in its record, or not in the list.
    there = [(stage, fp) for stage, fp in stored_artefacts(store) if (store.root / stage / fp).is_dir()]
    parents = {fp: _parents(store.root / stage / fp) for stage, fp in there}
    used, ahead = (
        set[str](),
        [*used_by(store, list_runs(store)), *(fp for stage, fp in there if stage in KEPT)],
    )
    while ahead:
        fingerprint = ahead.pop()
        if fingerprint not in used:
            used.add(fingerprint)
            ahead += parents.get(fingerprint, [])
    return [
        Piece(stage, path, _size(path))
        for stage, fp in there
        if fp not in used
        for path in [store.root / stage / fp]
    ]


def _parents(path: Path) -> list[str]:
    """Fingerprints that an artefact was made from; a damaged manifest tells none."""
    try:
        manifest = parse_manifest((path / MANIFEST_NAME).read_bytes(), str(path), path.name)
    except (OSError, StoreError):
        return []
    return [parent.fingerprint for parent in manifest.parents.values()]


def _work_folders(store: Store) -> Iterator[Piece]:
    for stage in store.stages():
        for path in sorted((store.root / stage / PRIVATE).glob("*")):
            if path.is_dir():
                yield Piece(stage, path, _size(path))


def _locks(store: Store) -> list[Path]:
    return [lock for stage in store.stages() for lock in (store.root / stage / PRIVATE).glob("*.lock")]


def _lock_of(piece: Piece) -> Path:
    folder = piece.path.parent if piece.is_work else piece.path.parent / PRIVATE
    return folder / f"{piece.path.name.partition('.')[0]}.lock"


def _holder(lock: Path) -> str | None:
    """Who holds a lock now, in words."""
    if not lock.exists():
        return None
    try:
        with exclusive(lock, timeout=0):
            return None
    except LockTimeoutError as error:
        return str(error)


def _size(path: Path) -> int:
    """Bytes of the files below; a file that goes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total
