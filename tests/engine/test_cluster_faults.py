"""A stage on a cluster whose parts die: the same bytes, nothing twice, nothing waited for without end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_contracts.store import Store
from data_contracts.verification import damage_of, stored_artefacts
from tests.dask_processes import ROOT, DaskProcesses, stop

IMAGES, DELAY = 120, 0.05  # 15 shards of 0.4 s
PRELOAD = ("--preload", "wsis.engine.cluster_work")
_MAIN = (
    "from tests.engine.toy_stages import main; main()"  # not as __main__, which is another module elsewhere
)
_SECONDS = 400.0


class Coordinator:
    """A stage on a cluster, in a process of its own."""

    def __init__(self, store: Path, address: str | None, log: Path) -> None:
        self.log, self.store = log, store
        execution = {"workers": 1, "device": "cpu", "cluster": address}
        config = {"images": IMAGES, "delay": DELAY if address else 0.0, "execution": execution}
        command = [sys.executable, "-c", _MAIN, str(store), "shards", json.dumps(config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with log.open("ab") as stream:
            self.popen = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, cwd=ROOT)

    def shards(self) -> int:
        """How many are committed."""
        private = self.store / "toy_shards" / ".work"
        return len({path.name for path in private.glob("*.shards/shards/0*.json")})

    def wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + _SECONDS
        while not condition():
            assert self.popen.poll() is None, f"it has ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < until, f"waited in vain:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def end(self) -> int:
        """Its exit code."""
        return self.popen.wait(_SECONDS)


@pytest.fixture
def started() -> Iterator[list[Coordinator]]:
    """Coordinators, which end with the test."""
    found: list[Coordinator] = []
    yield found
    for one in found:
        one.popen.kill()
        one.popen.wait()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files of the artefact that one process makes."""
    folder = tmp_path_factory.mktemp("plain")
    one = Coordinator(folder / "store", None, folder / "log")
    assert one.end() == 0, one.log.read_text()
    return files(folder / "store")


def files(store: Path) -> Any:
    opened = Store(store)
    (pair,) = stored_artefacts(opened)
    assert damage_of(opened, [pair]) == {}
    return opened.open(*pair).manifest.files


def assert_whole(one: Coordinator, plain: Any) -> None:
    assert one.end() == 0, one.log.read_text()[-3000:]
    assert files(one.store) == plain
    names = [p.name for p in (one.store / "toy_shards").iterdir() if p.name != ".work"]
    assert len(names) == 1, names
    left = {p.suffix for p in (one.store / "toy_shards" / ".work").iterdir()}
    assert left <= {".lock", ".shards"}, left  # the latter: of a worker that was late


def test_a_worker_killed_and_the_scheduler_killed(
    tmp_path: Path, plain: Any, started: list[Coordinator]
) -> None:
    with DaskProcesses(tmp_path) as dask:
        port = int(dask.address.rpartition(":")[2])
        for _ in range(2):
            dask.start_worker(PRELOAD)
        one = Coordinator(tmp_path / "store", dask.address, tmp_path / "log")
        started.append(one)
        one.wait_for(lambda: one.shards() >= 2)
        dask.workers[0].kill()
        one.wait_for(lambda: one.shards() >= 5)
        dask.scheduler.kill()
        began = time.monotonic()
        assert one.end() == 1 and time.monotonic() - began < 90
        lines = one.log.read_text().splitlines()
        lost = f"ClusterError: execution.cluster: the scheduler at {dask.address} was lost: its connection ended;"
        assert lost in lines[-1], lines[-3:]
        there = one.shards()
        dask.workers[1].kill()
        dask.scheduler.wait()
        dask.start_scheduler(port)
        dask.start_worker(PRELOAD)
        again = Coordinator(tmp_path / "store", dask.address, tmp_path / "log2")
        started.append(again)
        assert_whole(again, plain)
        said = again.log.read_text()
        assert there >= 5 and f"{8 * there} of {IMAGES} images are there already" in said, said


@pytest.mark.slow
def test_workers_killed_at_many_moments(tmp_path: Path, plain: Any, started: list[Coordinator]) -> None:
    """Twenty at least, drawn: while they start, read, compute, write, or have nothing to do."""
    draw, killed, run = random.Random(0), 0, 0
    with DaskProcesses(tmp_path) as dask:
        living = [dask.start_worker(PRELOAD) for _ in range(2)]
        while killed < 20:
            run += 1
            one = Coordinator(tmp_path / f"store{run}", dask.address, tmp_path / f"log{run}")
            started.append(one)
            one.wait_for(lambda one=one: one.shards() >= 1)
            while one.popen.poll() is None and killed < 20:
                time.sleep(draw.uniform(0.0, 3.0))
                place = draw.randrange(2)
                living[place].send_signal(signal.SIGKILL)
                living[place].wait()
                killed += 1
                living[place] = dask.start_worker(PRELOAD)
            assert_whole(one, plain)


@pytest.mark.slow
def test_a_worker_stopped_past_every_time_out_and_let_go_on(
    tmp_path: Path, plain: Any, started: list[Coordinator]
) -> None:
    with DaskProcesses(tmp_path, worker_ttl=15) as dask:
        first, second = dask.start_worker(PRELOAD), dask.start_worker(PRELOAD)
        one = Coordinator(tmp_path / "store", dask.address, tmp_path / "log")
        started.append(one)
        one.wait_for(lambda: one.shards() >= 4)
        stop(first)
        assert_whole(one, plain)  # the other one has made what the first had begun
        assert first.poll() is None
        first.send_signal(signal.SIGCONT)
        two = Coordinator(tmp_path / "store", dask.address, tmp_path / "log")
        started.append(two)
        assert_whole(two, plain)
        time.sleep(2 * 8 * DELAY)  # it ends the shard that it was at
        assert files(one.store) == plain
        assert second.poll() is None


@pytest.mark.slow
def test_two_coordinators_of_one_run_of_which_the_first_dies(
    tmp_path: Path, plain: Any, started: list[Coordinator]
) -> None:
    with DaskProcesses(tmp_path) as dask:
        for _ in range(2):
            dask.start_worker(PRELOAD)
        both = [Coordinator(tmp_path / "store", dask.address, tmp_path / f"log{n}") for n in range(2)]
        started += both
        both[0].wait_for(lambda: both[0].shards() >= 3)
        at_work = next(one for one in both if "waiting:" not in one.log.read_text())
        at_work.popen.kill()
        at_work.popen.wait()
        (other,) = (one for one in both if one is not at_work)
        assert_whole(other, plain)
        assert "images are there already" in other.log.read_text()


@pytest.mark.slow
def test_all_workers_gone(tmp_path: Path, started: list[Coordinator]) -> None:
    with DaskProcesses(tmp_path) as dask:
        only = dask.start_worker(PRELOAD)
        one = Coordinator(tmp_path / "store", dask.address, tmp_path / "log")
        started.append(one)
        one.wait_for(lambda: one.shards() >= 2)
        only.kill()
        began = time.monotonic()
        assert one.end() == 1 and time.monotonic() - began < 360
        last = one.log.read_text().splitlines()[-1]
        assert (
            "expected a worker at tcp://" in last
            and "within 300 s, got none; what is committed is kept" in last
        )


@pytest.mark.slow
def test_a_scheduler_that_is_stopped(tmp_path: Path, started: list[Coordinator]) -> None:
    with DaskProcesses(tmp_path) as dask:
        dask.start_worker(PRELOAD)
        one = Coordinator(tmp_path / "store", dask.address, tmp_path / "log")
        started.append(one)
        one.wait_for(lambda: one.shards() >= 2)
        stop(dask.scheduler)
        began = time.monotonic()
        assert one.end() == 1 and time.monotonic() - began < 240
        assert "ClusterError: execution.cluster: the scheduler at" in one.log.read_text().splitlines()[-1]
