"""The shards of an artefact behind a URL, shared by all machines that make it while they make it.

A shard is a pack of its files under a key of its own, and one record that the first who has made it creates. Whoever
comes second takes the first one's shard in place of the own, so that all go on with the same bytes.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from data_contracts.atomic import TEMPORARY, fsync_directory, fsync_tree, full_disk_named
from data_contracts.errors import CorruptArtefactError, StoreError
from data_contracts.fingerprint import sha256_file
from data_contracts.manifest import FileEntry
from data_contracts.objects import BLOCK
from data_contracts.remote import Remote
from data_contracts.remote_layout import (
    ATTEMPTS,
    PLAN_NAME,
    SHARDS,
    ShardRecord,
    is_copy,
    new_attempt,
    parts_of,
    shard_key,
    write_pieces,
)

_LOGGER = logging.getLogger("wsis.store")
_TRIES = 5
_ONE_REQUEST = 8 << 20
"""Bytes of a pack up to which it is sent in one piece from memory."""
LocalFiles = Callable[[Path, int], list[str]]
"""A work folder and a shard -> names of the shard's files, the shard's folder first."""


class SharedShards:
    """The shards of one artefact.

    Methods raise StoreError where the other side fails.
    """

    def __init__(self, remote: Remote, stage: str, fingerprint: str) -> None:
        self._remote, self._objects = remote, remote.objects
        self._stage, self._fingerprint = stage, fingerprint

    def agree(self, plan: bytes) -> bytes:
        """The plan of the first who has begun: into which shards the images go."""
        key = f"{self._stage}/{self._fingerprint}/{SHARDS}/{PLAN_NAME}"
        for _ in range(_TRIES):
            if self._objects.create(key, plan):
                return plan
            if (found := self._objects.read(key)) is not None:
                return found.data
        raise StoreError(f"{self._objects.url(key)}: can neither be created nor read")

    def recorded(self) -> set[int]:
        """Shards that somebody has made."""
        listed = self._objects.list(f"{self._stage}/{self._fingerprint}/{SHARDS}")
        names = (key.rpartition("/")[2].removesuffix(".json") for key, one in listed.items() if one.bytes)
        return {int(name) for name in names if name.isdecimal()}

    def take(self, root: Path, folder: str, shard: int, files_of: LocalFiles) -> bool:
        """Make a work folder's shard the one that has a record; whether there is a sound one.

        Args:
            folder: name of the shard's folder, which appears last.
        """
        key = shard_key(self._stage, self._fingerprint, shard)
        found = self._objects.read(key)
        if found is None:
            return False
        try:
            record = ShardRecord.read(found.data, self._objects.url(key))
            here = files_of(root, shard)
            if set(here) == set(record.files) and all(is_copy(root / n, e) for n, e in record.files.items()):
                return True
            self._fetch(root, folder, record, here)
        except CorruptArtefactError as error:
            _LOGGER.warning("%s; the shard is made again", error)
            self._objects.delete(key, found.version)
            return False
        return True

    def publish(self, root: Path, folder: str, shard: int, files_of: LocalFiles) -> None:
        """Make a shard known; where another was first, take that one's instead."""
        for _ in range(_TRIES):
            if self._created(root, shard, files_of(root, shard)) or self.take(root, folder, shard, files_of):
                return
        raise StoreError(
            f"{self._objects.url(shard_key(self._stage, self._fingerprint, shard))}: cannot be made"
        )

    def _created(self, root: Path, shard: int, names: list[str]) -> bool:
        attempt, files, offset = new_attempt(), {}, 0
        for name in names:
            size = (root / name).stat().st_size
            files[name] = FileEntry(sha256=sha256_file(root / name), bytes=size, offset=offset)
            offset += size
        pack = self._pack_key(attempt)
        joined = _joined([root / name for name in names])
        self._objects.put(pack, b"".join(joined) if offset < _ONE_REQUEST else joined)
        record = ShardRecord(attempt=attempt, files=files)
        if self._objects.create(shard_key(self._stage, self._fingerprint, shard), record.sealed()):
            return True
        self._objects.remove(pack)
        return False

    def _pack_key(self, attempt: str) -> str:
        return f"{self._stage}/{self._fingerprint}/{ATTEMPTS}/{attempt}.pack"

    def _fetch(self, root: Path, folder: str, record: ShardRecord, here: list[str]) -> None:
        new = root / f".{folder}{TEMPORARY}"
        shutil.rmtree(new, ignore_errors=True)
        files = sorted(record.files.items(), key=lambda item: item[1].offset or 0)
        pack = self._pack_key(record.attempt)
        try:
            for name, pieces in parts_of(files, self._objects.stream(pack)):
                write_pieces(new / name, pieces)
        except FileNotFoundError as error:
            url = self._objects.url(pack)
            raise CorruptArtefactError(f"{url}: missing", (url,)) from error
        for name, entry in files:
            if not is_copy(new / name, entry):
                raise CorruptArtefactError(f"{self._objects.url(pack)}: {name} is damaged", (name,))
        with full_disk_named(root):
            fsync_tree(new)
            shutil.rmtree(root / folder, ignore_errors=True)  # the shard is there again last, and whole
            for name in here:
                (root / name).unlink(missing_ok=True)
            for name in (name for name in record.files if not name.startswith(f"{folder}/")):
                (new / name).rename(root / name)
            (new / folder).rename(root / folder)
            shutil.rmtree(new)
            fsync_directory(root)


def _joined(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block
