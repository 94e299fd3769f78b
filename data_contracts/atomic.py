"""Writing so that a reader sees the old file, the new file, and never half of one."""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_contracts.errors import ContractError, StoreError, StoreFullError, origins

TEMPORARY = ".tmp"
"""Ending of the hidden names under which something is written; a killed process may leave one."""


_FSYNC_THREADS = 16


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    _fsync(path)


def write_atomic(path: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write `data`, or what a function writes into the file, to `path` through a temporary sibling, fsync and rename.

    Raises:
        StoreFullError: no space is left; `path` keeps its old content.
    """
    with full_disk_named(path), _written(path, data) as temporary:
        os.replace(temporary, path)
        fsync_directory(path.parent)


def create_atomic(path: Path, data: bytes) -> bool:
    """Write `data` to `path` if nothing is there, and say so: a temporary sibling, fsync and a hard link. Without a
    lock, so that a process that is stopped in the middle stops nobody else.

    Raises:
        StoreFullError: no space is left.
        OSError: `lacks_hard_links` tells whether that is why.
    """
    with full_disk_named(path), _written(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        fsync_directory(path.parent)
        return True


def lacks_hard_links(error: OSError) -> bool:
    """Whether an error of `create_atomic` says that the file system has no hard links."""
    return error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def _written(path: Path, data: bytes | Callable[[BinaryIO], None]) -> Iterator[Path]:
    """A temporary sibling of `path` that holds the data, on disk; it is gone afterwards."""
    # of the name only a digest: a name of 255 bytes leaves no room for more
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    temporary = path.with_name(f".{digest}.{os.getpid()}-{threading.get_ident()}{TEMPORARY}")
    try:
        with temporary.open("wb") as stream:
            if callable(data):
                data(stream)
            else:
                stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(root: Path) -> None:
    """Remove what killed writers left directly in `root`: hidden names that end in `TEMPORARY`."""
    for path in root.glob(f".*{TEMPORARY}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def fsync_tree(root: Path) -> None:
    """fsync every file and folder below `root`, many at once: a file system groups what it is asked together."""
    paths = [Path(folder, name) for folder, _, names in os.walk(root) for name in ("", *names)]
    with ThreadPoolExecutor(_FSYNC_THREADS) as pool:
        for _ in pool.map(_fsync, paths):
            pass


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn ENOSPC / EDQUOT into an error that says where and what to do. What a library made of it counts as well:
    torch.save tells of a full disk as a RuntimeError of its zip file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ContractError) or not _is_full_disk(error):
            raise
        raise StoreFullError(
            f"no space left while writing {path}. Everything committed before is kept: "
            "free some space and give the same command again"
        ) from error


@contextmanager
def os_errors_named(what: str, path: Path) -> Iterator[None]:
    """Turn an error of the system into `StoreError("cannot WHAT PATH: REASON")`, a full disk into StoreFullError.

    Raises:
        StoreFullError, StoreError: as said; a StoreError from inside stays as it is.
    """
    try:
        with full_disk_named(path):
            yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot {what} {path}: {error.strerror}") from error


def _is_full_disk(error: BaseException) -> bool:
    """Whether an error is of that kind, or came from one."""
    return any(
        isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in origins(error)
    )
