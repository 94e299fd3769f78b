"""Which tool wrote a JSON file, told by the keys in it; where such files lie in a data root."""

import mmap
import os
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import parse_json, read_bytes, require_file

Tool = Literal["coco", "labelme", "via", "label_studio"]

_LOOKED_INTO = 20  # files: where there are more, each is of one image, and all are alike
_USUAL = {"annotations", "annotation", "labels", "json", "jsons", "images"}


def tool_of(path: Path) -> Tool | None:
    """The tool whose keys a JSON file has; None for others, and for what cannot be read. The file may be large: it is
    searched, not parsed."""
    try:
        require_file(path, "annotations")
        state = path.stat()
        return _tool_of(path, state.st_size, state.st_mtime_ns)
    except (OSError, ValueError, DataError):
        return None  # whoever opens it says why


@lru_cache(maxsize=256)
def _tool_of(path: Path, size: int, changed: int) -> Tool | None:
    if size == 0:
        return None
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _tool_by_keys(data)


def _tool_by_keys(data: mmap.mmap) -> Tool | None:
    def has(*keys: str) -> bool:
        return all(data.find(f'"{key}"'.encode()) >= 0 for key in keys)

    if data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        studio = has("data") and (has("annotations") or has("predictions") or has("completions"))
        return "label_studio" if studio else None
    if has("images", "annotations", "categories"):
        return "coco"
    if has("shapes", "imagePath"):
        return "labelme"
    return "via" if has("_via_img_metadata") or has("filename", "regions", "file_attributes") else None


def find_written_by(root: Path, tool: Tool, splits: Collection[str]) -> list[str]:
    """The JSON files of a tool in the usual places, paths below the root: of many files the first few are looked into.

    Args:
        splits: names of folders that are splits, in small letters.
    """
    some = islice(annotation_files(root, ".json", splits), _LOOKED_INTO)
    return [path.relative_to(root).as_posix() for path in some if tool_of(path) == tool]


def annotation_files(root: Path, suffix: str, splits: Collection[str]) -> Iterator[Path]:
    """Files of annotations in the usual places: at the root, in the folders there, and below these in folders named
    like a split or `annotations`, `labels`, ..."""
    yield from _files(root, suffix)
    for folder in _folders(root):
        yield from _files(folder, suffix)
        for below in _folders(folder):
            if below.name.casefold() in _USUAL or below.name.casefold() in splits:
                yield from _files(below, suffix)


def _files(folder: Path, suffix: str) -> list[Path]:
    return [path for path in _entries(folder) if path.name.lower().endswith(suffix) and os.path.isfile(path)]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if os.path.isdir(path)]


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, hidden things left out; nothing of one that may not be looked into, as of `os.walk`."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    except PermissionError:
        return []


def read_object(path: Path, where: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        DataError: missing, unreadable, no JSON, or another value.
    """
    tree = parse_json(read_bytes(path, where), str(path))
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(tree).__name__}")
    return tree


def objects_in(value: Any, where: str) -> Iterable[dict[str, Any]]:
    """The entries of a JSON list of objects.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list of objects, got {type(value).__name__}")
    for position, item in enumerate(value):
        if not isinstance(item, dict):
            raise DataError(f"{where}[{position}]: expected an object, got {type(item).__name__}")
    return value


def text_in(tree: dict[str, Any], key: str, where: str) -> str:
    """Text under a key, at least a character.

    Raises:
        DataError: it is absent, no text, or empty.
    """
    value = tree.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: field '{key}': expected text, got {value!r:.80}")
    return value
