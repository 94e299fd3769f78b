"""Processes with the variables of torchrun, each with a command of its own: what they print, and how they end."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextmanager
def launched(commands: Sequence[Sequence[str]], size: int | None = None) -> Iterator[list[subprocess.Popen]]:
    """Rank r runs `commands[r]`; nothing of them is left at the end.

    Args:
        size: of the group, where not all of it comes.
    """
    port, processes = free_port(), []
    try:
        for rank, command in enumerate(commands):
            variables = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size or len(commands)),
                "LOCAL_WORLD_SIZE": str(len(commands)),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", *command],
                    env={**os.environ, **variables},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ends(processes: Sequence[subprocess.Popen], seconds: float = 240.0) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=seconds)
        found.append((process.returncode, out, err))
    return found
