"""Per-image records in shards, which lie as `data_contracts.record_shards` says.

A shard is written under a temporary name and renamed: it is there whole or not at all, so a stage that was
killed resumes at the first missing shard. Behind a URL shards are shared with other machines at the same artefact
(`SharedShards`). Chunks are compressed with zstd and carry a crc32c.
"""

import math
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.atomic import write_atomic
from data_contracts.chunks import ChunkedArray
from data_contracts.errors import CorruptArtefactError, SchemaError
from data_contracts.fingerprint import seal, unseal
from data_contracts.record_shards import INDEX_ARRAY, SHARDS_HERE, shard_name, write_shard
from data_contracts.schemas import Schema
from data_contracts.shards import SharedShards

SHARD_SIZE = 64
INDEX_NAME = "records.json"


class RecordWriter:
    """Writes the records of `image_ids`, in that order, in shards of `shard_size`.

    Args:
        shared: where other machines make shards of the same artefact; None: they are this machine's own.

    Raises:
        SchemaError: ids repeat, a field is called "index", or shards of another list of ids already lie in `root`.
        CorruptArtefactError: the list of ids that lies in `root` is damaged.
    """

    def __init__(
        self,
        root: Path,
        schema: Schema,
        image_ids: Sequence[str],
        shard_size: int = SHARD_SIZE,
        shared: SharedShards | None = None,
    ) -> None:
        if len(set(image_ids)) != len(image_ids):
            repeated = sorted(i for i, n in Counter(image_ids).items() if n > 1)[:5]
            raise SchemaError(f"{schema.name}: image ids repeat: {repeated}")
        if INDEX_ARRAY in schema.fields:
            raise SchemaError(f"{schema.name}: the field name '{INDEX_ARRAY}' is taken")
        self.root, self.schema, self.shard_size = root, schema, shard_size
        self.image_ids, self._shared = list(image_ids), shared
        self._remember_plan()
        if shared is not None:
            self._reconcile(shared)

    def _remember_plan(self) -> None:
        plan: dict[str, Any] = {
            "schema": self.schema.name,
            "schema_version": self.schema.version,
            "shard_size": self.shard_size,
            "image_ids": self.image_ids,
        }
        path = self.root / INDEX_NAME
        if self._shared is not None:
            self._agree(self._shared, path, plan)
        before = _read_plan(path) if path.exists() else plan
        if before != {**plan, "shard_size": before.get("shard_size")}:
            raise SchemaError(
                f"{path} lists other images or another schema than this stage writes; "
                "a fingerprint must decide them. Remove the folder to start afresh"
            )
        self.shard_size = int(before["shard_size"])  # how a resumed stage began, it goes on
        if not path.exists():
            write_atomic(path, seal(plan))

    def _agree(self, shared: SharedShards, path: Path, plan: dict[str, Any]) -> None:
        """Take the plan of the first machine; shards of another plan are of no use."""
        own = seal(_read_plan(path) if path.exists() else plan)
        agreed = shared.agree(own)
        if agreed == own and path.exists():
            return
        for folder in self.root.glob(SHARDS_HERE):
            shutil.rmtree(folder)
        write_atomic(path, agreed)

    def _reconcile(self, shared: SharedShards) -> None:
        """Have each shard that anybody has made, and let the others have those that this machine has alone."""
        recorded = shared.recorded()
        for shard in range(self.num_shards):
            if shard in recorded and self.take(shard):
                continue
            if (self.root / shard_name(shard)).exists():
                shared.publish(self.root, shard)

    def take(self, shard: int) -> bool:
        """Have a shard that another machine has made, if one has."""
        return self._shared is not None and self._shared.take(self.root, shard, self.ids_of(shard))

    @property
    def num_shards(self) -> int:
        """Shards in the whole artefact."""
        return math.ceil(len(self.image_ids) / self.shard_size)

    def ids_of(self, shard: int) -> list[str]:
        """Image ids of one shard, in order."""
        return self.image_ids[shard * self.shard_size : (shard + 1) * self.shard_size]

    def missing(self) -> list[int]:
        """Shards not yet committed, in order; in a store that others share from one on that is drawn, so that two
        machines that begin together do not make the same ones."""
        left = [s for s in range(self.num_shards) if not (self.root / shard_name(s)).exists()]
        first = secrets.randbelow(len(left)) if left and self._shared is not None else 0
        return left[first:] + left[:first]

    def write(self, shard: int, records: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Validate and commit the records of one shard.

        Raises:
            SchemaError: a record breaks the schema or the number of records is not the shard's.
            StoreFullError: no space left.
        """
        write_shard(self.root, self.schema, shard, self.ids_of(shard), records)
        if self._shared is not None:
            self._shared.publish(self.root, shard)


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptArtefactError(f"{path} cannot be read: {error.strerror}", (str(path),)) from error
    return unseal(data, str(path))


class RecordReader:
    """Reads records by image id; every chunk's crc32c is checked (the manifest's sha256 were checked when the
    artefact was opened). Can be sent to worker processes and used from several threads.

    Raises:
        SchemaError: the artefact holds another schema or a version this code does not read.
        CorruptArtefactError: the list of records is missing or damaged.
    """

    def __init__(self, root: Path, schema: Schema) -> None:
        self.root, self.schema = root, schema
        path = root / INDEX_NAME
        plan = _read_plan(path)
        try:
            got = (plan["schema"], plan["schema_version"])
            self.ids: list[str] = plan["image_ids"]
            self._shard_size: int = plan["shard_size"]
        except KeyError as error:
            raise CorruptArtefactError(f"{path} has no {error}", (str(path),)) from error
        if got != (schema.name, schema.version):
            raise SchemaError(
                f"{path}: expected records {schema.name} v{schema.version}, got {got[0]} v{got[1]}"
            )
        self._position = {image_id: i for i, image_id in enumerate(self.ids)}
        self._columns = _columns(schema)
        self._arrays: dict[tuple[int, str], ChunkedArray] = {}
        self._indices: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.root,
            self.schema,
        )  # the list of records is long, and lies where the records do

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._position

    def __iter__(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for image_id in self.ids:
            yield image_id, self[image_id]

    def __getitem__(self, image_id: str) -> dict[str, np.ndarray]:
        return self.read(image_id, tuple(self.schema.fields))

    def read(self, image_id: str, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Some fields of one record, each a new array.

        Raises:
            KeyError: no such image or field.
            CorruptArtefactError: a file is missing or a chunk is damaged; names it.
        """
        if image_id not in self._position:
            raise KeyError(f"{self.root}: no record of image {image_id!r}")
        if unknown := set(fields) - set(self.schema.fields):
            raise KeyError(f"{self.schema.name} has no field {sorted(unknown)}")
        shard, row = divmod(self._position[image_id], self._shard_size)
        return {name: self._read_field(shard, row, name) for name in fields}

    def _read_field(self, shard: int, row: int, name: str) -> np.ndarray:
        data = self._open(shard, name, self.schema.fields[name].dtype)
        column = self._columns[name]
        try:
            start, stop, *shape = (int(x) for x in self._index(shard)[row, column])
            return data.rows(start, stop).reshape(shape)
        except (IndexError, ValueError) as error:
            raise CorruptArtefactError(f"{data.root} is damaged: {error}", (str(data.root),)) from error

    def _open(self, shard: int, name: str, dtype: str) -> ChunkedArray:
        key = (shard, name)
        if key not in self._arrays:
            self._arrays[key] = ChunkedArray(self.root / shard_name(shard) / name, dtype)
        return self._arrays[key]

    def _index(self, shard: int) -> np.ndarray:
        if shard not in self._indices:
            array = self._open(shard, INDEX_ARRAY, "int64")
            self._indices[shard] = array.rows(0, array.shape[0])
        return self._indices[shard]


def _columns(schema: Schema) -> dict[str, slice]:
    columns, start = {}, 0
    for name, field in schema.fields.items():
        stop = start + 2 + len(field.shape)
        columns[name] = slice(start, stop)
        start = stop
    return columns
