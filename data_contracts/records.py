"""Per-image records in shards: one zarr v3 group a shard, ragged arrays as flat data + offsets + shapes.

A shard is written under a temporary name and renamed: it is there whole or not at all, so a stage that was
killed resumes at the first missing shard. Chunks are compressed with zstd and carry a crc32c.
"""

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.errors
from zarr.codecs import Crc32cCodec, ZstdCodec

from data_contracts.atomic import fsync_tree, full_disk_named, write_atomic
from data_contracts.errors import CorruptArtefactError, SchemaError
from data_contracts.schemas import Schema

SHARD_SIZE = 64
_CHUNK_BYTES = 1 << 18
INDEX_NAME = "records.json"


def shard_name(shard: int) -> str:
    """Folder of a shard below the artefact."""
    return f"shard-{shard:05d}.zarr"


class RecordWriter:
    """Writes the records of `image_ids`, in that order, in shards of `shard_size`.

    Raises:
        SchemaError: ids repeat, or shards of another list of ids already lie in `root`.
    """

    def __init__(
        self, root: Path, schema: Schema, image_ids: Sequence[str], shard_size: int = SHARD_SIZE
    ) -> None:
        if len(set(image_ids)) != len(image_ids):
            repeated = sorted({i for i in image_ids if list(image_ids).count(i) > 1})[:5]
            raise SchemaError(f"{schema.name}: image ids repeat: {repeated}")
        self.root, self.schema, self.shard_size = root, schema, shard_size
        self.image_ids = list(image_ids)
        self._remember_plan()

    def _remember_plan(self) -> None:
        plan = {
            "schema": self.schema.name,
            "schema_version": self.schema.version,
            "shard_size": self.shard_size,
            "image_ids": self.image_ids,
        }
        path = self.root / INDEX_NAME
        if path.exists() and json.loads(path.read_text()) != plan:
            raise SchemaError(
                f"{path} lists other images or another schema than this stage writes; "
                "a fingerprint must decide them. Remove the folder to start afresh"
            )
        if not path.exists():
            write_atomic(path, json.dumps(plan, indent=0).encode())

    @property
    def num_shards(self) -> int:
        """Shards in the whole artefact."""
        return math.ceil(len(self.image_ids) / self.shard_size)

    def ids_of(self, shard: int) -> list[str]:
        """Image ids of one shard, in order."""
        return self.image_ids[shard * self.shard_size : (shard + 1) * self.shard_size]

    def missing(self) -> list[int]:
        """Shards not yet committed."""
        return [s for s in range(self.num_shards) if not (self.root / shard_name(s)).exists()]

    def write(self, shard: int, records: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Validate and commit the records of one shard.

        Raises:
            SchemaError: a record breaks the schema or the number of records is not the shard's.
            StoreFullError: no space left.
        """
        ids = self.ids_of(shard)
        checked = []
        for image_id, record in zip(ids, records, strict=True):
            self.schema.validate(record, f"image {image_id}")
            checked.append(record)
        final = self.root / shard_name(shard)
        temporary = self.root / f".{final.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        with full_disk_named(final):
            group = zarr.create_group(temporary, zarr_format=3, attributes={"image_ids": ids})
            for name, field in self.schema.fields.items():
                _write_field(group, name, field.dtype, len(field.shape), [r[name] for r in checked])
            fsync_tree(temporary)
            temporary.rename(final)


def _write_field(group: zarr.Group, name: str, dtype: str, ndim: int, values: list[np.ndarray]) -> None:
    shapes = np.array([v.shape for v in values], dtype=np.int64).reshape(len(values), ndim)
    offsets = np.concatenate([[0], np.cumsum([v.size for v in values])]).astype(np.int64)
    flat = (
        np.concatenate([np.ascontiguousarray(v).ravel() for v in values]) if values else np.empty(0, dtype)
    ).astype(dtype, copy=False)
    index = np.concatenate([offsets[:-1, None], offsets[1:, None], shapes], axis=1)
    for part, array in (("data", flat), ("index", index)):
        chunk = max(1, _CHUNK_BYTES // array.dtype.itemsize) if part == "data" else max(1, len(array))
        chunks = (min(chunk, max(1, len(array))), *array.shape[1:])
        target = group.create_array(
            f"{name}/{part}",
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks,
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
        )
        if array.size:
            target[...] = array


class RecordReader:
    """Reads records by image id or by position; every access validates nothing but crc32c (the manifest's
    sha256 were checked when the artefact was opened).

    Raises:
        SchemaError: the artefact holds another schema or a version this code does not read.
        CorruptArtefactError: a file is missing or a chunk's crc32c is wrong.
    """

    def __init__(self, root: Path, schema: Schema) -> None:
        self.root, self.schema = root, schema
        path = root / INDEX_NAME
        if not path.exists():
            raise CorruptArtefactError(f"{path} is missing", (str(path),))
        plan = json.loads(path.read_text())
        got = (plan["schema"], plan["schema_version"])
        if got != (schema.name, schema.version):
            raise SchemaError(
                f"{path}: expected records {schema.name} v{schema.version}, got {got[0]} v{got[1]}"
            )
        self.ids: list[str] = plan["image_ids"]
        self._shard_size: int = plan["shard_size"]
        self._position = {image_id: i for i, image_id in enumerate(self.ids)}
        self._fields: dict[tuple[int, str], tuple[Any, np.ndarray]] = {}

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
        """Some fields of one record.

        Raises:
            KeyError: no such image or field.
            CorruptArtefactError: a chunk is damaged.
        """
        if image_id not in self._position:
            raise KeyError(f"{self.root}: no record of image {image_id!r}")
        shard, row = divmod(self._position[image_id], self._shard_size)
        return {name: self._read_field(shard, row, name) for name in fields}

    def _read_field(self, shard: int, row: int, name: str) -> np.ndarray:
        where = self.root / shard_name(shard) / name
        try:
            data, index = self._open_field(shard, name)
            start, stop, *shape = (int(x) for x in index[row])
            flat = data[start:stop] if stop > start else np.empty(0, data.dtype)
        except (OSError, RuntimeError, ValueError, KeyError, zarr.errors.BaseZarrError) as error:
            if isinstance(error, KeyError) and name not in self.schema.fields:
                raise KeyError(f"{self.schema.name} has no field {name!r}") from error
            raise CorruptArtefactError(f"{where} is damaged: {error}", (str(where),)) from error
        return np.asarray(flat).reshape(shape)

    def _open_field(self, shard: int, name: str) -> tuple[Any, np.ndarray]:
        key = (shard, name)
        if key not in self._fields:
            group = zarr.open_group(self.root / shard_name(shard), mode="r", zarr_format=3)
            self._fields[key] = (group[f"{name}/data"], np.asarray(group[f"{name}/index"][...]))  # type: ignore[index]
        return self._fields[key]
