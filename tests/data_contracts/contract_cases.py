"""Shared by the tests of data_contracts: a schema, random records of any, a manifest to commit with."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_contracts.fingerprint import SCHEMA_VERSION
from data_contracts.manifest import Manifest
from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import Field, Schema

RAGGED = Schema(
    "ragged",
    3,
    {
        "maps": Field("float32", ("N", "h", 2), "some maps"),
        "scores": Field("float32", ("N",), "one a map"),
        "size": Field("int32", (2,), "fixed"),
        "bytes": Field("uint8", ("L",), "any"),
    },
)


def random_record(schema: Schema, rng: np.random.Generator, largest: int = 9) -> dict[str, np.ndarray]:
    """A valid record; every symbolic length is 0 .. largest, so some arrays are empty."""
    lengths: dict[str, int] = {}
    record = {}
    for name, field in schema.fields.items():
        shape = tuple(
            n if isinstance(n, int) else lengths.setdefault(n, int(rng.integers(0, largest + 1)))
            for n in field.shape
        )
        record[name] = random_array(field.dtype, shape, rng)
    return record


def random_array(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Any values a dtype can hold, except NaN and infinity."""
    if np.dtype(dtype).kind == "f":
        return rng.normal(scale=1e3, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def assert_same_record(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Same fields, dtypes, shapes and bits."""
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name].dtype == value.dtype, name
        assert got[name].shape == value.shape, name
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def manifest_of(stage: str, fingerprint: str, **changes: object) -> Manifest:
    """A manifest as a stage would give it to `Store.commit`."""
    values = {
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "algorithm_version": 1,
        "fingerprint": fingerprint,
        "contract": "weights",
        "outer_iteration": None,
        "seed": 0,
        "config": {"size": 3},
        "parents": {},
        "supervision": ["image labels"],
        "counts": {"images": 3},
        "files": {},
        "wall_seconds": 1.5,
        "cpu_seconds": 1.0,
        "peak_memory_bytes": 1,
        "created": "2026-01-01T00:00:00+0000",
        "code_version": "0",
        "environment": {},
    }
    return Manifest(**{**values, **changes})


def some_records(schema: Schema, n: int, seed: int = 0, largest: int = 9) -> dict[str, dict[str, np.ndarray]]:
    """Image id -> random record."""
    rng = np.random.default_rng(seed)
    return {f"image/{i} ü": random_record(schema, rng, largest) for i in range(n)}


def write(
    root: Path, schema: Schema, records: Mapping[str, Mapping[str, np.ndarray]], shard_size: int = 4
) -> RecordReader:
    """Write records below `root` and open them."""
    root.mkdir(exist_ok=True)
    writer = RecordWriter(root, schema, list(records), shard_size)
    for shard in writer.missing():
        writer.write(shard, [records[i] for i in writer.ids_of(shard)])
    return RecordReader(root, schema)


def good() -> dict[str, np.ndarray]:
    """A valid record of RAGGED, all zeros."""
    return {
        "maps": np.zeros((2, 3, 2), np.float32),
        "scores": np.zeros(2, np.float32),
        "size": np.zeros(2, np.int32),
        "bytes": np.zeros(5, np.uint8),
    }
