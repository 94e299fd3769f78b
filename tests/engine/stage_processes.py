"""Waiting for real processes, and killing them."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

TOY_STAGES = Path(__file__).with_name("toy_stages.py")


def wait_for(
    condition: Callable[[], Any], process: subprocess.Popen | None = None, seconds: float = 240.0
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


def told(process: subprocess.Popen, line: str, seconds: float = 240.0) -> str:
    """What it says up to a line that is this one; fails when the process ends before, or after `seconds`."""
    ending = threading.Timer(seconds, process.kill)
    ending.start()
    try:
        said = ""
        for one in process.stderr or ():
            said += one
            if one == f"{line}\n":
                return said
        pytest.fail(f"the process ended too early:\n{said}")
    finally:
        ending.cancel()


def kill(process: subprocess.Popen) -> None:
    """SIGKILL, and wait for the end."""
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Worker processes of its pool (not multiprocessing's resource tracker)."""
    return [c for c in psutil.Process(process.pid).children() if "spawn_main" in " ".join(c.cmdline())]
