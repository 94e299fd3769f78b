"""What a worker of a cluster does: make one shard of a stage and commit it to the store.

Nothing here depends on who asks, how often, or whether anybody waits: the first shard that is made is recorded, every
other one is dropped. What the stage computes with is sent once to each worker; artefacts go by name, and the worker
opens them in the store as it sees it.
"""

import io
import pickle
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_contracts.errors import ConfigError, StoreError, StoreFullError
from data_contracts.record_shards import write_shard
from data_contracts.schemas import Schema
from data_contracts.shards import SharedShards
from data_contracts.store import Store
from wsis.engine.image_records import ComputeShard, read_failures, without_failures
from wsis.engine.machine import environment, peak_memory
from wsis.engine.passing import may_pass
from wsis.engine.threads import arithmetic_threads
from wsis.engine.told_errors import sendable

if "distributed" in sys.modules:  # preloaded by `dask worker`, before that starts its clocks
    import dask

    # it looks at its stack every 10 ms and at its loop every 20, which is most of what a worker costs that waits
    dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "500ms"})

# a network folder may show late what another machine has just written
_LATE_SECONDS = (0.0, 0.5, 2.0, 5.0, 15.0)


@dataclass(frozen=True)
class ShardWork:
    """All that is needed to make any shard of a stage.

    Attributes:
        store: location of the store; shards are committed below the key `base` there.
        plan: what the stage has written there, so that a worker can tell whether it sees the same store.
        compute: packed by `packed`; `token` is of this execution of the stage: of another one the same paths may hold
            other weights.
        versions: of what decides the result, by `versions_of` where the stage is run.
    """

    store: str
    base: str
    plan: bytes
    schema: Schema
    compute: bytes
    token: str
    stage_module: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Made:
    """A shard is in the store.

    Attributes:
        worker: who answers.
        cpu_seconds, peak_memory: of the process of the worker; 0 seconds where the shard was there already.
        failures: image id -> message.
    """

    worker: str
    cpu_seconds: float
    peak_memory: int
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Refused:
    """An error that another try would meet again."""

    error: Exception


def versions_of(stage_module: str) -> dict[str, str]:
    """Versions of what decides the bytes of a record, without the labels of builds."""
    libraries = {n: v for n, v in environment().items() if n not in ("python", "machine", "processor")}
    return {
        "wsis": metadata.version("wsis"),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        **{name: version.partition("+")[0] for name, version in libraries.items()},
        stage_module: str(getattr(import_module(stage_module), "ALGORITHM_VERSION", "none")),
    }


def make_shard(work: bytes, shard: int, ids: Sequence[str]) -> Made | Refused:
    """Called in a worker, with a `ShardWork` as bytes.

    Raises:
        Exception: what may pass (`may_pass`); the scheduler tries again.
    """
    from distributed import get_worker

    worker = get_worker()
    name = f"worker {worker.address} on {socket.gethostname()}"
    try:
        known: ShardWork = pickle.loads(work)
        check_worker(known, name, worker.state.nthreads)
        return _made(known, shard, ids, name, worker.local_directory)
    except Exception as error:
        error = _placed(error, name)
        if may_pass(error):
            raise error
        return Refused(sendable(error, "the worker"))


def check_worker(work: ShardWork, name: str, threads: int) -> None:
    """Refuse a worker whose shards would be others, or would get into one another's way.

    Raises:
        ConfigError: in one line.
    """
    here = versions_of(work.stage_module)
    if other := [
        f"{n} {v} (got {here.get(n, 'none')})" for n, v in work.versions.items() if here.get(n) != v
    ]:
        raise ConfigError(f"execution.cluster: {name}: expected {', '.join(other)}")
    if threads != 1:
        raise ConfigError(
            f"execution.cluster: {name}: expected one thread a worker, because networks share what threads cannot, got "
            f"{threads}; start it with --nthreads 1 and --nworkers {threads}"
        )


def _made(work: ShardWork, shard: int, ids: Sequence[str], name: str, scratch: str) -> Made:
    store = _store(work.store)
    shared = store.shards_below(work.base)
    _check_seen(shared, work, name)
    if shared.has(shard):
        return Made(name, 0.0, peak_memory(), {})
    began = time.process_time()
    with TemporaryDirectory(dir=scratch) as folder, arithmetic_threads(1):
        root = Path(folder)
        records = _unpacked(work.store, work.compute, work.token)(ids)
        write_shard(root, work.schema, shard, ids, without_failures(records, root, work.schema, shard))
        failures = read_failures(root)
        shared.publish(root, shard)
    return Made(name, time.process_time() - began, peak_memory(), failures)


def _check_seen(shared: SharedShards, work: ShardWork, name: str) -> None:
    for seconds in _LATE_SECONDS:
        time.sleep(seconds)
        if shared.plan() == work.plan:
            return
    raise ConfigError(
        f"execution.cluster: {name} does not see the store {work.store!r}: expected {work.base} there, which this run "
        "has just written; give --store a folder that all machines share under one path, or a URL such as s3://"
    )


def _placed(error: Exception, name: str) -> Exception:
    """What is wrong with the store as one machine sees it, such as its disk or credentials, with its name."""
    return type(error)(f"{name}: {error}") if type(error) in (StoreError, StoreFullError) else error


# -- what is computed with, on its way ----------------------------------------------------------------------------


def packed(compute: ComputeShard, store: Store) -> bytes:
    """`compute` as bytes, in which paths of the store's artefacts are names of artefacts."""
    stream = io.BytesIO()
    _Packer(stream, store.root).dump(compute)
    return stream.getvalue()


class _Packer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, root: Path) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._root = root

    def persistent_id(self, value: Any) -> tuple[str, ...] | None:
        """Stage, fingerprint and the rest of a path below the store."""
        inside = isinstance(value, Path) and value.is_relative_to(self._root)
        return value.relative_to(self._root).parts if inside else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, data: bytes, store: Store) -> None:
        super().__init__(io.BytesIO(data))
        self._store = store

    def persistent_load(self, parts: Any) -> Path:
        """The path where this machine has the artefact. Behind a URL it is fetched, and hashed; in a folder the stage
        has hashed it."""
        stage, fingerprint, *rest = parts
        artefact = self._store.open(stage, fingerprint, verify=self._store.remote is not None)
        return artefact.path.joinpath(*rest)


@lru_cache(maxsize=4)
def _store(location: str) -> Store:
    return Store(location)


@lru_cache(maxsize=2)  # networks that were built stay, for two runs on one cluster
def _unpacked(location: str, data: bytes, token: str) -> ComputeShard:
    compute: ComputeShard = _Unpacker(data, _store(location)).load()
    return compute
