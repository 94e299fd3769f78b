"""Files of imported proposals: looked at before anything is computed, then read image by image.

They lie in one of two ways: a file for each image (:class:`FileAnImage`), or one file of all (:class:`ResultsFile`).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.errors import InputError
from wsis.method.proposals import ImportSettings, ProposalSet, import_coco_results
from wsis.readers.files.digests import named_content
from wsis.readers.files.folder_files import Problems, inside, read_bytes
from wsis.readers.mask_targets import Target
from wsis.readers.proposal_results import ResultsIndex, index_results

_LOOKED_INTO = 3  # of the files of a folder; that each is there is checked of all
_MERGE = (
    "expected one JSON list with the entries of all images, each with image_id or file_name, "
    "segmentation {size, counts} and score"
)


class ImportedProposals(Protocol):
    """Proposals that fit the images of a data set; worker processes get a copy."""

    @property
    def unknown(self) -> Mapping[str, int]:
        """Image that the data set does not have -> its number of entries."""
        ...

    def proposals(self, image_id: str, image: NDArray[np.uint8], settings: ImportSettings) -> ProposalSet:
        """The proposals of one image uint8 [H, W, 3]; InputError or DataError if they are wrong."""
        ...


class ProposalPlace(Protocol):
    """How the files of a source lie at the path that the user names."""

    key: ClassVar[str]  # of the section `proposals`: folder or file

    def check(self, place: Path) -> None:
        """DataError if nothing of the kind can lie there."""
        ...

    def content(self, place: Path) -> Iterator[bytes]:
        """What a digest of the files is made of."""
        ...

    def fit(self, place: Path, targets: Sequence[Target]) -> None:
        """Before a run: DataError lists what is missing, malformed or of another size. Not every file is decoded."""
        ...

    def open(self, place: Path, targets: Sequence[Target], tolerate: bool) -> ImportedProposals:
        """DataError lists images without proposals; with `tolerate` each fails by itself when it is read."""
        ...


def _anything(data: bytes, where: str) -> None:
    """Looks into nothing."""


@dataclass(frozen=True)
class FileAnImage:
    """`<image id><suffix>` for each image, in one folder.

    Attributes:
        read: (bytes of the file, image uint8 [H, W, 3], path, settings) -> proposals; InputError if they are wrong.
        look: (bytes, where=path); InputError where `read` would fail. Tried on some files before a run starts.
            Worker processes get both: they are functions of a module.
    """

    key: ClassVar[str] = "folder"
    read: Callable[[bytes, NDArray[np.uint8], str, ImportSettings], ProposalSet]
    look: Callable[..., object] = _anything
    suffix: str = ".mat"

    def check(self, place: Path) -> None:
        """See :class:`ProposalPlace`."""
        if not place.is_dir():
            raise DataError(f"proposals.folder: expected a folder of <image id>{self.suffix}, got {place}")

    def content(self, place: Path) -> Iterator[bytes]:
        """See :class:`ProposalPlace`."""
        for path in sorted(place.rglob(f"*{self.suffix}")):
            yield named_content(str(path.relative_to(place)), path, "proposals")

    def fit(self, place: Path, targets: Sequence[Target]) -> None:
        """See :class:`ProposalPlace`."""
        self.open(place, targets, tolerate=False)
        problems = Problems()
        for target in targets[:: max(1, len(targets) // _LOOKED_INTO)]:
            path = self.path(place, target.image_id)
            with problems.collect():
                try:
                    data = read_bytes(path, f"proposals of image {target.image_id}")
                    self.look(data, where=str(path))
                except InputError as error:
                    raise DataError(f"proposals of image {target.image_id}: {error}") from error
        problems.raise_if_any(f"proposals.folder {place}")

    def open(self, place: Path, targets: Sequence[Target], tolerate: bool) -> "_Folder":
        """See :class:`ProposalPlace`."""
        problems = Problems()
        for target in targets if not tolerate else ():
            path = self.path(place, target.image_id)
            if not path.is_file():
                problems.add(f"image {target.image_id}: the file {path} is missing")
        problems.raise_if_any(f"proposals.folder {place}")
        return _Folder(place, self)

    def path(self, place: Path, image_id: str) -> Path:
        """The file of an image; in a folder of its own where the id, a COCO image's name, has one.

        Raises:
            DataError: the id leads out of the folder.
        """
        return inside(place, f"{image_id}{self.suffix}", "image id")


@dataclass(frozen=True)
class _Folder:
    place: Path
    files: FileAnImage
    unknown: Mapping[str, int] = field(default_factory=dict)

    def proposals(self, image_id: str, image: NDArray[np.uint8], settings: ImportSettings) -> ProposalSet:
        path = self.files.path(self.place, image_id)
        return self.files.read(read_bytes(path, f"proposals of image {image_id}"), image, str(path), settings)


class ResultsFile:
    """One COCO results JSON with the masks of all images."""

    key: ClassVar[str] = "file"

    def check(self, place: Path) -> None:
        """See :class:`ProposalPlace`."""
        check_results_file(place)

    def content(self, place: Path) -> Iterator[bytes]:
        """See :class:`ProposalPlace`."""
        with place.open("rb") as stream:
            yield hashlib.file_digest(stream, "sha256").digest()

    def fit(self, place: Path, targets: Sequence[Target]) -> None:
        """See :class:`ProposalPlace`."""
        index_results(place, targets)

    def open(self, place: Path, targets: Sequence[Target], tolerate: bool) -> "_Results":
        """See :class:`ProposalPlace`."""
        return _Results(index_results(place, targets, tolerate))


@dataclass(frozen=True)
class _Results:
    index: ResultsIndex

    @property
    def unknown(self) -> Mapping[str, int]:
        return self.index.unknown

    def proposals(self, image_id: str, image: NDArray[np.uint8], settings: ImportSettings) -> ProposalSet:
        return import_coco_results(self.index.masks(image_id), image, str(self.index.path), settings)


def check_results_file(file: Path) -> None:
    """Whether a path can be COCO results at all.

    Raises:
        DataError: no file, or what Segment Anything writes as it is: a folder of a file an image, or one such file.
    """
    if file.is_dir():
        count = len(list(file.glob("*.json")))
        raise DataError(
            f"proposals.file: {_MERGE}, got the folder {file} with {count} JSON files{_sam(count > 0)}"
        )
    if not file.is_file():
        raise DataError(f"proposals.file: expected a COCO results JSON, got {file}")
    with file.open("rb") as stream:
        start = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        raise DataError(
            f"proposals.file: {_MERGE}, got {file} with one JSON object{_sam(b'annotations' in start)}"
        )


def _sam(likely: bool) -> str:
    if not likely:
        return ""
    return (
        " (as Segment Anything writes, one for each image: proposals.source=sam, with their folder as "
        "proposals.folder, takes them)"
    )
