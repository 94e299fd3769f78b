"""Real processes to kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TOY_STAGES = Path(__file__).with_name("toy_stages.py")


def wait_for(
    condition: Callable[[], Any], process: subprocess.Popen | None = None, seconds: float = 60.0
) -> Any:
    """What `condition` gives once it is true; fails when the process ends before, or after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if process is not None and process.poll() is not None:
            pytest.fail(f"the process ended with {process.returncode} too early:\n{process.communicate()[1]}")
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.01)
    return value


@pytest.fixture
def toy() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a toy stage in a process of its own: toy(store, "shards", **config)."""
    started: list[subprocess.Popen] = []

    def start(store: Path, which: str, **config: Any) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, str(TOY_STAGES), str(store), which, json.dumps(config)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen) -> None:
    """SIGKILL, and wait for the end."""
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
