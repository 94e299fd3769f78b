"""Files of masks in the formats that data sets have, each read by its reader: what they say of which image.

| format       | a file                  | a folder                                                    |
| ------------ | ----------------------- | ----------------------------------------------------------- |
| coco         | instances JSON          | with such files                                             |
| labelme      | of one image            | with a file an image                                        |
| label_studio | its JSON export         | with it                                                     |
| yolo         | data.yaml               | data.yaml (classes.txt, obj.names), text files of polygons  |
| via          | project, JSON, CSV      | with them                                                   |
| instances    |                         | images/a.jpg, masks/a.png, instances.csv                    |

Images need not lie beside the files, but for `instances`. Suffix: H W image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.folder_files import Problems, require_file
from wsis.readers.files.image_files import KnownImages, files_below, without_ending
from wsis.readers.files.json_files import find_written_by, refuse_broken, tool_of
from wsis.readers.formats import FORMATS, LAST
from wsis.readers.formats.coco_file import CocoAnnotation, read_coco
from wsis.readers.formats.coco_masks import segmentation_mask
from wsis.readers.formats.via_format import is_via_table
from wsis.readers.shared.drawn import Drawn, DrawnImage, DrawnSource, union
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Given
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits

SETTING = "data.masks"
_MASKED = ("yolo", "labelme", "via", "label_studio", "instances")
_KNOWN = "COCO instances, labelme, Label Studio's JSON, YOLO (data.yaml, labels/), VIA or instance images with masks/"
_TEXTS = (".json", ".txt", ".yaml", ".yml", ".csv", ".names")
_IMAGES = (".csv", ".png", ".tif", ".tiff")
_LOOKED_INTO = 20
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


@dataclass(frozen=True)
class Place:
    """Where masks lie.

    Attributes:
        format: "coco" or a name of `FORMATS`.
        root: the folder.
        files: annotation files below it, to be read alone; none: those that the format finds.
        named: whether the user names the one file, and no folder.
    """

    format: str
    root: Path
    files: tuple[str, ...] = ()
    named: bool = False

    @property
    def contents(self) -> list[str]:
        """The files, below the root, of which the masks are a function."""
        if self.files and self.format != "yolo":
            return list(self.files)
        endings = _IMAGES if self.format == "instances" else _TEXTS
        return [name for name in files_below(self.root) if name.lower().endswith(endings)]


@dataclass(frozen=True, eq=False)
class GivenObject:
    """An instance: its class as it is called, and (H, W) -> its mask bool [H, W], which raises DataError where it is
    none of an image of this size."""

    name: str
    where: str
    mask: Callable[[tuple[int, int]], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class GivenImage:
    """An image that the files list: how they call it, its (height, width) if they say it, and all its instances."""

    file_name: str
    where: str
    size: tuple[int, int] | None
    objects: Sequence[GivenObject]


def find_place(path: Path, where: str = SETTING) -> Place:
    """What a file or folder holds, by the keys and names in it.

    Args:
        where: what names the file or folder, for messages.

    Raises:
        DataError: it is missing, of no known kind, or of several.
    """
    if path.is_dir():
        return _of_folder(path, where)
    require_file(path, where)
    suffix = path.suffix.lower()
    tool = "yolo" if suffix in (".yaml", ".yml") else tool_of(path)
    if tool is None and suffix == ".csv" and is_via_table(path):
        tool = "via"
    if tool is None and suffix != ".json":
        unpack = "; unpack it" if suffix in _PACKED else ""
        raise DataError(
            f"{where}: {path}: expected a file or folder of {_KNOWN}, got a file that is none{unpack}"
        )
    return Place(tool or "coco", path.parent, (path.name,), named=True)  # COCO's reader says what is missing


def _of_folder(root: Path, where: str) -> Place:
    given = Given({}, {})
    found = {name: what for name in _MASKED if name not in LAST and (what := FORMATS[name].look(root, given))}
    coco = find_written_by(root, "coco", known_splits({}))
    if coco:
        found["coco"] = ", ".join(coco)
    if len(found) > 1:
        shown = ", ".join(f"{name} ({what})" for name, what in found.items())
        raise DataError(
            f"{where}: {root}: expected masks of one kind, got {shown}; name the file, or a folder with one kind"
        )
    if not found and (deep := _deep_labelme(root)):
        found["labelme"] = deep
    for name in LAST:
        if not found and name in _MASKED and (what := FORMATS[name].look(root, given)):
            found[name] = what
    if not found:
        expected = f"{where}: {root}: expected {_KNOWN}"
        refuse_broken(_json_files(root), expected)
        raise DataError(f"{expected}, got {_instead(root)}")
    (name,) = found
    return Place(name, FORMATS[name].home(root), tuple(coco))


def _deep_labelme(root: Path) -> str | None:
    """A file of labelme in folders as deep as those of the images may be."""
    some = islice(_json_files(root), _LOOKED_INTO)
    return next((path.relative_to(root).as_posix() for path in some if tool_of(path) == "labelme"), None)


def _json_files(root: Path) -> Iterator[Path]:
    return (root / name for name in files_below(root) if name.lower().endswith(".json"))


def _instead(root: Path) -> str:
    names = list(files_below(root))
    texts = [name for name in names if name.endswith(".txt")]
    if texts:
        return (
            f"{counted(len(texts), 'text file')} and no data.yaml, classes.txt or obj.names, "
            f"which names YOLO's classes, beside {texts[0]}"
        )
    if len(names) == 1:
        return f"another file, {names[0]}"
    return f"{len(names)} other files, {names[0]} and the like" if names else "an empty folder"


def read_place(
    place: Place,
    sizes: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
    problems: Problems,
    note: Callable[[str], None],
    where: str = SETTING,
) -> Iterator[GivenImage]:
    """The images that are listed, each once in drawn formats; what is wrong with single ones goes to `problems`.

    Args:
        sizes: file name of each image of the data set -> its (height, width).
        classes: of the data set.
        note: is told what the reader decided.
        where: what names the place, for messages.

    Raises:
        DataError: nothing can be read.
    """
    if place.format == "coco":
        return (one for name in place.files for one in _of_coco(place.root / name, problems, where))
    options = FolderOptions(splits={}, classes=tuple(classes))
    source = FORMATS[place.format].open(DataSettings(), place.root, options, SplitChoice({}))
    if not isinstance(source, DrawnSource):
        raise TypeError(f"{place.format}: a format with masks is a DrawnSource, got {type(source).__name__}")
    known, beside = KnownImages(sizes), place.format == "instances"
    if not beside:
        source.annotates(known, place.files)
    images = source.drawings(problems)
    decided = source.decided()
    if not images and not problems.messages:
        more = f" ({'; '.join(decided)})" if decided else ""
        raise DataError(f"{_shown(place)}: expected images with masks, got none{more}")
    for line in decided:
        note(f"{_shown(place)}: {line}")

    def given(one: DrawnImage) -> GivenImage:
        name = known.find_stem(without_ending(one.file_name), one.where) if beside else one.file_name
        return GivenImage(name, one.where, one.size, [_drawn(item) for item in one.objects])

    return map(given, images)


def _shown(place: Place) -> Path:
    return place.root / place.files[0] if place.named else place.root


def _drawn(one: Drawn) -> GivenObject:
    def mask(size: tuple[int, int]) -> NDArray[np.bool_]:
        if not one.regions:
            raise DataError(f"{one.where}: expected a mask of {one.name}, got a box or a label alone")
        return union(one.regions, size, one.where)

    return GivenObject(one.name, one.where, mask)


def _of_coco(path: Path, problems: Problems, where: str) -> Iterator[GivenImage]:
    """Crowds are left out."""
    file = read_coco(path, where, problems)

    def given(one: CocoAnnotation) -> GivenObject:
        return GivenObject(
            one.category, one.where, lambda size: segmentation_mask(one.fields(), size, one.where)
        )

    for image in file.images:
        objects = [given(one) for one in file.of(image.number) if not one.crowd]
        yield GivenImage(image.file_name, f"{image.where} ({image.file_name})", image.size, objects)
