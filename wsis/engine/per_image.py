"""Per-image stages: compute records shard by shard, in this process or several, resuming at the first missing.

An image may fail without taking its shard along (`tolerate`): its record is then empty, `failed-<shard>.json`
says why, and `read_failures` gives all of them.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from data_contracts.records import RecordWriter
from data_contracts.schemas import Schema
from wsis.engine.image_records import (
    Compute,
    ComputeShard,
    Failure,
    Record,
    Tolerant,
    empty_record,
    read_failures,
    without_failures,
)
from wsis.engine.machine import peak_memory
from wsis.engine.progress import Bar
from wsis.engine.stage import StageContext
from wsis.engine.worker_processes import Patience, WorkerPool

__all__ = [
    "Compute",
    "Failure",
    "Record",
    "Tolerant",
    "computing",
    "empty_record",
    "read_failures",
    "write_records",
]

_Batch = tuple[int, int, list[Any]]  # process id and peak resident bytes of the worker, records

_TOO_FEW_FOR_A_POOL = 4
_IDS_A_BATCH = 4
_BATCH_SECONDS = 3600.0  # an image takes seconds; the largest of the paper's method on a busy machine minutes


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
