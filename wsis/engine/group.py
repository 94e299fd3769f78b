"""The group of processes that share a training: the rank of this one, and the exchange of values between them.

A process that is alone is rank 0 of 1, and everything here is then a plain call.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from wsis.engine.threads import arithmetic_threads

T = TypeVar("T")
R = TypeVar("R")
COLLECTIVE_SECONDS = 900.0
"""Longest wait of one process for the others; longer than for a batch, so that a rank can say what it lacks."""


def rank() -> int:
    """Number of this process in its group; 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes the group has; 1 where this one is alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_part(batch: Sequence[T]) -> Sequence[T]:
    """The part of a batch that this process computes. All parts are equally long, so that the mean over the processes
    of their means is the mean of the batch.

    Raises:
        ValueError: the batch cannot be shared equally.
    """
    each, rest = divmod(len(batch), size())
    if rest:
        raise ValueError(f"batch: expected a multiple of {size()} items, got {len(batch)}")
    return batch[rank() * each : (rank() + 1) * each]


def shared_out(items: Sequence[T], compute: Callable[[T], R]) -> list[R]:
    """What `compute` gives for each item, in order. The processes share the items out, and all get all results."""
    own = [compute(item) for item in items[rank() :: size()]]
    if size() == 1:
        return own
    parts: list[Any] = [None] * size()
    distributed.all_gather_object(parts, own)
    return [parts[place % size()][place // size()] for place in range(len(items))]


def of_rank_0(make: Callable[[], R]) -> R:
    """What `make` gives in rank 0, which alone calls it."""
    if size() == 1:
        return make()
    box = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(box, 0)
    return box[0]  # type: ignore[return-value]


@contextmanager
def member(
    store: distributed.Store, number: int, processes: int, device: str, threads: int, gpu: int
) -> Iterator[None]:
    """Inside, this process is rank `number` of a group: gloo on the CPU, nccl on CUDA. After an error the group is left
    to the caller: once it is destroyed the others fail too, and the first error should be known by then.

    Args:
        store: through which they meet.
        gpu: the one that this process uses on CUDA.
    """
    if device == "cuda":
        torch.cuda.set_device(gpu)
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=store,
        rank=number,
        world_size=processes,
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
    )
    with arithmetic_threads(threads):
        yield
    distributed.barrier()  # nobody leaves before rank 0 has written
    distributed.destroy_process_group()
