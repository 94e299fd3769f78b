"""What a shard holds: records of images, and for images that failed an empty record with the reason.

An image may fail without taking its shard along: its record is then empty, `failed-<shard>.json` says why, and
`read_failures` gives all of them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.atomic import write_atomic
from data_contracts.errors import CorruptArtefactError, DataError
from data_contracts.printable import one_line
from data_contracts.record_shards import FAILURES
from data_contracts.schemas import Schema
from wsis.errors import InputError, NonFiniteError

Record = Mapping[str, np.ndarray]
ComputeShard = Callable[[Sequence[str]], Iterable[Record]]
Compute = Callable[[Sequence[str]], Iterable[Any]]  # image ids -> one thing for each, in order
# Errors that are the fault of a single image. Any other (a full disk, a lost worker, a bug) ends the stage.
OF_ONE_IMAGE = (DataError, InputError, NonFiniteError)


@dataclass(frozen=True)
class Failure:
    """An image without a record, and why."""

    image_id: str
    message: str


@dataclass(frozen=True)
class Tolerant:
    """`compute`, with a `Failure` in place of the record of each image that is to blame for an error."""

    compute: Compute

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Any]:
        for image_id in image_ids:  # one by one: an error then has its image, whatever `compute` does inside
            try:
                yield from list(self.compute([image_id]))
            except OF_ONE_IMAGE as error:
                text = one_line(error)
                yield Failure(image_id, text if text.startswith(image_id) else f"{image_id}: {text}")


def without_failures(
    records: Iterable[Record | Failure], root: Path, schema: Schema, shard: int
) -> Iterator[Record]:
    """The records, empty ones for failures, which are written beside the shard in `root` before it is committed."""
    path = root / FAILURES.format(shard)
    failed: dict[str, str] = {}
    for record in records:
        if isinstance(record, Failure):
            failed[record.image_id] = record.message
            yield empty_record(schema)
        else:
            yield record
    path.unlink(missing_ok=True)  # of a try that was killed before it committed the shard
    if failed:
        write_atomic(path, json.dumps(failed, indent=1).encode())


def empty_record(schema: Schema) -> dict[str, np.ndarray]:
    """A record of arrays without entries (zeros where the schema fixes a length)."""
    return {
        name: np.zeros([n if isinstance(n, int) else 0 for n in field.shape], field.dtype)
        for name, field in schema.fields.items()
    }


def read_failures(root: Path) -> dict[str, str]:
    """Image id -> message of every image of an artefact (or work folder) that has an empty record.

    Raises:
        CorruptArtefactError: a list of failures is damaged.
    """
    failed: dict[str, str] = {}
    for path in sorted(root.glob("failed-*.json")):
        try:
            failed.update(json.loads(path.read_bytes()))
        except ValueError as error:
            raise CorruptArtefactError(f"{path} is no list of failures: {error}", (str(path),)) from error
    return failed
