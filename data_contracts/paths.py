"""Folders of a store, and names that must stay inside one."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from data_contracts.atomic import os_errors_named, write_atomic
from data_contracts.errors import ConfigError, StoreError


def user_path(path: Path | str, where: str) -> Path:
    """A path as a person gives it, with `~` and `~NAME` as the folders that they are. Whether it is there is not asked.

    Args:
        where: the key, option or argument, for the message.

    Raises:
        ConfigError: no such home, or a path that no file system takes.
    """
    shown = f"{str(path)!r:.200}"
    try:
        found = Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{where}: expected a path, got {shown}, and nothing says where this home is"
        ) from error
    try:
        found.stat()
    except (OSError, ValueError) as error:
        unusable = not isinstance(error, OSError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        if unusable:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"{where}: expected a path that can be followed, got {shown}: {reason}"
            ) from error
    return found


def default_store() -> str:
    """Where a store lies that nobody names: $WSIS_STORE, else ./runs."""
    return os.environ.get("WSIS_STORE") or "runs"


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        StoreFullError, StoreError: it cannot be created.
    """
    with os_errors_named("create", path):
        path.mkdir(parents=True, exist_ok=True)


def write_file(path: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file atomically, as `write_atomic`, its folder made if need be.

    Raises:
        StoreError: it cannot be written.
    """
    make_folder(path.parent)
    with os_errors_named("write", path):
        write_atomic(path, data)


def safe_relative(name: str) -> str:
    """`name` if it stays below its root.

    Raises:
        StoreError: absolute, or climbs out with '..'.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise StoreError(f"path {name!r} leaves its folder")
    return name


def plain_name(name: str) -> str:
    """`name` if it is one component of a path.

    Raises:
        StoreError: it is empty, climbs or holds a separator.
    """
    if len(Path(safe_relative(name)).parts) != 1 or name in (".", ".."):
        raise StoreError(f"expected a plain name, got {name!r}")
    return name


def names_in(folder: Path) -> list[str]:
    """Names in a folder, none where there is no such folder. `Path.glob` takes one that may not be read for empty.

    Raises:
        StoreError: it may not be read.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}") from error
