"""Which tool wrote a JSON file, told by the keys in it; where such files lie in a data root."""

import os
from collections.abc import Collection, Iterable, Iterator, Set
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import Problems, parse_json, read_bytes, require_file

Tool = Literal["coco", "labelme", "via", "label_studio"]

_BLOCK = 1 << 20  # bytes: a map of the whole file would count as memory in use
_COCO = {"images", "annotations", "categories"}
_STUDIO = {"data", "annotations", "predictions", "completions"}
_OTHERS = {"shapes", "imagePath", "_via_img_metadata", "filename", "regions", "file_attributes"}
_LOOKED_INTO = 20  # files: where there are more, each is of one image, and all are alike
_SHOWN = 3
_USUAL = {"annotations", "annotation", "labels", "json", "jsons", "images"}


def tool_of(path: Path) -> Tool | None:
    """The tool whose keys a JSON file has; None for others, and for what cannot be read. The file may be large: it is
    searched, not parsed."""
    try:
        require_file(path, "annotations")
        state = path.stat()
        return _tool_of(path, state.st_size, state.st_mtime_ns)
    except (OSError, ValueError, DataError):
        return None  # whoever opens it says why, else `refuse_broken`


@lru_cache(maxsize=256)
def _tool_of(path: Path, size: int, changed: int) -> Tool | None:
    if size == 0:
        return None
    with path.open("rb") as stream:
        is_list = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        if is_list:
            found = _keys_in(stream, _STUDIO)
            return "label_studio" if "data" in found and len(found) > 1 else None
        if len(_keys_in(stream, _COCO)) == len(_COCO):
            return "coco"
        found = _keys_in(stream, _OTHERS)
    if {"shapes", "imagePath"} <= found:
        return "labelme"
    return (
        "via" if "_via_img_metadata" in found or {"filename", "regions", "file_attributes"} <= found else None
    )


def _keys_in(stream: BinaryIO, keys: Set[str]) -> set[str]:
    """Those of some keys that stand in a file, which is read as far as it takes to find them all."""
    found, end, wanted = set[str](), b"", {key: f'"{key}"'.encode() for key in keys}
    keep = max(map(len, wanted.values())) - 1
    stream.seek(0)
    while len(found) < len(keys) and (block := stream.read(_BLOCK)):
        block = end + block
        found |= {key for key, quoted in wanted.items() if key not in found and quoted in block}
        end = block[-keep:]
    return found


def find_written_by(root: Path, tool: Tool, splits: Collection[str]) -> list[str]:
    """The JSON files of a tool in the usual places, paths below the root: of many files the first few are looked into.

    Args:
        splits: names of folders that are splits, in small letters.
    """
    some = islice(annotation_files(root, ".json", splits), _LOOKED_INTO)
    return [path.relative_to(root).as_posix() for path in some if tool_of(path) == tool]


def refuse_broken(files: Iterable[Path], expected: str) -> None:
    """Where labels were looked for and not found: name the JSON files of no tool that cannot be read, since they may
    have been them. Of many files the first few are looked into.

    Args:
        expected: where what was, for the message.

    Raises:
        DataError: there are some; says why.
    """
    paths, problems = list(files), Problems()
    for path in paths[:_LOOKED_INTO]:
        if tool_of(path) is None:
            with problems.collect():
                parse_json(read_bytes(path, "annotations"), str(path))
    if found := problems.messages:
        first = f" of the first {_LOOKED_INTO}" if len(paths) > _LOOKED_INTO else ""
        of = (
            f"{len(paths)} JSON files, of which {len(found)}{first}" if len(paths) > 1 else "a JSON file that"
        )
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(f"{expected}, got {of} cannot be read: {'; '.join(found[:_SHOWN])}{more}")


def annotation_files(root: Path, suffix: str, splits: Collection[str]) -> Iterator[Path]:
    """Files of annotations in the usual places: at the root, in the folders there, and below these in folders named
    like a split or `annotations`, `labels`, ..."""
    files, folders = _looked_through(root, suffix)
    yield from files
    for folder in folders:
        files, inner = _looked_through(folder, suffix)
        yield from files
        for below in inner:
            if below.name.casefold() in _USUAL or below.name.casefold() in splits:
                yield from _looked_through(below, suffix)[0]


def _looked_through(folder: Path, suffix: str) -> tuple[list[Path], list[Path]]:
    """Files of an ending and folders in a folder, by name, hidden ones left out; nothing of one that may not be looked
    into, as of `os.walk`."""
    files, folders = list[str](), list[str]()
    try:
        with os.scandir(
            folder
        ) as entries:  # it says what is a folder, without a look at each of 100,000 images
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(suffix) and os.path.isfile(entry.path):
                    files.append(entry.name)
                elif entry.is_dir(follow_symlinks=False) or (
                    entry.is_symlink() and os.path.isdir(entry.path)
                ):
                    folders.append(entry.name)
    except PermissionError:
        return [], []
    return [folder / name for name in sorted(files)], [folder / name for name in sorted(folders)]


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
