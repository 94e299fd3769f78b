"""Per-image stages: compute records shard by shard, in this process or several, resuming at the first missing."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import numpy as np

from data_contracts.records import SHARD_SIZE, RecordWriter
from data_contracts.schemas import Schema
from stages.base import StageContext

Record = Mapping[str, np.ndarray]
ComputeShard = Callable[[Sequence[str]], Iterable[Record]]


def write_records(
    context: StageContext,
    schema: Schema,
    image_ids: Sequence[str],
    compute: ComputeShard,
    workers: int = 1,
    shard_size: int = SHARD_SIZE,
) -> RecordWriter:
    """Write one record for each image id, shard by shard; shards already committed are kept.

    Args:
        compute: image ids -> their records, in order. With `workers` > 1 it is pickled to worker processes
            (spawned, one torch thread each), so it must be a top-level callable object; a worker then gets
            small batches of ids, and the parent alone writes.
        shard_size: images a shard.
    """
    writer = RecordWriter(context.workdir, schema, image_ids, shard_size)
    missing = writer.missing()
    done = len(image_ids) - sum(len(writer.ids_of(s)) for s in missing)
    if done:
        context.log(f"{done} of {len(image_ids)} images are there already")
    with context.progress.bar(len(image_ids), context.title, "img", initial=done) as bar:

        def counted(records: Iterable[Record]) -> Iterator[Record]:
            for record in records:
                bar.update()
                yield record

        if workers == 1 or len(image_ids) - done <= 4:
            for shard in missing:
                writer.write(shard, counted(compute(writer.ids_of(shard))))
        else:
            with _pool(workers) as pool:
                for shard in missing:
                    writer.write(shard, counted(_in_order(pool, compute, writer.ids_of(shard), workers)))
    return writer


def _in_order(
    pool: ProcessPoolExecutor, compute: ComputeShard, ids: Sequence[str], workers: int, batch: int = 4
) -> Iterator[Record]:
    futures: list[Future[list[Record]]] = [
        pool.submit(_compute_batch, compute, ids[i : i + batch]) for i in range(0, len(ids), batch)
    ]
    try:
        for future in futures:
            yield from future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        wait([f for f in futures if f.running()], timeout=0, return_when=FIRST_COMPLETED)
        raise


def _compute_batch(compute: ComputeShard, ids: Sequence[str]) -> list[Record]:
    return list(compute(ids))


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_single_thread
    )


def _single_thread() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
