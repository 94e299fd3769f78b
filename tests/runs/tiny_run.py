"""The tiny run: the whole flow in seconds. Commands in this process or their own, and one finished run to share."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_contracts.locks import exclusive
from data_contracts.manifest import Manifest
from data_contracts.runs import RunRecord, load_run
from data_contracts.store import Store
from wsis.cli.main import main

TINY = Path(__file__).with_name("tiny.yaml")
RUN = "tiny"
# Settings of a run of which it matters that it ends, and not what it learned.
SHORT = (
    *(f"conditional.{name}=1" for name in ("pretrain_epochs", "epochs")),
    *("prm_classifier.epochs=2", "prediction.steps=2", "prediction.later_steps=1"),
)
COMMAND = [sys.executable, "-m", "wsis.cli.main"]


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


def wsis(*arguments: object) -> Result:
    """A `wsis` command in this process: what its caller would see."""
    before, arguments_before = signal.getsignal(signal.SIGTERM), sys.argv
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["wsis", *(str(a) for a in arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = arguments_before
        signal.signal(signal.SIGTERM, before)
    return Result(code, out.getvalue(), err.getvalue())


def done(result: Result) -> Result:
    """The result of a command that must succeed."""
    assert result.code == 0, result.err
    return result


class Process:
    """A `wsis` command in a process of its own; its stderr goes to `log`."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log = log
        # Tests started in the background of a script inherit that Ctrl-C is ignored, and would pass it on.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with log.open("wb") as stream:
                self.popen = subprocess.Popen(
                    [*COMMAND, *(str(a) for a in arguments)],
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
        finally:
            signal.signal(signal.SIGINT, before)

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, condition: Callable[[], Any], seconds: float = 200.0) -> None:
        """Until `condition` holds, or the process ends."""
        end = time.monotonic() + seconds
        while not condition() and self.popen.poll() is None:
            assert time.monotonic() < end, f"waited {seconds} s in vain:\n{self.text[-3000:]}"
            time.sleep(0.002)

    def end(self, number: int) -> int:
        """Send a signal, wait for the end of the process and of all it started; its return code."""
        try:
            children = psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        self.popen.send_signal(number)
        code = self.popen.wait(60)
        _, left = psutil.wait_procs(children, timeout=20)
        assert not left, f"outlived the process that started them: {left}"
        return code

    def result(self, seconds: float = 250.0) -> Result:
        """Wait for the end."""
        out, _ = self.popen.communicate(timeout=seconds)
        return Result(self.popen.returncode, out.decode(), self.text)

    def close(self) -> None:
        """Make sure that nothing is left."""
        self.popen.kill()
        self.popen.communicate()


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of all test processes to ask fills, for all of them. Not to be changed: copy it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, ready = base / name, base / f"{name}.ready"
    folder.mkdir(exist_ok=True)
    with exclusive(base / f"{name}.lock"):
        if not ready.exists():
            make(folder)
            ready.touch()
    return folder


def shared_tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one uninterrupted run, computed once for all test processes. Do not change it: copy it."""

    def make(folder: Path) -> None:
        process = Process(folder / "log", "run", TINY, "--store", folder / "store")
        try:
            done(process.result())
        finally:
            process.close()

    return made_once(tmp_path_factory, "tiny", make) / "store"


def copy_of(store: Path, destination: Path) -> Path:
    """A store to damage."""
    shutil.copytree(store, destination)
    return destination


def record_of(store: Path, name: str = RUN) -> RunRecord:
    return load_run(Store(store), name)


def fingerprints(store: Path, name: str = RUN) -> dict[str, str]:
    """Key of each node of a run -> the artefact it used."""
    return {k: f"{e.stage}/{e.fingerprint}" for k, e in record_of(store, name).entries.items()}


def manifest_of(store: Path, key: str, name: str = RUN) -> Manifest:
    entry = record_of(store, name).entries[key]
    return Store(store).open(entry.stage, entry.fingerprint, verify=False).manifest


def computed(store: Path, name: str = RUN) -> set[str]:
    """Keys of the nodes that the last run computed and did not reuse."""
    return {k for k, e in record_of(store, name).entries.items() if not e.reused}
