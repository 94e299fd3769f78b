"""A place of objects that several processes and machines write at once: what a commit stands on.

Two kinds of objects. *Data* lies under a key that nobody else uses (`put`) and is never overwritten. A *record* is
small, never empty, and names data: it is created only where none lies, and replaced or removed only where it is still
what was read. So of any number of writers one wins, all see who, and whoever follows records alone sees whole things.
"""

import errno
import hashlib
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from data_contracts.atomic import TEMPORARY, create_atomic, lacks_hard_links, write_atomic
from data_contracts.errors import CorruptArtefactError, LockTimeoutError, StoreError
from data_contracts.locks import exclusive
from data_contracts.paths import make_folder, safe_relative, write_file

BLOCK = 1 << 20
"""Bytes that are read at once."""
_LOCK = ".records.lock"
_ALONE_SECONDS = 300.0


@dataclass(frozen=True)
class Found:
    """A record as it was read; `version` is what `replace` and `delete` compare."""

    data: bytes
    version: Any


@dataclass(frozen=True)
class Listed:
    """An object in a listing; `modified` in seconds since 1970 by the clock of the place."""

    bytes: int
    modified: float


class Objects(Protocol):
    """The place. Keys are relative, parts separated by '/'. Methods raise StoreError where the place fails."""

    def create(self, key: str, data: bytes) -> bool:
        """Make a record if none is there; whether these bytes lie there now. A driver that repeats a request cannot
        tell its own success from another's, so bytes that must be one's own hold something of one's own."""
        ...

    def read(self, key: str) -> Found | None:
        """A record, None if there is none."""
        ...

    def replace(self, key: str, data: bytes, version: Any) -> bool:
        """Write a record if it is still of that version; whether these bytes lie there now."""
        ...

    def delete(self, key: str, version: Any) -> bool:
        """Remove a record if it is still of that version; whether it is gone."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write a record whatever is there: for those of one writer."""
        ...

    def put(self, key: str, source: Path | bytes | Iterator[bytes]) -> None:
        """Store data under a key that nobody else uses."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """Data, piece by piece.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove data that no record names, or a record of one writer, if it is there."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """Names of what has, or had, objects below it, directly below a prefix."""
        ...

    def list(self, prefix: str) -> dict[str, Listed]:
        """Key -> what lies there, of all objects below a prefix; a removed record may be listed with 0 bytes."""
        ...

    def url(self, key: str) -> str:
        """The object in words."""
        ...


class FolderObjects:
    """A folder of a POSIX file system, with one record lock for its records.

    Args:
        root: need not be there yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, key: str, data: bytes) -> bool:
        path = self._for_writing(key)
        if (found := self.read(key)) is None:
            if self._created(path, data):
                return True
            found = self.read(key)
        return found is not None and found.data == data

    def _created(self, path: Path, data: bytes) -> bool:
        """Without the lock where the file system has hard links: who is stopped in the middle holds up nobody."""
        try:
            return create_atomic(path, data)
        except OSError as error:
            if not lacks_hard_links(error):
                raise StoreError(f"cannot write {path}: {error.strerror}") from error
        with self._alone():
            if plain_bytes(path) is not None:
                return False
            write_file(path, data)
            return True

    def read(self, key: str) -> Found | None:
        data = plain_bytes(self._path(key))
        return None if data is None else Found(data, hashlib.sha256(data).hexdigest())

    def replace(self, key: str, data: bytes, version: Any) -> bool:
        with self._alone():
            found = self.read(key)
            if found is None or found.version != version:
                return found is not None and found.data == data
            write_atomic(self._path(key), data)
            return True

    def delete(self, key: str, version: Any) -> bool:
        with self._alone():
            found = self.read(key)
            if found is not None and found.version == version:
                self._path(key).unlink()
                return True
            return found is None

    def write(self, key: str, data: bytes) -> None:
        path = self._for_writing(key)
        with self._alone():
            write_file(path, data)

    def put(self, key: str, source: Path | bytes | Iterator[bytes]) -> None:
        path = self._for_writing(key)
        if isinstance(source, Path):
            with source.open("rb") as stream:
                write_atomic(path, lambda target: shutil.copyfileobj(stream, target))
        else:
            pieces = iter((source,)) if isinstance(source, bytes) else source
            write_atomic(path, lambda target: target.writelines(pieces))

    def stream(self, key: str) -> Iterator[bytes]:
        with self._path(key).open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block

    def remove(self, key: str) -> None:
        with self._alone():
            self._path(key).unlink(missing_ok=True)

    def folders(self, prefix: str) -> list[str]:
        base = self._path(prefix) if prefix else self.root
        return sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []

    def list(self, prefix: str) -> dict[str, Listed]:
        found = {}
        for folder, _, names in os.walk(self._path(prefix) if prefix else self.root):
            for name in names:
                path = Path(folder, name)
                if name == _LOCK or (name.startswith(".") and name.endswith(TEMPORARY)):
                    continue
                try:
                    state = path.lstat()
                except FileNotFoundError:
                    continue  # removed meanwhile
                found[path.relative_to(self.root).as_posix()] = Listed(state.st_size, state.st_mtime)
        return found

    def url(self, key: str) -> str:
        return str(self._path(key))

    def _path(self, key: str) -> Path:
        return self.root / safe_relative(key)

    def _for_writing(self, key: str) -> Path:
        path = self._path(key)
        make_folder(path.parent)
        return path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        make_folder(self.root)
        try:
            with exclusive(self.root / _LOCK, timeout=_ALONE_SECONDS, poll=0.01):
                yield
        except LockTimeoutError as error:
            raise StoreError(
                f"{self.root}: {error}, for {_ALONE_SECONDS:.0f} s, where it takes less than one: expected a process "
                "that is not stopped"
            ) from error


def plain_bytes(path: Path) -> bytes | None:
    """Bytes of a file, None where nothing is. A pipe or a device would be waited for, or have no end.

    Raises:
        CorruptArtefactError: something else lies there, or it cannot be read.
    """
    try:
        mode = path.stat().st_mode  # asked once: others create and remove meanwhile
        if stat.S_ISREG(mode):
            return path.read_bytes()
        got = "a folder" if stat.S_ISDIR(mode) else "no plain file"
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        if not absent:
            raise CorruptArtefactError(f"{path} cannot be read: {error.strerror}", (str(path),)) from error
        if not path.is_symlink():
            return None
        got = "a link that leads nowhere"
    raise CorruptArtefactError(f"{path} is damaged: expected a file, got {got}", (str(path),))


_probed: set[str] = set()
_probing = threading.Lock()


def probe(place: Objects, name: str) -> None:
    """Try once a process whether a place keeps the conditions that commits stand on.

    Args:
        name: of the place, for the message.

    Raises:
        StoreError: a condition is ignored, or the place cannot be written.
    """
    with _probing:
        if name in _probed:
            return
        key, data = f".probe/{uuid.uuid4().hex}", [f"{i} {uuid.uuid4().hex}".encode() for i in range(4)]
        wrong = _broken_condition(place, key, data)
        place.remove(key)
        if wrong:
            raise StoreError(
                f"store {name!r} {wrong}, so that two machines could mix what they write; it needs a server with "
                "conditional writes (AWS S3, Google Cloud Storage, Azure, SeaweedFS 4.48 or newer)"
            )
        _probed.add(name)


def _broken_condition(place: Objects, key: str, data: list[bytes]) -> str | None:
    if not place.create(key, data[0]):
        return "cannot create an object"
    if place.create(key, data[1]):
        return "creates an object twice (it ignores If-None-Match)"
    first = place.read(key)
    if first is None or first.data != data[0]:
        return "does not give back what was written"
    if not place.replace(key, data[2], first.version):
        return "cannot replace an object that nobody has changed"
    if place.replace(key, data[3], first.version):
        return "replaces an object that another has changed (it ignores If-Match)"
    return None


def clock(place: Objects) -> float:
    """Seconds since 1970 by the clock of a place, which is not this machine's."""
    key = f".probe/{uuid.uuid4().hex}"
    place.put(key, b"clock")
    there = place.list(".probe").get(key)
    place.remove(key)
    return there.modified if there is not None else time.time()
