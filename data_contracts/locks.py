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

from data_contracts.atomic import full_disk_named
from data_contracts.errors import LockTimeoutError, StoreError

# POSIX record locks belong to the process, not the thread: threads of one process need this one too.
_held_here: dict[str, threading.Lock] = {}
_registry = threading.Lock()


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
        timeout: seconds to wait; None waits for ever, 0 does not wait.
        on_wait: called once with the holder's pid, host and since when.

    Raises:
        LockTimeoutError: still held after `timeout`.
        StoreError: the lock file cannot be opened; StoreFullError: or written.
    """
    with _registry:
        thread_lock = _held_here.setdefault(str(path.resolve()), threading.Lock())
    deadline = None if timeout is None else time.monotonic() + timeout
    waited = False
    while not thread_lock.acquire(timeout=poll):
        if not waited:
            on_wait(f"waiting: {path.name} is held by another thread of this process")
            waited = True
        if deadline is not None and time.monotonic() >= deadline:
            raise LockTimeoutError(f"{path} is held by another thread of this process")
    try:
        with _opened(path) as handle:
            _acquire(handle, path, deadline, on_wait, poll)
            _sign(handle, path)
            yield
    finally:
        thread_lock.release()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        with full_disk_named(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot lock {path}: {error.strerror}") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _sign(handle: int, path: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
    with full_disk_named(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)


def _acquire(
    handle: int, path: Path, deadline: float | None, on_wait: Callable[[str], None], poll: float
) -> None:
    told = False
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            holder = _holder(path)
            if deadline is not None and time.monotonic() >= deadline:
                raise LockTimeoutError(f"{path.name} is being written by {holder}") from None
            if not told:
                on_wait(f"waiting: {path.name} is being written by {holder}")
                told = True
            time.sleep(poll)


def _holder(path: Path) -> str:
    try:
        holder = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # being signed just now, or damaged: only the name is lost
        holder = {}
    return f"pid {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
