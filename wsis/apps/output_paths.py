"""Checks, before any work is done, of the places that a command writes to; and names for files about images."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from data_contracts.errors import ConfigError, StoreError
from data_contracts.paths import make_folder, write_file

_LONGEST = 255  # bytes of a name in the file systems that people have
_DIGEST = 8
_SUFFIX = ".png"


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


def output_names(ids: Iterable[str]) -> dict[str, str]:
    """Image id -> path of its output below a folder, `id.png`.

    An id whose output no file system takes (a part of more than 255 bytes), or whose output another one's folder is
    (`x.png` beside `x.png/y.png`), gets a shortened one with a digest of the id, `x~1b2c3d4e.png`.
    """
    plain = {image_id: f"{image_id}{_SUFFIX}" for image_id in ids}
    folders = {str(folder) for name in plain.values() for folder in PurePosixPath(name).parents}
    return {
        image_id: _shortened(image_id) if name in folders or _too_long(name) else name
        for image_id, name in plain.items()
    }


def write_names(names: Mapping[str, str], out: Path) -> None:
    """`out`/names.json, image id -> output, of the ids whose output is not called like them; no file if there is none.

    Raises:
        StoreError: it cannot be written.
    """
    other = {i: name for i, name in names.items() if name != f"{i}{_SUFFIX}"}
    if other:
        write_file(out / "names.json", json.dumps(other, indent=1).encode())


def _too_long(name: str) -> bool:
    return any(len(os.fsencode(part)) > _LONGEST for part in PurePosixPath(name).parts)


def _shortened(image_id: str) -> str:
    """The name with its digest; parts that are too long are cut, whole characters kept."""
    digest = hashlib.sha256(os.fsencode(image_id)).hexdigest()[:_DIGEST]
    *folders, last = PurePosixPath(image_id).parts
    room = _LONGEST - len(_SUFFIX) - _DIGEST - 1
    cut = [_cut(part, _LONGEST) for part in folders]
    return str(PurePosixPath(*cut, f"{_cut(last, room)}~{digest}{_SUFFIX}"))


def _cut(part: str, size: int) -> str:
    return os.fsencode(part)[:size].decode("utf-8", "ignore")
