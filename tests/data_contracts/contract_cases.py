"""Shared by the tests of data_contracts: random records of every schema, a manifest to commit with."""

from collections.abc import Mapping

import numpy as np

from data_contracts.fingerprint import SCHEMA_VERSION
from data_contracts.manifest import Manifest
from data_contracts.schemas import Schema


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
