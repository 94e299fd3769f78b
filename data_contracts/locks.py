"""One writer an artefact. A lock dies with its process, so a dead one never blocks."""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.atomic import full_disk_named, os_errors_named
from data_contracts.errors import LockTimeoutError

# POSIX record locks belong to the process, not the thread: threads of one process need this one too.
_held_here: dict[str, threading.Lock] = {}
_registry = threading.Lock()
_SAY_AGAIN_SECONDS = 60.0


@contextmanager
def exclusive(
    path: Path,
    timeout: float | None = None,
    on_wait: Callable[[str], None] = lambda message: None,
    poll: float = 0.2,
) -> Iterator[None]:
    """Hold `path` as a lock; wait for another holder and say who it is.

    POSIX record locks: released by the kernel when the process ends however it ends, and not inherited by
    forked workers that may outlive it.

    Args:
        timeout: seconds to wait, 0 does not wait; None waits as long as the holder lives.
        on_wait: called at once with the holder's pid, host and since when, and again after a minute, two, four, ...

    Raises:
        LockTimeoutError: still held after `timeout`.
        StoreError: the lock file cannot be opened; StoreFullError: or written.
    """
    with _registry:
        thread_lock = _held_here.setdefault(str(path.resolve()), threading.Lock())
    waiting = _Waiting(timeout, on_wait)
    while not thread_lock.acquire(timeout=poll):
        waiting.for_holder(f"{path.name} is held by another thread of this process")
    try:
        with _opened(path) as handle:
            _acquire(handle, path, waiting, poll)
            _sign(handle, path)
            yield
    finally:
        thread_lock.release()


class _Waiting:
    """Says who is waited for and how long, ever more rarely, and when it has been long enough."""

    def __init__(self, timeout: float | None, on_wait: Callable[[str], None]) -> None:
        self._timeout, self._on_wait = timeout, on_wait
        self._began, self._say_at = time.monotonic(), 0.0

    def for_holder(self, holder: str) -> None:
        """Called again and again.

        Raises:
            LockTimeoutError: the time is up.
        """
        waited = time.monotonic() - self._began
        if self._timeout is not None and waited >= self._timeout:
            raise LockTimeoutError(holder)
        if waited >= self._say_at:
            self._on_wait(f"waiting: {holder}" + (f" ({waited / 60:.0f} min so far)" if self._say_at else ""))
            self._say_at = max(_SAY_AGAIN_SECONDS, 2 * self._say_at)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with os_errors_named("lock", path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)


def _sign(handle: int, path: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
    with full_disk_named(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)


def _acquire(handle: int, path: Path, waiting: _Waiting, poll: float) -> None:
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            waiting.for_holder(f"{path.name} is being written by {_holder(path)}")
            time.sleep(poll)


def _holder(path: Path) -> str:
    try:
        holder = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # being signed just now, or damaged: only the name is lost
        holder = {}
    return f"pid {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
