"""Shards by real Dask workers on loopback: the bytes of one process, from a folder and from an S3 server."""

import logging
import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from distributed.client import AllExit, FutureCancelledError

from data_contracts.errors import ConfigError, DataError, StoreError, StoreFullError
from data_contracts.store import Artefact, Store
from data_contracts.verification import damage_of, stored_artefacts
from tests.dask_processes import DaskProcesses
from tests.engine.toy_stages import DOUBLED, SHARDS, DoubledConfig, ShardConfig
from tests.object_servers import environment, moto, new_store
from wsis.engine import cluster, cluster_work
from wsis.engine.cluster_work import ShardWork, check_worker, versions_of
from wsis.engine.progress import Progress
from wsis.engine.settings import reach
from wsis.engine.stage import Execution, execute
from wsis.errors import ClusterError

TOY = "tests.engine.toy_stages"


class Lines(Progress):
    """Remembers what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


@dataclass(frozen=True)
class Services:
    """A scheduler, two workers with caches of their own, and an S3 server that they all reach."""

    address: str
    endpoint: str


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("cluster")
    with DaskProcesses(folder) as dask, moto(folder) as endpoint:
        for number in range(2):
            dask.start_worker(
                ["--preload", "wsis.engine.cluster_work"],
                {**environment(endpoint), "WSIS_CACHE": str(folder / f"cache{number}")},
            )
        yield Services(dask.address, endpoint)


@pytest.fixture(params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    if request.param == "folder":
        return Store(tmp_path / "store")
    monkeypatch.setenv("WSIS_CACHE", str(tmp_path / "cache"))
    for name, value in environment(services.endpoint).items():
        monkeypatch.setenv(name, value)
    return Store(new_store(services.endpoint))


def make(store: Store, address: str | None, progress: Progress | None = None, **config: Any) -> Artefact:
    execution = Execution(device="cpu", threads=1, workers=1, cluster=address)
    return execute(
        SHARDS, ShardConfig(**config), {}, store, execution=execution, progress=progress or Lines()
    ).artefact


def double(
    store: Store, of: Artefact, address: str | None, progress: Progress | None = None, **more: Any
) -> Artefact:
    execution = Execution(device="cpu", threads=1, workers=1, cluster=address)
    config = DoubledConfig(tolerate=True)
    return execute(
        DOUBLED, config, {"shards": of}, store, execution=execution, progress=progress or Lines(), **more
    ).artefact


def files(artefact: Artefact) -> Any:
    return artefact.manifest.without_places().files


def test_two_workers_give_the_bytes_of_one_process(
    store: Store, services: Services, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wsis")
    said, alone = Lines(), Store(tmp_path / "alone")
    made = make(store, services.address, said, images=100, delay=0.02)
    assert files(made) == files(make(alone, None, images=100))
    assert any(f"13 shards by 2 workers of {services.address}" in line for line in said.lines), said.lines
    # of an input that each worker opens where it sees it; images that fail are listed and named
    doubled, plain = (
        double(store, made, services.address, said),
        double(alone, make(alone, None, images=100), None),
    )
    assert files(doubled) == files(plain) and doubled.manifest.counts == plain.manifest.counts
    failed = plain.manifest.counts["failed"]
    assert failed and all(f"toy_doubled: failed: {one}" in caplog.messages for one in failed)
    assert damage_of(store, list(stored_artefacts(store))) == {}
    private = store.root / "toy_shards" / ".work"
    assert [path.name for path in private.iterdir()] == [f"{made.fingerprint}.lock"]


def test_force_makes_every_shard_again(store: Store, services: Services) -> None:
    made = make(store, services.address, images=40)
    said = Lines()
    first, second = (
        double(store, made, services.address),
        double(store, made, services.address, said, force=True),
    )
    assert first.fingerprint == second.fingerprint and files(first) == files(second)
    assert any("5 shards by" in line for line in said.lines)
    assert double(store, made, None).manifest == second.manifest


def test_bad_data_is_the_workers_error_and_harms_no_other_shard(services: Services, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(RuntimeError, match="cannot read img077"):
        make(store, services.address, images=80, delay=0.01, fail_at="img077")
    made = make(store, services.address, images=80)
    assert files(made) == files(make(Store(tmp_path / "alone"), None, images=80))


# -- what cannot work: one line each --------------------------------------------------------------------------------
def test_no_scheduler(tmp_path: Path) -> None:
    with pytest.raises(
        ClusterError, match=r"expected a Dask scheduler at tcp://127.0.0.1:9, got none: .*refused.*null$"
    ):
        make(Store(tmp_path), "tcp://127.0.0.1:9")


def test_what_listens_is_no_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsis.engine.settings.CONNECT_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"scheduler at {address}, got none: timed out; start one"):
            make(Store(tmp_path), address)
        silent.accept()[0].close()
        other = Thread(target=_greet, args=(silent,))
        other.start()
        with pytest.raises(ClusterError, match="got none: what listens there is something else"):
            make(Store(tmp_path), address)
        other.join()


def _greet(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.sendall(b"220 mail")


def test_a_store_that_the_workers_do_not_see(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="does not see the store 'memory://here': expected toy_shards/"):
        make(Store("memory://here"), services.address)


def test_no_worker_that_could(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: Services) -> None:
    monkeypatch.setattr(cluster, "_WORKERS_SECONDS", 6.0)
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 2.0)
    monkeypatch.setattr("wsis.engine.stage.Stage.on_gpu", lambda *_: True)
    with pytest.raises(
        ClusterError, match=r"expected a worker with --resources GPU=1 .* within 6 s, got 2 without it"
    ):
        make(Store(tmp_path), services.address)


def test_a_worker_with_other_code(tmp_path: Path) -> None:
    with DaskProcesses(tmp_path) as dask:
        dask.start_worker(environment={"TOY_VERSION": "2"})
        with pytest.raises(ConfigError, match=rf"worker tcp://\S+ on \S+: expected {TOY} 1 \(got 2\)$"):
            make(Store(tmp_path / "store"), dask.address)


def test_versions_and_threads_of_a_worker() -> None:
    here = versions_of(TOY)
    assert {"wsis", "numpy", "torch", "python", TOY} <= set(here)
    work = ShardWork("store", "base", b"", None, b"", "", TOY, {**here, "torch": "9.0", "numpy": "0.1"})  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=rf"w1: expected torch 9.0 \(got {here['torch']}\), numpy 0.1 \(got"
    ):
        check_worker(work, "w1", 1)
    work = ShardWork("store", "base", b"", None, b"", "", TOY, here)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"expected one thread a worker, .* got 4; start it with --nthreads 1 and --nw"
    ):
        check_worker(work, "w1", 4)


def test_trouble_of_one_machine_with_the_store_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SimpleNamespace(
        address="tcp://w1:1", state=SimpleNamespace(nthreads=1), local_directory=str(Path.cwd())
    )
    monkeypatch.setattr("distributed.get_worker", lambda: worker)
    work = ShardWork("store", "base", b"", None, b"", "", TOY, versions_of(TOY))  # type: ignore[arg-type]

    def refuse(error: Exception) -> Any:
        def raises(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(cluster_work, "_made", raises)
        return cluster_work.make_shard(pickle.dumps(work), 0, [])

    with pytest.raises(StoreError, match=r"^worker tcp://w1:1 on \S+: /store: Read-only file system$"):
        refuse(StoreError("/store: Read-only file system"))
    full = refuse(StoreFullError("no space")).error
    assert type(full) is StoreFullError and str(full).startswith("worker tcp://w1:1 on ")
    assert str(refuse(DataError("a.jpg: no image")).error) == "a.jpg: no image"


def test_tls_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask itself would take a minute, and end in a traceback of its insides."""
    said = (
        r"expected certificates because it is 'tls://127.0.0.1:9', .*DASK_DISTRIBUTED__COMM__TLS__CA_FILE, .*"
    )
    with pytest.raises(ConfigError, match=f"{said}got none$"):
        reach("tls://127.0.0.1:9")
    with (
        dask.config.set(
            {"distributed.comm.tls.ca-file": "/none", "distributed.comm.tls.client.cert": "/none"}
        ),
        pytest.raises(ConfigError, match=rf"{said}got .*No such file"),
    ):
        reach("tls://127.0.0.1:9")


def test_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for good in ("tcp://host:8786", "tls://10.0.0.1:1", "tcp://[::1]:8786"):
        assert Execution(cluster=good).cluster == good
    for bad in (
        "host:8786",
        "tcp://host",
        "tcp://:1",
        "http://host:1",
        "",
        "tcp://a b:1",
        "tcp://host:8786/x",
    ):
        with pytest.raises(ValueError, match="expected tcp://HOST:PORT"):
            Execution(cluster=bad)
    monkeypatch.setattr("wsis.engine.settings.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"expected the package distributed .*pip install 'wsis\[cluster\]'"
    ):
        Execution(device="cpu", cluster="tcp://host:1").check()


def test_the_scheduler_imports_nothing_heavy() -> None:
    """It unpickles what it is sent, and stands still meanwhile."""
    code = "import sys, wsis.engine.cluster_entry; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert os.spawnv(os.P_WAIT, os.sys.executable, [os.sys.executable, "-c", code]) == 0
    assert cluster_work.make_shard


def test_shards_that_nobody_waits_for_end_without_a_word() -> None:
    said: list[dict[str, Any]] = []
    loop = SimpleNamespace(default_exception_handler=said.append)
    for error in (AllExit(), FutureCancelledError("key", "lost"), ValueError("of somebody")):
        cluster._heard(loop, {"exception": error})
    assert [type(one["exception"]) for one in said] == [ValueError]


class LateAnswer:
    """A future whose worker died after it had made the shard, until another has made it again."""

    key = ("bench-shard", 3)

    def __init__(self, times: int) -> None:
        self.times = times

    def exception(self, timeout: float) -> None:
        return None

    def result(self, timeout: float) -> str:
        self.times -= 1
        if self.times >= 0:
            raise TimeoutError(f"timed out after {timeout} s.")
        return "made"


def test_an_answer_that_is_lost_with_its_worker_is_waited_for() -> None:
    """It was taken for a scheduler that does not answer, and ended the run."""
    of_cluster = SimpleNamespace(address="tcp://nowhere:1")
    one, future = cluster._Round(None, of_cluster, None, None, None), LateAnswer(2)  # type: ignore[arg-type]
    assert [one._result(future) for _ in range(3)] == [None, None, "made"]


def test_a_shard_whose_answer_is_lost_is_taken_when_it_comes_again(
    services: DaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, result = set[int](), cluster._Round._result

    def once_lost(self: Any, future: Any) -> Any:
        if future.key[1] in lost:
            return result(self, future)
        lost.add(future.key[1])
        return None

    monkeypatch.setattr(cluster._Round, "_result", once_lost)
    make(Store(tmp_path), services.address)
    assert len(lost) > 1
