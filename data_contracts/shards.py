"""The shards of an artefact behind a URL, shared by all machines that make it while they make it.

A shard is a pack of its files under a key of its own, and one record that the first who has made it creates. Whoever
comes second takes the first one's shard in place of the own, so that all go on with the same bytes.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_contracts.atomic import TEMPORARY, fsync_directory, fsync_tree, full_disk_named
from data_contracts.errors import CorruptArtefactError, StoreError
from data_contracts.fingerprint import sha256_file
from data_contracts.manifest import FileEntry
from data_contracts.objects import BLOCK, Objects
from data_contracts.record_shards import ids_in, shard_files, shard_name
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


class SharedShards:
    """The shards of one artefact.

    Methods raise StoreError where the other side fails.

    Args:
        base: key that all of theirs are below.
    """

    def __init__(self, objects: Objects, base: str) -> None:
        self._objects, self.base = objects, base

    def agree(self, plan: bytes) -> bytes:
        """The plan of the first who has begun: into which shards the images go."""
        key = f"{self.base}/{SHARDS}/{PLAN_NAME}"
        for _ in range(_TRIES):
            if self._objects.create(key, plan):
                return plan
            if (found := self._objects.read(key)) is not None:
                return found.data
        raise StoreError(f"{self._objects.url(key)}: can neither be created nor read")

    def plan(self) -> bytes | None:
        """The plan that was agreed on, None where nobody has begun."""
        found = self._objects.read(f"{self.base}/{SHARDS}/{PLAN_NAME}")
        return None if found is None else found.data

    def has(self, shard: int) -> bool:
        """Whether somebody has made a shard; its bytes are not looked at."""
        return self._objects.read(self._key(shard)) is not None

    def recorded(self) -> set[int]:
        """Shards that somebody has made."""
        listed = self._objects.list(f"{self.base}/{SHARDS}")
        names = (key.rpartition("/")[2].removesuffix(".json") for key, one in listed.items() if one.bytes)
        return {int(name) for name in names if name.isdecimal()}

    def take(self, root: Path, shard: int, ids: Sequence[str] | None = None) -> bool:
        """Make a work folder's shard the one that has a record; whether there is a sound one.

        Args:
            ids: of its images; one of others is not sound. None: they are not looked at.
        """
        key = self._key(shard)
        found = self._objects.read(key)
        if found is None:
            return False
        try:
            record = ShardRecord.read(found.data, self._objects.url(key))
            here = shard_files(root, shard)
            if set(here) == set(record.files) and all(is_copy(root / n, e) for n, e in record.files.items()):
                return True
            self._fetch(root, shard, record, here, ids)
        except CorruptArtefactError as error:
            _LOGGER.warning("%s; the shard is made again", error)
            self._objects.delete(key, found.version)
            return False
        return True

    def publish(self, root: Path, shard: int) -> None:
        """Make a shard known; where another was first, take that one's instead."""
        for _ in range(_TRIES):
            if self._created(root, shard, shard_files(root, shard)) or self.take(root, shard):
                return
        raise StoreError(f"{self._objects.url(self._key(shard))}: cannot be made")

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
        if self._objects.create(self._key(shard), record.sealed()):
            return True
        self._objects.remove(pack)
        return False

    def _key(self, shard: int) -> str:
        return shard_key(self.base, shard)

    def _pack_key(self, attempt: str) -> str:
        return f"{self.base}/{ATTEMPTS}/{attempt}.pack"

    def _fetch(
        self, root: Path, shard: int, record: ShardRecord, here: list[str], ids: Sequence[str] | None
    ) -> None:
        folder = shard_name(shard)
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
        if ids is not None and ids_in(new, shard) != list(ids):
            raise CorruptArtefactError(f"{self._objects.url(pack)}: a shard of other images", (folder,))
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
