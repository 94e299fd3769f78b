"""One shard of records: a zarr v3 group with a flat array a field and one array `index`, and a list of failures beside.

A row of `index` belongs to a record and holds, field by field, where its values start and stop in the flat
array and their shape: ragged and empty arrays come back as they were.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from data_contracts.atomic import TEMPORARY, fsync_directory, fsync_tree, full_disk_named
from data_contracts.errors import CorruptArtefactError, SchemaError
from data_contracts.schemas import Schema

_CHUNK_BYTES = 1 << 18
FAILURES = "failed-{:05d}.json"
"""File beside a shard: which of its images failed."""
SHARDS_HERE = "shard-*.zarr"
"""Pattern of `shard_name`."""
INDEX_ARRAY = "index"
_IDS = "image_ids"


def shard_name(shard: int) -> str:
    """Folder of a shard below the artefact."""
    return f"shard-{shard:05d}.zarr"


def shard_files(root: Path, shard: int) -> list[str]:
    """Files of a shard that lies in a folder: below its own folder, and its list of failures."""
    inside = (path for path in (root / shard_name(shard)).rglob("*") if path.is_file())
    names = sorted(path.relative_to(root).as_posix() for path in inside)
    failures = FAILURES.format(shard)
    return [*names, failures] if (root / failures).is_file() else names


def ids_in(root: Path, shard: int) -> list[str]:
    """Ids of the images of a shard that lies in a folder.

    Raises:
        CorruptArtefactError: it does not say them.
    """
    path = root / shard_name(shard) / "zarr.json"
    try:
        return list(json.loads(path.read_bytes())["attributes"][_IDS])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtefactError(f"{path} is damaged: {error!r}", (str(path),)) from error


def write_shard(
    root: Path, schema: Schema, shard: int, ids: Sequence[str], records: Iterable[Mapping[str, np.ndarray]]
) -> None:
    """Validate and commit the records of one shard, one for each id, in order: it is there whole or not at all.

    Raises:
        SchemaError: a record breaks the schema or there are not as many as ids.
        StoreFullError: no space left.
    """
    checked = _checked(schema, shard, ids, records)
    final = root / shard_name(shard)
    temporary = root / f".{final.name}{TEMPORARY}"
    shutil.rmtree(temporary, ignore_errors=True)
    with full_disk_named(final):
        group = zarr.create_group(temporary, zarr_format=3, attributes={_IDS: list(ids)})
        index = []
        for name, field in schema.fields.items():
            values = [np.asarray(r[name]) for r in checked]
            flat = np.concatenate([np.ascontiguousarray(v).ravel() for v in values])
            _write_array(group, name, flat.astype(field.dtype, copy=False), _CHUNK_BYTES)
            index.append(_index_of(values))
        _write_array(group, INDEX_ARRAY, np.concatenate(index, axis=1), None)
        fsync_tree(temporary)
        temporary.rename(final)
        fsync_directory(root)


def _checked(
    schema: Schema, shard: int, ids: Sequence[str], records: Iterable[Mapping[str, np.ndarray]]
) -> list[Mapping[str, np.ndarray]]:
    checked: list[Mapping[str, np.ndarray]] = []
    for record in records:
        if len(checked) == len(ids):
            raise SchemaError(f"{schema.name}: expected {len(ids)} records in shard {shard}, got more")
        schema.validate(record, f"image {ids[len(checked)]}")
        checked.append(record)
    if len(checked) != len(ids):
        raise SchemaError(
            f"{schema.name}: expected {len(ids)} records in shard {shard}, got {len(checked)}: "
            f"none for image {ids[len(checked)]}"
        )
    return checked


def _index_of(values: list[np.ndarray]) -> np.ndarray:
    """int64 [records, 2 + ndim]: where each value starts and stops in the flat array, and its shape."""
    shapes = np.array([v.shape for v in values], dtype=np.int64).reshape(len(values), -1)
    stops = np.cumsum([v.size for v in values], dtype=np.int64)
    starts = np.concatenate([[0], stops[:-1]])
    return np.concatenate([starts[:, None], stops[:, None], shapes], axis=1)


def _write_array(group: zarr.Group, name: str, array: np.ndarray, chunk_bytes: int | None) -> None:
    rows = max(1, len(array)) if chunk_bytes is None else max(1, chunk_bytes // array.dtype.itemsize)
    target = group.create_array(
        name,
        shape=array.shape,
        dtype=array.dtype,
        chunks=(min(rows, max(1, len(array))), *array.shape[1:]),
        compressors=[ZstdCodec(level=9), Crc32cCodec()],
        config={"write_empty_chunks": True},  # so that a missing chunk is damage, not zeros
    )
    if array.size:
        target[...] = array
