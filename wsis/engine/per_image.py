"""Per-image stages: compute records shard by shard, in this process or several, resuming at the first missing.

An image may fail without taking its shard along (`tolerate`): its record is then empty, `failed-<shard>.json`
says why, and `read_failures` gives all of them.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from data_contracts.records import RecordWriter
from data_contracts.schemas import Schema
from wsis.engine.device import ordered_sums, peak_gpu_memory, processes_on, turns_of_gpus
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

_LOGGER = logging.getLogger("wsis.engine.per_image")

__all__ = [
    "Compute",
    "Failure",
    "Pool",
    "Record",
    "Tolerant",
    "computing",
    "empty_record",
    "read_failures",
    "write_records",
]

_Batch = tuple[int, int, int, list[Any]]  # process id, peak bytes of memory and of a GPU, records
_CPU = torch.device("cpu")

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
    device: torch.device = _CPU,
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
        device: that `compute` works on. Several processes share a GPU as far as its memory goes, and all GPUs where
            none is named by its number: an image takes most of its time on the host.

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
    pool = Pool(workers, len(image_ids), context.title, device, context.execution.deterministic)
    with context.progress.bar(len(image_ids), context.title, "img", initial=done) as bar:
        if context.cluster is None or len(image_ids) <= _TOO_FEW_FOR_A_POOL:
            _write_here(context, writer, missing, chosen, pool, bar)
        elif missing:
            from wsis.engine.cluster import write_on_cluster  # distributed is optional

            write_on_cluster(context, context.cluster, writer, chosen, bar)
    return writer


def _write_here(
    context: StageContext,
    writer: RecordWriter,
    missing: Sequence[int],
    compute: ComputeShard,
    pool: "Pool",
    bar: Bar,
) -> None:
    def counted(records: Iterable[Any]) -> Iterator[Any]:
        for record in records:
            if isinstance(record, Failure):
                # whoever asked for the stage lists them at the end
                _LOGGER.debug("%s: failed: %s", context.title, record.message)
            bar.update()
            yield record

    with computing(compute, pool, context.worker_memory, context.counts) as compute_in_order:
        for shard in missing:
            if writer.take(shard):
                bar.update(len(writer.ids_of(shard)))
                continue
            records = counted(compute_in_order(writer.ids_of(shard)))
            writer.write(shard, without_failures(records, context.workdir, writer.schema, shard))


@dataclass(frozen=True)
class Pool:
    """Worker processes for images.

    Attributes:
        workers: how many at most.
        total: images of all shards; with a few of them there are no workers. Not of what is missing: a resumed stage
            computes each record in the same kind of process, with the same number of threads, as one that was never
            killed.
        title: for messages.
        device, deterministic: that they compute on, and whether with `ordered_sums`.
    """

    workers: int
    total: int
    title: str
    device: torch.device = _CPU
    deterministic: bool = False


@contextmanager
def computing(
    compute: Compute, pool: Pool, worker_memory: dict[int | str, int], counts: dict[str, Any]
) -> Iterator[Compute]:
    """`compute` as a function that spreads the ids it is given over worker processes and keeps their order.

    Args:
        compute: see `write_records`; without workers it runs in this process.
        worker_memory: is filled with process id -> peak resident bytes.
        counts: get `peak_gpu_bytes` of all workers together, where they used a GPU.

    Raises:
        WorkerDiedError: a worker process was killed. WorkerStuckError: it gives nothing.
        WorkerStartError: the system has no room for worker processes.
    """
    few = pool.workers == 1 or pool.total <= _TOO_FEW_FOR_A_POOL
    workers = 1 if few else processes_on(pool.device, pool.workers, pool.total)
    if workers == 1:
        yield compute
        return
    patience = Patience(pool.title, _BATCH_SECONDS, "--set execution.workers=1")
    batches = _Batches(compute, str(pool.device), pool.deterministic)
    gpu_memory: dict[int, int] = {}
    with WorkerPool(batches, workers, patience, turns_of_gpus(pool.device)) as processes:
        yield lambda ids: _in_order(processes, ids, worker_memory, gpu_memory)
    if taken := sum(gpu_memory.values()):
        counts["peak_gpu_bytes"] = taken


def _in_order(
    processes: WorkerPool,
    ids: Sequence[str],
    worker_memory: dict[int | str, int],
    gpu_memory: dict[int, int],
) -> Iterator[Any]:
    batches = [ids[i : i + _IDS_A_BATCH] for i in range(0, len(ids), _IDS_A_BATCH)]
    for pid, peak, on_gpu, records in processes.map(batches, ahead=len(batches)):
        worker_memory[pid] = max(peak, worker_memory.get(pid, 0))
        gpu_memory[pid] = on_gpu
        yield from records


@dataclass(frozen=True)
class _Batches:
    """`compute`, of a few ids at a time, in a worker process."""

    compute: Compute
    device: str
    deterministic: bool

    def __call__(self, ids: Sequence[str]) -> _Batch:
        with ordered_sums(torch.device(self.device), self.deterministic):
            records = list(self.compute(ids))
        return os.getpid(), peak_memory(), peak_gpu_memory(), records
