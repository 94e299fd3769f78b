"""A folder of photographs without labels: which files count, their ids, and their bytes."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.folder_files import read_bytes, sha256
from wsis.readers.files.image_files import refuse_unreadable
from wsis.readers.files.image_ids import unique_ids
from wsis.readers.files.images import bits_of_file
from wsis.readers.files.sample_depth import depth_mark

DIGEST_VERSION = 1  # raised when the same files are read into other records
_URL = re.compile(r"[a-z][a-z0-9+]+:/", re.IGNORECASE)
SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".ppm",
    ".pgm",
    ".pbm",
)
# Photographs too, but of formats that we do not decode: they must not be passed over in silence.
UNREADABLE = (
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".jxl",
    ".psd",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".raf",
    ".orf",
    ".rw2",
)


@dataclass(frozen=True)
class Photograph:
    """A file of the folder.

    Attributes:
        image_id: `file_name` without its ending; with it where that would not be unique.
        file_name: path below the folder, with "/".
        path: where it lies.
    """

    image_id: str
    file_name: str
    path: Path


def list_photographs(root: Path) -> tuple[list[Photograph], int]:
    """Every photograph in a folder and the folders below it, in the order of the names.

    What counts is decided by the ending (`SUFFIXES`, and `UNREADABLE` formats unless a readable file of the same
    name lies beside); what a file holds, by its content. Hidden files and folders are passed over, links to
    folders not followed.

    Args:
        root: a folder, or one file.

    Returns:
        The photographs, and the number of other files.

    Raises:
        DataError: no such folder, one that may not be looked into, or no photograph in it.
    """
    if root.is_file():
        return [Photograph(_text(root.stem), _text(root.name), root)], 0
    if not root.is_dir():
        hint = "; what lies at a URL has to be downloaded first" if _URL.match(str(root)) else ""
        hint = "; patterns are not read: give the folder" if set("*?[") & set(str(root)) else hint
        raise DataError(
            f"photographs: expected a folder or an image file, got {root} (which is neither){hint}"
        )
    names = _files_below(root)
    readable = [name for name in names if name.suffix.lower() in SUFFIXES]
    beside = {_stem(name) for name in readable}
    lost = [name for name in names if name.suffix.lower() in UNREADABLE and _stem(name) not in beside]
    kept = sorted([*readable, *lost], key=lambda name: name.parts)
    others = sum(name.suffix.lower() not in SUFFIXES + UNREADABLE for name in names)
    if not kept:
        raise DataError(
            f"photographs: expected files that end in {' '.join(SUFFIXES)} in {root}, "
            f"got {counted(others, 'other file')}"
        )
    shown = _unique_texts(kept)
    ids = unique_ids(
        [[_text(str(name.with_suffix(""))), text] for name, text in zip(kept, shown, strict=True)]
    )
    return [
        Photograph(image_id, text, root / name) for image_id, text, name in zip(ids, shown, kept, strict=True)
    ], others


def _unique_texts(names: Sequence[PurePosixPath]) -> list[str]:
    """Names as text; one that is not UTF-8 and shown as another one is gets a digest of its bytes."""
    texts = [_text(str(name)) for name in names]
    counts = Counter(texts)
    return [
        text if counts[text] == 1 or text == str(name) else f"{text}~{sha256(os.fsencode(name))[:8]}"
        for text, name in zip(texts, names, strict=True)
    ]


def _files_below(root: Path) -> list[PurePosixPath]:
    found = []
    for folder, folders, files in os.walk(root, onerror=refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = PurePosixPath(Path(folder).relative_to(root).as_posix())
        found += [relative / name for name in files if not name.startswith(".")]
    return found


def _stem(name: PurePosixPath) -> str:
    """Without the ending; equal for names that a file system may not tell apart."""
    return str(name.with_suffix("")).casefold()


def _text(name: str) -> str:
    """A name that is not UTF-8 with its odd bytes as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def bits_in_use(photographs: Sequence[Photograph]) -> int | None:
    """Bits that the photographs of 16 bits a channel use, see `sample_depth`; None where there is none of them."""
    found = [bits_of_file(one.path) for one in photographs]
    return max((bits for bits in found if bits is not None), default=None)


def digest(photographs: Sequence[Photograph]) -> str:
    """sha256 over names and bytes; the same wherever the folder lies. A file that cannot be read has no bytes."""
    whole = hashlib.sha256(repr(DIGEST_VERSION).encode())
    for one in photographs:
        try:
            content = sha256(read_bytes(one.path, one.image_id))
        except DataError:
            content = "unreadable"
        whole.update(repr((one.image_id, one.file_name, content)).encode())
    if (bits := bits_in_use(photographs)) is not None:
        whole.update(depth_mark(bits, (one.file_name for one in photographs)))
    return whole.hexdigest()
