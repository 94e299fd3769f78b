"""Where the parts of an artefact lie behind a URL, and the record of a shard.

STAGE/FINGERPRINT/manifest.json            says in which attempt each file lies
STAGE/FINGERPRINT/attempts/UUID/NAME       a file
STAGE/FINGERPRINT/attempts/UUID.pack       the files of a shard, one after the other
STAGE/FINGERPRINT/shards/00017.json        the files of the shard, by the first who has made it
STAGE/FINGERPRINT/NAME                     a file in the former layout, whose manifest names no attempt
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.atomic import full_disk_named
from data_contracts.errors import CorruptArtefactError
from data_contracts.fingerprint import seal, sha256_file, unseal
from data_contracts.manifest import MANIFEST_NAME, FileEntry, Manifest
from data_contracts.paths import make_folder, safe_relative
from data_contracts.printable import one_line

ATTEMPTS, SHARDS = "attempts", "shards"
PLAN_NAME = "records.json"


def manifest_key(stage: str, fingerprint: str) -> str:
    """The object of an artefact's manifest."""
    return f"{stage}/{fingerprint}/{MANIFEST_NAME}"


def shard_key(base: str, shard: int) -> str:
    """The object of a shard's record; `base` is STAGE/FINGERPRINT."""
    return f"{base}/{SHARDS}/{shard:05d}.json"


def file_key(manifest: Manifest, name: str, entry: FileEntry) -> str:
    """The object that a file of an artefact lies in."""
    base = f"{manifest.stage}/{manifest.fingerprint}"
    attempt = entry.attempt or manifest.attempt
    if attempt is None:
        return f"{base}/{safe_relative(name)}"
    if entry.offset is not None:
        return f"{base}/{ATTEMPTS}/{safe_relative(attempt)}.pack"
    return f"{base}/{ATTEMPTS}/{safe_relative(attempt)}/{safe_relative(name)}"


def new_attempt() -> str:
    """A name that nobody else uses."""
    return uuid.uuid4().hex


def by_object(manifest: Manifest, files: dict[str, FileEntry]) -> dict[str, list[tuple[str, FileEntry]]]:
    """Key of an object -> the files in it, in their order there."""
    found: dict[str, list[tuple[str, FileEntry]]] = {}
    for name, entry in files.items():
        found.setdefault(file_key(manifest, name, entry), []).append((name, entry))
    for some in found.values():
        some.sort(key=lambda item: (item[1].offset or 0, item[1].bytes))
    return found


class ShardRecord(BaseModel):
    """One shard of an artefact that is being made: the pack it lies in, and its files there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    attempt: str
    files: dict[str, FileEntry]

    def sealed(self) -> bytes:
        return seal(self.model_dump(mode="json"))

    @classmethod
    def read(cls, data: bytes, where: str) -> "ShardRecord":
        """The record in an object's bytes, each file with its attempt.

        Raises:
            CorruptArtefactError: it is none.
        """
        try:
            record = cls.model_validate(unseal(data, where))
        except ValidationError as error:
            raise CorruptArtefactError(
                f"{where} is no record of a shard: {one_line(error)}", (where,)
            ) from error
        placed = {n: e.model_copy(update={"attempt": record.attempt}) for n, e in record.files.items()}
        return record.model_copy(update={"files": placed})


class Parts:
    """A stream of bytes, taken part by part."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest, self._position = iter(pieces), b"", 0

    def take(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes from an offset on, piece by piece; fewer where the stream is shorter. Offsets never fall."""
        for _ in self._next(offset - self._position):
            continue
        yield from self._next(size)

    def _next(self, size: int) -> Iterator[bytes]:
        while size > 0:
            self._rest = self._rest or next(self._pieces, b"")
            if not self._rest:
                return
            piece, self._rest = self._rest[:size], self._rest[size:]
            size, self._position = size - len(piece), self._position + len(piece)
            yield piece


def parts_of(
    files: list[tuple[str, FileEntry]], pieces: Iterable[bytes]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The files in an object, each with its bytes, which are to be read before the next file is asked for. A file
    that is alone has all there is, more or less than its entry says."""
    if len(files) == 1 and files[0][1].offset is None:
        yield files[0][0], iter(pieces)
        return
    parts = Parts(pieces)
    for name, entry in files:
        yield name, parts.take(entry.offset or 0, entry.bytes)


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file below a folder that is not in use yet."""
    make_folder(path.parent)
    with full_disk_named(path), path.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)


def digest_of(pieces: Iterable[bytes]) -> FileEntry:
    """Size and sha256 of a stream."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return FileEntry(sha256=digest.hexdigest(), bytes=size)


def same_bytes(one: FileEntry, other: FileEntry) -> bool:
    """Whether two files have the same content, wherever they lie."""
    return (one.sha256, one.bytes) == (other.sha256, other.bytes)


def is_copy(path: Path, entry: FileEntry) -> bool:
    """Whether a file is there and has these bytes."""
    return path.is_file() and path.stat().st_size == entry.bytes and sha256_file(path) == entry.sha256


def linked(source: Path, target: Path, entry: FileEntry) -> bool:
    """Link a file that has these bytes already; whether it has."""
    if not is_copy(source, entry):
        return False
    make_folder(target.parent)
    os.link(source, target)
    return True
