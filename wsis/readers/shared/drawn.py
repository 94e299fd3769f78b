"""What the readers of drawn objects share: labelme, VIA, Label Studio, instance PNGs.

A format gives `_drawn`: its images with their objects. Training sees classes and boxes; the regions are masks, for
evaluation alone. Suffix: H W image.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.printable import counted, first_few
from wsis.method.masks import rle
from wsis.readers.files.folder_files import Problems
from wsis.readers.files.image_files import KnownImages
from wsis.readers.shared.annotations import DeclaredObject
from wsis.readers.shared.folder import Entry, FolderOptions
from wsis.readers.shared.labelled import Labelled, LabelledSource
from wsis.readers.shared.names import NameIndex, images_below
from wsis.readers.shared.records import TruthRecord
from wsis.readers.shared.regions import Box, Region, box_of_boxes
from wsis.readers.shared.splits import SplitChoice, known_splits, split_folder

ONE_CLASS = "object"  # what things are called where nothing names them


@dataclass(frozen=True, eq=False)
class Drawn:
    """An object as it was drawn.

    Attributes:
        name: its class.
        box: None for a label of the whole image, or a point or line, which has none.
        where: file and place, for messages.
        regions: whose union is its mask; none: it has no mask, as of a box.
    """

    name: str
    box: Box | None
    where: str
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, eq=False)
class DrawnImage:
    """An image and what was drawn in it.

    Attributes:
        file_name: path below the root.
        where: what declares it, for messages.
        split: name of its split in the data; None where the data say nothing.
        size: (height, width) that the annotation claims, None if it claims none.
        void: pixels that count as nothing.
    """

    file_name: str
    objects: tuple[Drawn, ...]
    where: str
    split: str | None = None
    size: tuple[int, int] | None = None
    void: tuple[Region, ...] = ()


class DrawnSource(LabelledSource):
    """A `DatasetSource` of images with objects that people drew."""

    def __init__(self, root: Path, options: FolderOptions, choice: SplitChoice) -> None:
        super().__init__(root, options, choice)
        self._drawings: dict[str, DrawnImage] = {}
        self._known: KnownImages | None = None
        self._named_files: list[str] = []

    def annotates(self, images: KnownImages, files: Sequence[str] = ()) -> None:
        """From now on its annotations are of images that are known, which need not lie below the root.

        Args:
            files: annotation files, below the root, to be read alone; none: those in the usual places.
        """
        self._known, self._named_files = images, list(files)

    @abstractmethod
    def _drawn(self, problems: Problems) -> Iterator[DrawnImage]:
        """The images that are annotated; what is wrong with one goes to `problems`."""

    @cached_property
    def _images(self) -> list[str]:
        return images_below(self.root)

    @cached_property
    def _image_set(self) -> frozenset[str]:
        return frozenset(self._images)

    def _names(self) -> NameIndex:
        return NameIndex(self.root, self._images, "images" if (self.root / "images").is_dir() else ".")

    def drawings(self, problems: Problems) -> list[DrawnImage]:
        """The images that are annotated, each once; what is wrong with one goes to `problems`.

        Raises:
            DataError: nothing can be read.
        """
        self._drawings = {}
        for one in self._drawn(problems):
            before = self._drawings.setdefault(one.file_name, one)
            if before is not one:
                problems.add(
                    f"{one.where}: duplicate image {one.file_name!r}; {before.where} annotates it already"
                )
        return list(self._drawings.values())

    def decided(self) -> tuple[str, ...]:
        """What `drawings` decided where the annotations left it open, a line each."""
        return tuple(self._notes)

    def _scan(self, problems: Problems) -> list[Labelled]:
        found = self.drawings(problems)
        self._note_bare(problems)
        return [_labelled(one) for one in found]

    def _note_bare(self, problems: Problems) -> None:
        """Say which images nothing annotates: they are left out, and no negatives."""
        bare = sorted(self._image_set - self._drawings.keys())
        if bare and not problems.messages:
            self.note(f"left out: {counted(len(bare), 'image')} without annotation: {first_few(bare)}")

    def _split_of(self, *paths: str) -> str | None:
        """The split that the folders above an image or its annotation say."""
        known = known_splits(self.choice.names)
        return next((found for path in paths if (found := split_folder(path, known)) is not None), None)

    # -- masks, for evaluation alone ----------------------------------------------------------------------
    def _own(self, entry: Entry) -> list[Drawn]:
        return [one for one in self._drawings[entry.declared.file_name].objects if one.name in self.classes]

    def _has_truth(self, entry: Entry) -> bool:
        return all(one.regions for one in self._own(entry))

    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        for one in self._own(entry):
            yield one.name.encode()
            yield from (region.content() for region in one.regions)
        yield from (region.content() for region in self._drawings[entry.declared.file_name].void)

    def _truth(self, entry: Entry) -> TruthRecord:
        masks, labels, empty = [], [], 0
        of_image = f"(image {entry.declared.image_id})"
        for one in self._own(entry):
            if not one.regions:
                raise DataError(f"{one.where}: expected a mask, got a box or a label alone {of_image}")
            mask = union(one.regions, entry.size, f"{one.where} {of_image}")
            if mask.any():
                masks.append(rle.encode(mask))
                labels.append(self.classes.index(one.name) + 1)
            else:  # a polygon of two points, or thinner than a pixel
                empty += 1
        image = self._drawings[entry.declared.file_name]
        void = union(image.void, entry.size, image.where)
        return TruthRecord.of(entry.declared.image_id, entry.declared.role, masks, labels, void, empty)


def union(regions: Sequence[Region], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Mask bool [H, W] of all regions; DataError where one is none of an image of this size."""
    mask = np.zeros(size, dtype=bool)
    for region in regions:
        mask |= region.mask(size, where)
    return mask


def merged(parts: Sequence[Drawn]) -> Drawn:
    """One object of several parts; without mask where one of them has none."""
    if len(parts) == 1:
        return parts[0]
    boxes = [one.box for one in parts if one.box is not None]
    regions = [region for one in parts for region in one.regions]
    whole = all(one.regions for one in parts)
    return Drawn(
        parts[0].name,
        box_of_boxes(boxes) if boxes else None,
        parts[0].where,
        tuple(regions) if whole else (),
    )


def only_class(options: FolderOptions, note: Callable[[str], None], what: str) -> str:
    """The one class of data that name none: that of `data.classes`, else "object".

    Args:
        what: what would name classes, for the user.

    Raises:
        DataError: `data.classes` has several.
    """
    if options.classes is None:
        note(f"all objects are of one class, {ONE_CLASS!r}: {what}; data.classes=[NAME] names it")
        return ONE_CLASS
    if len(options.classes) > 1:
        raise DataError(
            f"data.classes: expected one class, because objects have none ({what}), got {', '.join(options.classes)}"
        )
    return options.classes[0]


def _labelled(one: DrawnImage) -> Labelled:
    objects = tuple(DeclaredObject(item.name, item.box, item.where) for item in one.objects)
    return Labelled(one.file_name, objects, one.where, one.split, one.size)
