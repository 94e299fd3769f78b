"""Shards made by the workers of a Dask cluster, driven from the stage that they belong to.

The scheduler may lose, repeat or double work: a shard counts once its record is in the store, and this process takes
it from there. What is waited for is looked at every few seconds, so that nothing is waited for without end.
"""

import logging
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import distributed
from distributed.client import AllExit, FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from data_contracts.errors import ConfigError, StoreError
from data_contracts.printable import one_line
from data_contracts.records import RecordWriter
from wsis.engine.cluster_entry import kept, make_shard
from wsis.engine.cluster_work import Made, Refused, ShardWork, packed, versions_of
from wsis.engine.image_records import ComputeShard
from wsis.engine.progress import Bar
from wsis.engine.settings import CONNECT_SECONDS, WITHOUT_CLUSTER, reach
from wsis.engine.stage_context import Cluster, StageContext
from wsis.errors import ClusterError, WorkerDiedError, WorkerStuckError

_LOGGER = logging.getLogger("wsis.engine.cluster")
_ANSWER_SECONDS = 60.0  # for the scheduler to say who its workers are
_GATHER_SECONDS = 10.0  # for an answer of some bytes
_LOOK_SECONDS = 5.0
_POLL_SECONDS = 0.05
_WORKERS_SECONDS = 300.0  # without a single worker that could do the work
_SHARD_SECONDS = 4 * 3600.0  # without a single shard: 64 of the largest images on a busy machine
_SAY_SECONDS = 60.0
_RETRIES = 2  # of a shard whose error may pass; the scheduler counts workers that die with it on its own
_ROUNDS = 3  # of shards that were made and are then not there, or damaged
_LATE_SECONDS = (0.0, 0.1, 0.5, 2.0, 10.0, 30.0)  # a network folder may show late what a worker has written
_AGAIN = f"what is committed is kept; give the command again, or {WITHOUT_CLUSTER}"


def write_on_cluster(
    context: StageContext, cluster: Cluster, writer: RecordWriter, compute: ComputeShard, bar: Bar
) -> None:
    """Have all shards that a writer lacks, each made by a worker and taken from the store.

    Raises:
        ClusterError: the scheduler cannot be reached, was lost or does not answer, or has no workers for a while.
        WorkerDiedError: one worker after the other died with the same shard. WorkerStuckError: no shard for hours.
        ConfigError: a worker has other versions or does not see the store. StoreError: shards are damaged each time.
        Exception: whatever `compute` raises.
    """
    shared = context.shared
    if shared is None:
        raise RuntimeError("a stage on a cluster commits its shards where others do")
    work = ShardWork(
        store=cluster.store.address,
        base=shared.base,
        plan=shared.plan() or b"",
        schema=writer.schema,
        compute=packed(compute, cluster.store),
        token=uuid4().hex,
        stage_module=cluster.stage_module,
        versions=versions_of(cluster.stage_module),
    )
    with _client(cluster.address) as client:
        for _ in range(_ROUNDS):
            if not (missing := writer.missing()):
                return
            _Round(context, cluster, writer, bar, client).make(work, missing)
    if missing := writer.missing():
        raise StoreError(
            f"{context.title}: {len(missing)} shards were made {_ROUNDS} times and are missing or damaged in "
            f"{work.store}, the first {missing[0]}"
        )


@contextmanager
def _client(address: str) -> Iterator[Any]:
    reach(address)
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # what is lost is said once, by the error
    client = None
    try:
        with _lost_named(address):
            client = _connected(address)
        client.loop.asyncio_loop.set_exception_handler(_heard)
        yield client
    finally:
        if client is not None:
            client.close(timeout=CONNECT_SECONDS)  # the scheduler forgets what nobody waits for
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _heard(loop: Any, context: dict[str, Any]) -> None:
    """Shards that nobody waits for any more end with the client: no error of anybody."""
    if not isinstance(context.get("exception"), AllExit | FutureCancelledError):
        loop.default_exception_handler(context)


def _connected(address: str) -> Any:
    """A client. Dask waits without end for a handshake that nobody answers: that is left to a thread."""
    made: Future[Any] = Future()

    def connect() -> None:
        try:
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except Exception as error:
            if made.set_running_or_notify_cancel():
                made.set_exception(error)
            return
        if not made.set_running_or_notify_cancel():  # nobody waits any more
            client.close()
            return
        made.set_result(client)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return made.result(2 * CONNECT_SECONDS)
    except TimeoutError:
        made.cancel()
        raise


@contextmanager
def _lost_named(address: str) -> Iterator[None]:
    """What Dask raises where it has no scheduler (any more), as one line."""
    try:
        yield
    except TimeoutError as error:
        raise ClusterError(
            f"execution.cluster: the scheduler at {address} does not answer: {_line(error)}; {_AGAIN}"
        ) from error
    except (OSError, FutureCancelledError, RuntimeError) as error:  # of a closed client: RuntimeError
        raise ClusterError(
            f"execution.cluster: the scheduler at {address} was lost: {_line(error)}; {_AGAIN}"
        ) from error


@dataclass
class _Round:
    """Some shards, sent at once and taken as they come."""

    context: StageContext
    cluster: Cluster
    writer: RecordWriter
    bar: Bar
    client: Any
    _last: float = field(default_factory=time.monotonic)  # when a shard came
    _without: float = 0.0  # seconds without a worker
    _say_at: float = _SAY_SECONDS
    _makers: set[str] = field(default_factory=set)

    def make(self, work: ShardWork, shards: Sequence[int]) -> None:
        """All of them, each with a record in the store when this returns."""
        name = f"{self.context.title}-{uuid4().hex}"
        with _lost_named(self.cluster.address):
            sent = self.client.submit(kept, pickle.dumps(work), key=f"{name}-work", pure=False)
            futures = self.client.map(
                make_shard,
                [sent] * len(shards),
                shards,
                [self.writer.ids_of(shard) for shard in shards],
                key=[(f"{name}-shard", shard) for shard in shards],
                pure=False,
                retries=_RETRIES,
                resources=self.cluster.resources or None,
            )
        self._look()
        finished = distributed.as_completed(futures, loop=self.client.loop)
        looked = time.monotonic()
        while not finished.is_empty():
            if time.monotonic() - looked > _LOOK_SECONDS:
                self._look()
                looked = time.monotonic()
            if not finished.has_ready():
                time.sleep(_POLL_SECONDS)
            for future in finished.next_batch(block=False):
                if (made := self._result(future)) is None:
                    finished.add(future)
                    continue
                self._take(future.key[1], made)
                self._last = time.monotonic()
        self.context.log(f"{len(shards)} shards by {len(self._makers)} workers of {self.cluster.address}")

    def _result(self, future: Any) -> Made | None:
        """What a worker has answered; None where the answer is lost with the worker, and Dask has another make the
        shard again: `_look` says whether there is one."""
        with _lost_named(self.cluster.address):
            try:
                error = future.exception(timeout=_GATHER_SECONDS)
                found = None if error is not None else future.result(timeout=_GATHER_SECONDS)
            except TimeoutError:
                return None
        if isinstance(error, KilledWorker):
            raise WorkerDiedError(
                f"{self.context.title}: shard {future.key[1]} was on one worker after the other that died, most often "
                f"because memory ran out, or because it cannot load wsis: its log says (the last: "
                f"{error.last_worker.address}); {_AGAIN}"
            ) from error
        if isinstance(error, ImportError | AttributeError):  # before any of our code could look at versions
            raise ConfigError(
                f"execution.cluster: a worker cannot load what this machine sends ({_line(error)}): expected the same "
                "versions of wsis and distributed in every environment"
            ) from error
        if error is not None:
            raise error
        if isinstance(found, Refused):
            raise found.error
        return cast(Made, found)

    def _take(self, shard: int, made: Made) -> None:
        context = self.context
        self._makers.add(made.worker)
        context.cluster_cpu_seconds += made.cpu_seconds
        context.worker_memory[made.worker] = max(made.peak_memory, context.worker_memory.get(made.worker, 0))
        for message in made.failures.values():
            _LOGGER.debug("%s: failed: %s", context.title, message)  # whoever asked for the stage lists them
        for seconds in _LATE_SECONDS:
            time.sleep(seconds)
            if self.writer.take(shard):
                self.bar.update(len(self.writer.ids_of(shard)))
                return

    def _look(self) -> None:
        """Raise where waiting is of no use any more; say where it is long."""
        now, address = time.monotonic(), self.cluster.address
        with _lost_named(address):
            identity = self.client.scheduler.identity
            workers = self.client.sync(identity, n_workers=-1, callback_timeout=_ANSWER_SECONDS)["workers"]
        wanted = self.cluster.resources
        able = [w for w in workers.values() if all(w["resources"].get(n, 0) >= v for n, v in wanted.items())]
        self._without = 0.0 if able else self._without + _LOOK_SECONDS
        named = " ".join(f"{name}={value:.0f}" for name, value in wanted.items())
        what = f"a worker with --resources {named}" if wanted else "a worker"
        if self._without >= _WORKERS_SECONDS:
            raise ClusterError(
                f"execution.cluster: expected {what} at {address} within {_WORKERS_SECONDS:.0f} s, got "
                f"{f'{len(workers)} without it' if workers else 'none'}; {_AGAIN}"
            )
        if now - self._last >= _SHARD_SECONDS:
            raise WorkerStuckError(
                f"{self.context.title}: {len(able)} workers at {address} gave no shard within {_SHARD_SECONDS:.0f} s; "
                f"{_AGAIN}, or with fewer images a shard: --set execution.shard_images=8"
            )
        if self._without >= self._say_at:
            self.context.log(f"waits since {self._without:.0f} s for a worker at {address}")
            self._say_at *= 2


def _line(error: BaseException) -> str:
    if isinstance(error, FutureCancelledError | CommClosedError):  # whichever of its threads sees it first
        return "its connection ended"
    return one_line(error) or type(error).__name__
