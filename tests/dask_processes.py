"""A Dask scheduler and workers in processes of their own on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).parents[1]
_START_SECONDS = 120.0


class DaskProcesses:
    """They end with the block.

    Args:
        folder: for their logs and scratch files.
        worker_ttl: seconds without a word after which the scheduler gives a worker up.
    """

    def __init__(self, folder: Path, worker_ttl: float = 60.0) -> None:
        self._folder, self._ttl = folder, worker_ttl
        self.workers: list[subprocess.Popen[bytes]] = []
        self._all: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes]
        self.address = ""

    def __enter__(self) -> Self:
        self.start_scheduler(_free_port())
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._all:
            process.kill()  # one that is stopped too
            process.wait()

    def start_scheduler(self, port: int) -> None:
        """Start one; its port is that of an earlier one, if it is to take its place."""
        self.address = f"tcp://127.0.0.1:{port}"
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-show", "--no-dashboard"]
        self.scheduler = self._start("scheduler", options, {})
        until = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if self.scheduler.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no scheduler:\n{self.log()[-2000:]}")
            time.sleep(0.05)

    def start_worker(
        self, options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """One with a thread; it connects by itself."""
        usual = [
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--memory-limit",
            "0",
            "--host",
            "127.0.0.1",
        ]
        scratch = ["--local-directory", str(self._folder / "scratch")]
        arguments = [self.address, *usual, *scratch, *options]
        self.workers.append(self._start("worker", arguments, environment or {}))
        return self.workers[-1]

    def log(self) -> str:
        """What all of them have said."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("dask-*.log")))

    def _start(self, kind: str, options: Sequence[str], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{self._ttl}s",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3",
            **more,
        }
        with (self._folder / f"dask-{kind}-{len(self._all)}.log").open("wb") as stream:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        self._all.append(process)
        return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGSTOP, until it is stopped."""
    process.send_signal(signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0
