"""What the processes of `test_worker_processes.py` are given."""

import os
import signal
import time
from typing import Any

import torch


def square(number: int) -> tuple[int, torch.Tensor]:
    return number, torch.full((2, 3), float(number * number))


def environment(_: int) -> tuple[dict[str, str], int, str | None]:
    import sys

    return dict(os.environ), torch.get_num_threads(), getattr(sys.modules["__main__"], "__file__", None)


def slow_environment(_: int) -> dict[str, str]:
    time.sleep(2)  # so that no process does it all
    return {**os.environ, "pid": str(os.getpid())}


def die(number: int) -> int:
    """Of 1 by a signal, of 2 with an exit code, of 3 with an error of its own, of 4 never."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        os._exit(3)
    if number == 3:
        raise TimeoutError("the function's own")
    if number == 4:
        time.sleep(600)
    return number


def much(number: int) -> tuple[int, bytes]:
    """Of 0 next to nothing, else so much that it takes a while to send."""
    return os.getpid(), bytes(number and 400_000_000)


def pid_and_stay(seconds: Any) -> int:
    time.sleep(seconds)
    return os.getpid()
