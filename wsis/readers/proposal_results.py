"""A COCO results JSON with the masks of all images: read through once, then each image's entries from their place.

The file may be far larger than memory: what is kept of it is where each entry stands.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.errors import InputError
from wsis.method.proposals.imports.coco_results import ResultMask, check_size, parse_entry
from wsis.readers.files.folder_files import Problems
from wsis.readers.files.json_array import scan_array
from wsis.readers.mask_targets import Target, TargetNames

_MOST_PROBLEMS = 1000


@dataclass(frozen=True)
class ResultsIndex:
    """Where the entries of each image stand in the file.

    Attributes:
        spans: image id -> int64 [n, 3]: first byte, byte after the last, number of the entry.
        unknown: image that the data set does not have -> its number of entries.
        faults: image whose entries cannot be used -> why; only of a file that was indexed with `tolerate`.
    """

    path: Path
    spans: Mapping[str, NDArray[np.int64]]
    unknown: Mapping[str, int]
    faults: Mapping[str, str]

    def masks(self, image_id: str) -> list[ResultMask]:
        """The entries of an image, in the file's order.

        Raises:
            DataError: the image has a fault, or the file has changed since it was indexed or cannot be read.
        """
        if image_id in self.faults:
            raise DataError(f"{self.path}: {self.faults[image_id]}")
        try:
            with self.path.open("rb") as stream:
                return [_mask_at(stream, *span) for span in self.spans[image_id].tolist()]
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from error
        except (ValueError, AttributeError, RecursionError) as error:
            raise DataError(f"{self.path}: changed while it was in use: {error}") from error


def index_results(path: Path, targets: Iterable[Target], tolerate: bool = False) -> ResultsIndex:
    """Find the entries of each image of the data set, and check everything but their runs.

    An entry with `file_name` belongs to the image of that path; one path may be the tail of the other
    (`1.jpg`, `val/1.jpg`, `/data/val/1.jpg`). An entry without belongs to the image whose number, else whose id is
    `image_id`.

    Args:
        tolerate: what is wrong with one image alone becomes its fault in place of an error.

    Raises:
        DataError: listing malformed entries, entries that fit several images, masks of another size than their
            image's, and images without entries; with `tolerate`, malformed entries of no image of the data set
            and those that fit several.
    """
    names = TargetNames(targets)
    problems, unknown = _Faults(tolerate), Counter[str]()
    spans = {image_id: array("q") for image_id in names.by_id}
    odd: dict[str, ResultMask] = {}  # the first mask of another size, of each image that has one
    covered: set[str] = set()  # images with a mask of some pixels
    for number, (start, stop, entry) in enumerate(scan_array(path)):
        with problems.collect():
            target, name = names.find(entry, _place(number))
            with problems.of(target):
                mask = _parsed(entry, number)
                if target is None:
                    unknown[name] += 1
                    continue
                spans[target.image_id].extend((start, stop, number))
                if not mask.is_empty:
                    covered.add(target.image_id)
                if mask.size != target.size:
                    odd.setdefault(target.image_id, mask)
        if len(problems.messages) >= _MOST_PROBLEMS:
            problems.raise_if_any(str(path))
    for image_id, mask in odd.items():
        with problems.of(names.by_id[image_id]):
            _check_size(mask, names.by_id[image_id])
    for image_id, target in names.by_id.items():
        if not spans[image_id] and image_id not in problems.by_image:
            with problems.of(target):
                raise DataError(f"image {image_id} ({target.file_name}): expected entries, got none")
        elif spans[image_id] and image_id not in covered | odd.keys():
            with problems.of(target):
                raise DataError(
                    f"image {image_id} ({target.file_name}): expected a mask with pixels, got none"
                )
    problems.raise_if_any(f"{path}{_hint(unknown)}")
    tables = {image_id: np.array(span, np.int64).reshape(-1, 3) for image_id, span in spans.items()}
    return ResultsIndex(path, tables, dict(unknown), problems.by_image)


class _Faults(Problems):
    """Problems of the file; those of one image alone kept apart, its first one, where they are tolerated."""

    def __init__(self, tolerate: bool) -> None:
        super().__init__()
        self.tolerate = tolerate
        self.by_image: dict[str, str] = {}

    @contextmanager
    def of(self, target: Target | None) -> Iterator[None]:
        """Remember an error inside the block, as the image's if there is one."""
        try:
            yield
        except DataError as error:
            if target is None or not self.tolerate:
                self.add(str(error))
            else:
                self.by_image.setdefault(target.image_id, str(error))


def _parsed(entry: Mapping[str, Any], number: int) -> ResultMask:
    try:
        return parse_entry(entry, _place(number))
    except InputError as error:
        raise DataError(str(error)) from error


def _check_size(mask: ResultMask, target: Target) -> None:
    try:
        check_size(mask, target.size, f"image {target.image_id}")
    except InputError as error:
        raise DataError(str(error)) from error


def _mask_at(stream: BinaryIO, start: int, stop: int, number: int) -> ResultMask:
    stream.seek(start)
    return parse_entry(json.loads(stream.read(stop - start)), _place(number))


def _place(number: int) -> str:
    return f"entry {number}"


def _hint(unknown: Counter[str]) -> str:
    """Other names in the file say most about why an image has no entries."""
    if not unknown:
        return ""
    return (
        f" (it has {unknown.total()} entries of images that the data set lacks, e.g. {next(iter(unknown))!r})"
    )
