"""Per-image stages: compute records shard by shard, in this process or several, resuming at the first missing.

An image may fail without taking its shard along (`tolerate`): its record is then empty, `failed-<shard>.json`
says why, and `read_failures` gives all of them.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.atomic import write_atomic
from data_contracts.errors import CorruptArtefactError, DataError
from data_contracts.records import FAILURES, RecordWriter
from data_contracts.schemas import Schema
from wsis.engine.machine import peak_memory
from wsis.engine.progress import Bar
from wsis.engine.stage import StageContext
from wsis.engine.worker_processes import Patience, WorkerPool
from wsis.errors import InputError, NonFiniteError

Record = Mapping[str, np.ndarray]
ComputeShard = Callable[[Sequence[str]], Iterable[Record]]
Compute = Callable[[Sequence[str]], Iterable[Any]]  # image ids -> one thing for each, in order
_Batch = tuple[int, int, list[Any]]  # process id and peak resident bytes of the worker, records

_TOO_FEW_FOR_A_POOL = 4
_IDS_A_BATCH = 4
_BATCH_SECONDS = 3600.0  # an image takes seconds; the largest of the paper's method on a busy machine minutes
# What one image can be to blame for. A full disk, a lost worker or a bug is not: it ends the stage.
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
                text = " ".join(str(error).split())
                yield Failure(image_id, text if text.startswith(image_id) else f"{image_id}: {text}")


def write_records(
    context: StageContext,
    schema: Schema,
    image_ids: Sequence[str],
    compute: ComputeShard,
    workers: int = 1,
    shard_size: int | None = None,
    tolerate: bool = False,
) -> RecordWriter:
    """Write one record for each image id, shard by shard; shards already committed are kept, and those that another
    machine has made meanwhile are taken. Where a cluster is named its workers make them.

    Args:
        compute: image ids -> their records, in order. With `workers` > 1 it is pickled to worker processes
            (spawned, one torch thread each), so it must be a top-level callable object; a worker then gets
            small batches of ids, and the parent alone writes. It is sent to each worker once.
        shard_size: images a shard; default execution.shard_images. A stage that is resumed keeps its own.
        tolerate: an image that is to blame for an error (`OF_ONE_IMAGE`) is logged, gets an empty record (every
            array without entries) and is listed by `read_failures`; the others go on.

    Raises:
        SchemaError: a record breaks the schema, or there are not as many as ids.
        WorkerDiedError: a worker process was killed.
        ClusterError, WorkerStuckError, ConfigError: see :func:`wsis.engine.cluster.write_on_cluster`.
    """
    size = shard_size or context.execution.shard_images
    writer = RecordWriter(context.workdir, schema, image_ids, size, context.shared)
    missing = writer.missing()
    done = len(image_ids) - sum(len(writer.ids_of(s)) for s in missing)
    if done:
        context.log(f"{done} of {len(image_ids)} images are there already")
    chosen = Tolerant(compute) if tolerate else compute
    with context.progress.bar(len(image_ids), context.title, "img", initial=done) as bar:
        if context.cluster is None or len(image_ids) <= _TOO_FEW_FOR_A_POOL:
            _write_here(context, writer, missing, chosen, workers, bar)
        elif missing:
            from wsis.engine.cluster import write_on_cluster  # distributed is optional

            write_on_cluster(context, context.cluster, writer, chosen, bar)
    return writer


def _write_here(
    context: StageContext,
    writer: RecordWriter,
    missing: Sequence[int],
    compute: ComputeShard,
    workers: int,
    bar: Bar,
) -> None:
    def counted(records: Iterable[Any]) -> Iterator[Any]:
        for record in records:
            if isinstance(record, Failure):
                context.log(f"failed: {record.message}")
            bar.update()
            yield record

    # Decided by the whole list, not by what is missing: a resumed stage then computes each record in the
    # same kind of process, with the same number of threads, as one that was never killed.
    total = len(writer.image_ids)
    with computing(compute, workers, total, context.title, context.worker_memory) as compute_in_order:
        for shard in missing:
            if writer.take(shard):
                bar.update(len(writer.ids_of(shard)))
                continue
            records = counted(compute_in_order(writer.ids_of(shard)))
            writer.write(shard, without_failures(records, context.workdir, writer.schema, shard))


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


@contextmanager
def computing(
    compute: Compute,
    workers: int,
    total: int,
    title: str,
    worker_memory: dict[int | str, int],
) -> Iterator[Compute]:
    """`compute` as a function that spreads the ids it is given over worker processes and keeps their order.

    Args:
        compute: see `write_records`; with one worker, or a few ids in `total`, it runs in this process.
        title: for messages.
        worker_memory: is filled with process id -> peak resident bytes.

    Raises:
        WorkerDiedError: a worker process was killed. WorkerStuckError: it gives nothing.
        WorkerStartError: the system has no room for worker processes.
    """
    if workers == 1 or total <= _TOO_FEW_FOR_A_POOL:
        yield compute
        return
    patience = Patience(title, _BATCH_SECONDS, "--set execution.workers=1")
    with WorkerPool(_Batches(compute), workers, patience) as pool:
        yield lambda ids: _in_order(pool, ids, worker_memory)


def _in_order(pool: WorkerPool, ids: Sequence[str], worker_memory: dict[int | str, int]) -> Iterator[Any]:
    batches = [ids[i : i + _IDS_A_BATCH] for i in range(0, len(ids), _IDS_A_BATCH)]
    for pid, peak, records in pool.map(batches, ahead=len(batches)):
        worker_memory[pid] = max(peak, worker_memory.get(pid, 0))
        yield from records


@dataclass(frozen=True)
class _Batches:
    """`compute`, of a few ids at a time, in a worker process."""

    compute: Compute

    def __call__(self, ids: Sequence[str]) -> _Batch:
        records = list(self.compute(ids))
        return os.getpid(), peak_memory(), records
