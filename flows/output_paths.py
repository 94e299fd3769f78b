"""Places that commands write to, checked before the work."""

import os
from pathlib import Path

from data_contracts.errors import ConfigError, StoreError
from data_contracts.paths import make_folder


def check_outside(path: Path, images: Path, option: str) -> None:
    """A place in the folder of photographs is refused: pictures there would be taken for photographs.

    Raises:
        ConfigError: it is there.
    """
    if images.is_dir() and path.resolve().is_relative_to(images.resolve()):
        raise ConfigError(f"{option}: expected a place outside the photographs in {images}, got {path}")


def check_file(path: Path, option: str) -> None:
    """Find out before the work whether a file can be written there.

    Raises:
        ConfigError: it is a folder. StoreError: its folder cannot be made or written.
    """
    if path.is_dir():
        raise ConfigError(f"{option}: expected the name of a file, got the folder {path}")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make a folder for output.

    Raises:
        StoreError: it cannot be made or written; StoreFullError: no space left.
    """
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise StoreError(f"cannot write into {folder}: permission denied")
