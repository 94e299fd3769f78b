"""Instance masks as image files, one of numbers for each photograph or one for each instance, in three layouts.

    images/a.jpg, masks/a.png                at each pixel 0 or the number of an instance
    a/images/a.png, a/masks/1.png, 2.png     a file an instance (DSB 2018); also masks/a/1.png for images/a.png
    leftImg8bit/train/.., gtFine/train/..    Cityscapes

Splits are folders above or below (train/images/, images/train/). `masks` may be called `instances` or
`instance_masks`. A table `instances.csv` (image,instance,class) names the class of each instance, an empty one means
that its pixels count as nothing; without table all are of one class. Every object has box and mask. Suffix: H W image.
"""

import csv
import io
import os
import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.folder_files import Problems, class_name, inside, read_bytes, read_text
from wsis.readers.files.image_files import files_below
from wsis.readers.files.images import decode_ids
from wsis.readers.formats.cityscapes import LEFT, cityscapes_class, is_cityscapes, its_instances
from wsis.readers.shared.drawn import Drawn, DrawnImage, DrawnSource, only_class
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.names import NameIndex, images_below
from wsis.readers.shared.regions import Patch
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits

TABLE = "instances.csv"
_FOLDERS = ("masks", "instances", "instance_masks")
_ENDINGS = (".png", ".tif", ".tiff")
_BEHIND = (
    "",
    "_mask",
    "_masks",
    "-mask",
    "_instances",
    "_segmentation",
)  # the name of the photograph: a_mask.png
_COLUMNS = {
    "image": ("image", "file", "file_name", "filename"),
    "instance": ("instance", "instance_id", "id", "mask"),
    "class": ("class", "label", "category", "class_name"),
}
_LOOKED_INTO = 5


class Instances(DrawnSource):
    """A folder of photographs and masks."""

    _maps = _in_pieces = 0  # files of numbers; of these, with one instance in several pieces
    _several = False  # whether one of them holds more than one instance

    @cached_property
    def _files(self) -> frozenset[str]:
        """All files of masks."""
        return frozenset(p for p in files_below(self.root) if p.lower().endswith(_ENDINGS))

    @cached_property
    def _written(self) -> Mapping[str, str]:
        """Files of masks by their paths with an ending in small letters."""
        return {
            f"{stem}{end.lower()}": stem + end for stem, end in map(posixpath.splitext, sorted(self._files))
        }

    @cached_property
    def _of_cityscapes(self) -> bool:
        return is_cityscapes(self.root)

    @cached_property
    def _images(self) -> list[str]:
        """Photographs: those in a folder `images`, of Cityscapes those of its left camera."""
        found = images_below(self.root)
        if self._of_cityscapes:
            return [p for p in found if p.startswith(f"{LEFT}/")]
        return [p for p in found if "images" in PurePosixPath(p).parts[:-1]]

    def _drawn(self, problems: Problems) -> Iterator[DrawnImage]:
        classes = self._table(problems)
        for path in self._images:
            with problems.collect():
                found = list(self._patches(path))
                if found:
                    yield self._image(path, found, classes)
        self._note_classes_drawn()
        if not self._drawings and not problems.messages:
            raise DataError(
                f"{self.root}: expected masks of {counted(len(self._images), 'photograph')}, "
                "masks/a.png for images/a.jpg, got none"
            )

    def _patches(self, image: str) -> Iterator[tuple[str, Patch, str]]:
        """Number or name, pixels and file of each instance of an image; one without pixels for a file that has none."""
        if self._of_cityscapes:
            files = [its_instances(image)]
        else:
            files, each = self._masks_of(image)
            for path in each:
                mask = self._ids(path) > 0
                yield PurePosixPath(path).stem, Patch.of(mask), path
        for path in files:
            if path in self._files:
                ids = self._ids(path)
                yield "", Patch.at((ids.shape[0], ids.shape[1]), (0, 0), np.zeros((0, 0), bool)), path
                yield from ((str(number), patch, path) for number, patch in self._counted(ids))

    def _counted(self, ids: NDArray[np.int64]) -> list[tuple[int, Patch]]:
        """The instances of a map, and what `_note_classes_drawn` must know of it."""
        found = list(patches(ids))
        self._maps += 1
        self._several = self._several or len(found) > 1
        if not self._several:
            self._in_pieces += ndimage.label(ids > 0, np.ones((3, 3)))[1] > 1
        return found

    def _note_classes_drawn(self) -> None:
        """Say where masks may be those of a class, which do not tell its instances apart."""
        if self._maps > 1 and not self._several and self._in_pieces:
            self.note(
                f"each of {self._maps} masks holds one number, so that each image has one object, in "
                f"{self._in_pieces} of them in pieces; where these are masks of a class, number its instances"
            )

    def _masks_of(self, image: str) -> tuple[list[str], list[str]]:
        """Places of the one file of all instances, and files of one instance each."""
        parts = list(PurePosixPath(image).with_suffix("").parts)
        at = len(parts) - 2 - parts[-2::-1].index("images")
        places = [posixpath.join(*parts[:at], name, *parts[at + 1 :]) for name in _FOLDERS]
        written = (place + more + ending for more in _BEHIND for place in places for ending in _ENDINGS)
        whole = [self._written[name] for name in written if name in self._written]
        if whole:
            return whole[:1], []
        folders = [*places, *(posixpath.join(*parts[:at], name) for name in _FOLDERS if at > 0)]
        for folder in folders:
            if self._alone(image) or folder in places:
                each = self._by_folder.get(folder)
                if each:
                    return [], each
        return [], []

    def _alone(self, image: str) -> bool:
        """Whether no other photograph lies in the folder of this one."""
        return self._crowds[posixpath.dirname(image)] == 1

    @cached_property
    def _crowds(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for path in self._images:
            counts[posixpath.dirname(path)] = counts.get(posixpath.dirname(path), 0) + 1
        return counts

    @cached_property
    def _by_folder(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in sorted(self._files):
            found.setdefault(posixpath.dirname(path), []).append(path)
        return found

    def _ids(self, path: str) -> NDArray[np.int64]:
        return decode_ids(
            read_bytes(inside(self.root, path, "masks"), f"masks {path}"), str(self.root / path)
        )

    def _image(
        self,
        path: str,
        found: list[tuple[str, Patch, str]],
        classes: Mapping[tuple[str, str], str] | None,
    ) -> DrawnImage:
        sizes = {patch.size for _, patch, _ in found}
        where = str(self.root / found[0][2])
        if len(sizes) > 1:
            raise DataError(f"{where}: expected masks of one size, got {sorted(sizes)!r:.120} (image {path})")
        objects, void = [], []
        for key, patch, file in found:
            if not patch.bits:
                continue
            place = f"{self.root / file}: instance {key}"
            name = self._class_of(path, key, classes, place)
            if name:
                objects.append(Drawn(name, patch.box, place, (patch,)))
            elif name == "":
                void.append(patch)
        return DrawnImage(path, tuple(objects), where, self._split_of(path), next(iter(sizes)), tuple(void))

    def _class_of(
        self, image: str, key: str, classes: Mapping[tuple[str, str], str] | None, where: str
    ) -> str | None:
        """Its class; empty: its pixels count as nothing; None: it is no instance."""
        if self._of_cityscapes:
            return cityscapes_class(int(key))
        if classes is None:
            return only_class(self.options, self.note, f"there is no table {TABLE}")
        if (image, key) not in classes:
            raise DataError(f"{where}: expected a row in {self.root / TABLE}, got none (image {image})")
        return classes[image, key]

    def _table(self, problems: Problems) -> dict[tuple[str, str], str] | None:
        """(Image, instance) -> class; None where there is no table."""
        path = self.root / TABLE
        if not os.path.lexists(path):
            return None
        index = NameIndex(self.root, self._images, "images" if (self.root / "images").is_dir() else ".")
        found: dict[tuple[str, str], str] = {}
        for where, image, instance, name in _rows(path):
            with problems.collect():
                number = instance.removesuffix(".0") if instance.removesuffix(".0").isdecimal() else instance
                key = (index.find(image, f"{where}: field 'image'"), number)
                if found.setdefault(key, name) != name:
                    raise DataError(f"{where}: instance {instance} of {image} is a {found[key]!r} above")
        return found


def patches(ids: NDArray[np.int64]) -> Iterator[tuple[int, Patch]]:
    """Number and pixels of each instance of a map [H, W] of whole numbers, in the order of the numbers."""
    numbers = np.unique(ids[ids > 0])
    dense = np.where(ids > 0, np.searchsorted(numbers, ids) + 1, 0).astype(np.int32)
    for place, box in enumerate(ndimage.find_objects(dense), start=1):
        corner = (box[0].start, box[1].start)
        yield int(numbers[place - 1]), Patch.at((ids.shape[0], ids.shape[1]), corner, dense[box] == place)


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Place, image, instance and class of each row of the table."""
    text = read_text(path, "table of instances")
    separator = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [field.strip().casefold() for field in next(reader, [])]
        places = [next((header.index(w) for w in words if w in header), -1) for words in _COLUMNS.values()]
        if -1 in places:
            raise DataError(f"{path}: expected a header image,instance,class, got {header!r:.120}")
        for row in reader:
            if not any(row):
                continue
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(header):
                raise DataError(f"{where}: expected {len(header)} fields, got {len(row)}")
            image, instance, name = (row[place].strip() for place in places)
            yield where, image, instance, class_name(name, where) if name else ""
    except csv.Error as error:
        raise DataError(f"{path}: no CSV: {error}") from error


def _look(root: Path, given: Given) -> str | None:
    if is_cityscapes(root):
        return LEFT
    known = known_splits(given.names)
    below = [one for one in sorted(root.iterdir()) if one.is_dir()]
    some = [root, *below[:_LOOKED_INTO], *(one for one in below if one.name.casefold() in known)]
    deeper = [one for top in below if top.name.casefold() in known for one in sorted(top.iterdir())]
    for folder in [*some, *deeper[:_LOOKED_INTO]]:
        for name in _FOLDERS:
            if (folder / "images").is_dir() and (folder / name).is_dir():
                return (folder / name).relative_to(root).as_posix()
    return None


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> Instances:
    return Instances(root, options, choice)


FORMAT = Format("instance masks (images/a.jpg, masks/a.png)", _look, _open)
