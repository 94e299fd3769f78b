"""Per-image stages: compute records shard by shard, in this process or several, resuming at the first missing."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import numpy as np

from data_contracts.errors import WorkerDiedError
from data_contracts.records import RecordWriter
from data_contracts.schemas import Schema
from stages.base import StageContext
from stages.machine import peak_memory

Record = Mapping[str, np.ndarray]
ComputeShard = Callable[[Sequence[str]], Iterable[Record]]
_Batch = tuple[int, int, list[Record]]  # process id and peak resident bytes of the worker, records

_TOO_FEW_FOR_A_POOL = 4
# BLAS libraries read these when they are loaded, before any code of a worker runs
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def write_records(
    context: StageContext,
    schema: Schema,
    image_ids: Sequence[str],
    compute: ComputeShard,
    workers: int = 1,
    shard_size: int | None = None,
) -> RecordWriter:
    """Write one record for each image id, shard by shard; shards already committed are kept.

    Args:
        compute: image ids -> their records, in order. With `workers` > 1 it is pickled to worker processes
            (spawned, one torch thread each), so it must be a top-level callable object; a worker then gets
            small batches of ids, and the parent alone writes. It is sent to each worker once.
        shard_size: images a shard; default execution.shard_images. A stage that is resumed keeps its own.

    Raises:
        SchemaError: a record breaks the schema, or there are not as many as ids.
        WorkerDiedError: a worker process was killed.
    """
    writer = RecordWriter(context.workdir, schema, image_ids, shard_size or context.execution.shard_images)
    missing = writer.missing()
    done = len(image_ids) - sum(len(writer.ids_of(s)) for s in missing)
    if done:
        context.log(f"{done} of {len(image_ids)} images are there already")
    with context.progress.bar(len(image_ids), context.title, "img", initial=done) as bar:

        def counted(records: Iterable[Record]) -> Iterator[Record]:
            for record in records:
                bar.update()
                yield record

        # Decided by the whole list, not by what is missing: a resumed stage then computes each record in the
        # same kind of process, with the same number of threads, as one that was never killed.
        if workers == 1 or len(image_ids) <= _TOO_FEW_FOR_A_POOL:
            for shard in missing:
                writer.write(shard, counted(compute(writer.ids_of(shard))))
        else:
            with _pool(workers, compute) as pool:
                for shard in missing:
                    writer.write(shard, counted(_in_order(pool, context, writer.ids_of(shard))))
    return writer


def _in_order(
    pool: ProcessPoolExecutor, context: StageContext, ids: Sequence[str], batch: int = 4
) -> Iterator[Record]:
    futures: list[Future[_Batch]] = [
        pool.submit(_compute_batch, ids[i : i + batch]) for i in range(0, len(ids), batch)
    ]
    try:
        for future in futures:
            pid, peak, records = future.result()
            context.worker_memory[pid] = max(peak, context.worker_memory.get(pid, 0))
            yield from records
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            f"{context.title}: a worker process was killed, most often because memory ran out; finished shards "
            "are kept. Give the command again with fewer of them: --set execution.workers=1"
        ) from error
    finally:
        for future in futures:
            future.cancel()


_compute: ComputeShard | None = None  # of a worker process: sent once, so that what it opens stays open


def _compute_batch(ids: Sequence[str]) -> _Batch:
    if _compute is None:
        raise RuntimeError("a worker process was not initialised")
    records = list(_compute(ids))
    return os.getpid(), peak_memory(), records


@contextmanager
def _pool(workers: int, compute: ComputeShard) -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    with _environment(_ONE_THREAD), ProcessPoolExecutor(workers, spawn, _start_worker, (compute,)) as pool:
        yield pool


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that processes started inside inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker(compute: ComputeShard) -> None:
    import cv2
    import torch

    global _compute
    _compute = compute
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its workers: they would wait for work, and hold memory, for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
