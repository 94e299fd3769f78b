"""What the scheduler of a cluster sees of the work: functions of bytes, whose modules it can import in no time.

It unpickles every task that it is given; with torch and all else behind it, it would stand still for as long as they
take to be imported.
"""

from collections.abc import Sequence
from typing import Any


def kept(work: bytes) -> bytes:
    """A task whose result is the work, so that the scheduler can make it again where it was lost with a worker."""
    return work


def make_shard(work: bytes, shard: int, ids: Sequence[str]) -> Any:
    """See :func:`wsis.engine.cluster_work.make_shard`."""
    from wsis.engine import cluster_work

    return cluster_work.make_shard(work, shard, ids)
