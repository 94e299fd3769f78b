"""YOLO's text files (the layouts of Ultralytics and Roboflow): boxes for training, polygons as masks for evaluation.

    data.yaml                                  names: a list, or number: name
    classes.txt, obj.names                     or a name a line (LabelImg, Label Studio, Darknet)
    images/<split>/a.jpg, labels/<split>/a.txt
    <split>/images/a.jpg, <split>/labels/a.txt
    a.jpg, a.txt

A line is `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 ...`, in shares of the image's sides. An image whose text
file is empty or absent shows none of the classes. Suffix: H W image.
"""

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_contracts.errors import DataError
from data_contracts.printable import counted, first_few
from data_contracts.yaml_text import read_yaml_file
from wsis.readers.files.folder_files import (
    Problems,
    class_name,
    finite_number,
    inside,
    is_number,
    read_bytes,
    read_text,
    require_file,
)
from wsis.readers.files.image_files import KnownImages, files_below, without_ending
from wsis.readers.files.images import image_size
from wsis.readers.shared.drawn import Drawn, DrawnImage, DrawnSource
from wsis.readers.shared.folder import Entry, FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.layout import split_names
from wsis.readers.shared.regions import Polygon, box_around
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits, read_list, split_folder

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_ENDINGS = (".yaml", ".yml")
_TEXTS = ("classes.txt", "obj.names", "labels/classes.txt", "data/obj.names")
_FEWEST_FIELDS = 5  # class and box
_NEAR = 1.0  # how far outside of 0..1 a coordinate may be; further, it is no share of a side but pixels


@dataclass(frozen=True)
class _Line:
    """A line of a text file: class name, and its numbers: a box cx cy w h or a polygon x y x y x y ..."""

    name: str
    numbers: tuple[float, ...]
    where: str

    @property
    def is_box(self) -> bool:
        return len(self.numbers) == 4


class _InEveryFile(DataError):
    """A fault that a tool makes in each text file it writes, so that all of them are one problem."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Faults:
    """What is wrong with text files: of each kind that a tool repeats the first, and in how many files it is."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._repeated: dict[str, list[str]] = {}

    @contextmanager
    def collect(self) -> Iterator[None]:
        with self._problems.collect():
            try:
                yield
            except _InEveryFile as error:
                self._repeated.setdefault(error.kind, []).append(str(error))

    def tell(self) -> None:
        for first, *others in self._repeated.values():
            files = counted(len(others), "more text file")
            self._problems.add(f"{first}; so it is in {files}" if others else first)


def find_names_file(root: Path) -> Path | None:
    """The file below the root that names the classes: a usual YAML, else the only one with `names`, else a text."""
    usual = [root / name for name in _YAML if (root / name).is_file()]
    if usual:
        return usual[0]
    others = [one for one in sorted(root.iterdir()) if one.suffix.lower() in _ENDINGS and one.is_file()]
    named = [one for one in others if b"names" in read_bytes(one, "YAML")]
    if len(named) == 1:
        return named[0]
    texts = [root / name for name in _TEXTS if (root / name).is_file()]
    texts = texts or _names_beside_labels(root)
    return texts[0] if texts and not named and _has_labels(root, texts) else None


def _names_beside_labels(root: Path) -> list[Path]:
    """The `classes.txt` that LabelImg writes into each folder of labels.

    Raises:
        DataError: they name different classes.
    """
    places = (f"{folder}/{_TEXTS[0]}" for folder in ("*", "labels/*", "*/labels"))
    texts = sorted(path for place in places for path in root.glob(place) if path.is_file())
    if len({read_bytes(path, "names of classes") for path in texts}) > 1:
        shown = ", ".join(path.relative_to(root).as_posix() for path in texts[:3])
        raise DataError(f"{root}: expected the same classes in each of {shown}, got different ones")
    return texts[:1]


def _has_labels(root: Path, texts: list[Path]) -> bool:
    """Whether text files beside those of the names may be labels: other tools write classes.txt too."""
    places = ("*.txt", "labels/*.txt", "*/*.txt", "labels/*/*.txt")
    return any(path.name != _TEXTS[0] and path not in texts for place in places for path in root.glob(place))


class YoloLabels(DrawnSource):
    """A folder of Ultralytics' or Roboflow's shape."""

    def __init__(self, root: Path, options: FolderOptions, choice: SplitChoice) -> None:
        super().__init__(root, options, choice)
        self._lines: dict[str, list[_Line]] = {}  # image -> its lines

    @cached_property
    def _settings(self) -> tuple[Path, dict[str, Any]]:
        path = self.root / self._named_files[0] if self._named_files else find_names_file(self.root)
        if path is None:
            raise DataError(f"{self.root}: expected data.yaml with the names of the classes, got none")
        if path.suffix.lower() not in _ENDINGS:
            lines = [line.strip() for line in read_text(path, "names of classes").splitlines()]
            return path, {"names": [line for line in lines if line], **self._lists()}
        tree = read_yaml_file(path, DataError)
        if not isinstance(tree, dict):
            raise DataError(f"{path}: expected a mapping with 'names', got {type(tree).__name__}")
        return path, tree

    def _lists(self) -> dict[str, str]:
        """Split -> its list of images in the root, as Darknet and CVAT write them beside the names of the classes."""
        names = known_splits(self.choice.names)
        return {name: f"{name}.txt" for name in sorted(names) if (self.root / f"{name}.txt").is_file()}

    @cached_property
    def _classes(self) -> dict[int, str]:
        """Number of each class, from 0, and its name."""
        path, tree = self._settings
        names = tree.get("names")
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names:
            raise DataError(
                f"{path}: field 'names': expected a list of classes or number: class, got {names!r:.80}"
            )
        classes: dict[int, str] = {}
        for key, name in names.items():
            number = int(key) if str(key).isdecimal() else -1
            if number < 0 or isinstance(name, dict | list | bool) or name is None:  # YAML's true is no text
                raise DataError(
                    f"{path}: field 'names': expected number: class, got {key!r}: {name!r:.80}; a class of this name "
                    "stands in quotes"
                )
            classes[number] = class_name(str(name), f"{path}: field 'names'")
        if len(set(classes.values())) < len(classes):
            raise DataError(
                f"{path}: field 'names': expected each class once, got {list(classes.values())!r:.200}"
            )
        return dict(sorted(classes.items()))

    def _drawn(self, problems: Problems) -> Iterator[DrawnImage]:
        return self._of_images(problems) if self._known is None else self._of_texts(self._known, problems)

    def _of_texts(self, known: KnownImages, problems: Problems) -> Iterator[DrawnImage]:
        """The images that have a text file, wherever they lie; an empty one says that nothing is there."""
        classes, faults = self._classes, _Faults(problems)
        for name in self._texts:
            with faults.collect():
                text = inside(self.root, name, "labels")
                image = known.find_stem(without_ending(name), str(text))
                size = known.sizes.get(image)
                lines = [] if size is None else self._lines_of(text, classes)
                yield DrawnImage(image, tuple(_object(one, size) for one in lines if size), str(text))
        faults.tell()

    @cached_property
    def _texts(self) -> list[str]:
        """Text files of labels: of the folders `labels` where there are some, else all but lists and names."""
        path, tree = self._settings
        found = [n for n in self._text_files if n not in _TEXTS and PurePosixPath(n).name != _TEXTS[0]]
        labels = [name for name in found if "labels" in PurePosixPath(name).parts[:-1]]
        listed = {PurePosixPath(str(value)).name for value in tree.values() if isinstance(value, str)}
        texts = labels or [name for name in found if PurePosixPath(name).name not in listed]
        if not texts:
            raise DataError(
                f"{path}: expected text files of labels beside it, labels/a.txt for a.jpg, got none"
            )
        return texts

    def _of_images(self, problems: Problems) -> Iterator[DrawnImage]:
        split_of = self._splits(problems)
        classes, missing, faults = self._classes, 0, _Faults(problems)
        for path in self._images:
            with faults.collect():
                text = self._text_file(path)
                missing += not text.exists()
                self._lines[path] = self._lines_of(text, classes) if text.exists() else []
                yield self._image(path, text, split_of.get(path))
        faults.tell()
        if self._drawings and missing == len(self._drawings):
            raise DataError(
                f"{self.root}: expected text files of labels beside the images, labels/train/a.txt for "
                f"images/train/a.jpg, got none for {counted(missing, 'image')}"
            )
        if missing:
            self.note(
                f"{missing} of {len(self._drawings)} images have no text file: they show none of the classes"
            )
        self._note_texts_alone()
        used = {one.name for image in self._drawings.values() for one in image.objects}
        unused = [name for name in classes.values() if name not in used]
        if unused and self.options.classes is None:
            shown = ", ".join(unused[:10])
            self.note(f"left out: {len(unused)} of {len(classes)} classes, which no object has: {shown}")

    def _note_texts_alone(self) -> None:
        """Say which text files of labels belong to no image: it is missing, or has another name or ending."""
        used = {self._text_name(image) for image in self._images}
        alone = [name for name in self._text_files if name not in used and _has_objects(self.root / name)]
        if alone:
            self.note(
                f"left out: {counted(len(alone), 'text file')} of labels without image: {first_few(alone)}"
            )

    def _splits(self, problems: Problems) -> dict[str, str]:
        """Image -> its split: where the YAML says it lies (a folder, or a list of images), else by folder names."""
        path, tree = self._settings
        known, train = known_splits(self.choice.names), self.choice.names.get("train", "train")
        splits = {image: name for image in self._images if (name := split_folder(image, known)) is not None}
        train_last = sorted(tree.items(), key=lambda item: str(item[0]) in split_names(train))
        for name, places in train_last:  # small sets name the same images for both: then they train
            for written in _written(places) if name in known else ():
                found = self._place(written)
                if found is not None and found.suffix == ".txt":
                    where = f"{path}: field {name!r}"
                    listed = read_list(inside(self.root, str(found), where), self._names(), problems)
                    splits.update(dict.fromkeys(listed, name))
                elif found is not None:
                    splits.update({i: name for i in self._images if PurePosixPath(i).is_relative_to(found)})
        return splits

    def _place(self, written: str) -> PurePosixPath | None:
        """The folder or list below the root that the YAML means: from its `path` on, else from the root; None where
        there is neither, as of another machine's folders."""
        above = next(iter(_written(self._settings[1].get("path"))), ".")
        for base in (above, "."):
            parts = PurePosixPath(base, written).parts
            below = PurePosixPath(*(part for part in parts if part not in ("..", "/")))
            there = os.path.isfile if below.suffix == ".txt" else os.path.isdir
            if there(self.root / below):
                return below
        return None

    def _text_file(self, image: str) -> Path:
        return inside(self.root, self._text_name(image), f"labels of {image}")

    def _text_name(self, image: str) -> str:
        """Ultralytics' rule: the last folder `images` becomes `labels`; else beside the image."""
        parts = list(PurePosixPath(image).with_suffix(".txt").parts)
        for place in range(len(parts) - 2, -1, -1):
            if parts[place].casefold() == "images":
                parts[place] = "labels"
                break
        name = posixpath.join(*parts)
        return self._text_names.get(name.casefold(), name)

    @cached_property
    def _text_files(self) -> list[str]:
        return [name for name in files_below(self.root) if name.lower().endswith(".txt")]

    @cached_property
    def _text_names(self) -> dict[str, str]:
        """Path of each text file, to be found whatever the case of its ending and folders -> as it is."""
        return {name.casefold(): name for name in self._text_files}

    def _lines_of(self, path: Path, classes: dict[int, str]) -> list[_Line]:
        require_file(path, "labels")
        if path.stat().st_size == 0:
            return []
        keypoints = "kpt_shape" in self._settings[1]
        lines = []
        for number, text in enumerate(read_text(path, "labels").splitlines(), start=1):
            if fields := text.split():
                where = f"{path}: line {number}"
                lines.append(_parsed(fields[:5] if keypoints else fields, classes, where))
        return lines

    def _image(self, image: str, text: Path, split: str | None) -> DrawnImage:
        lines = self._lines[image]
        if not lines:
            return DrawnImage(image, (), str(text), split)
        size = image_size(read_bytes(self.root / image, f"image {image}"), str(self.root / image))
        return DrawnImage(image, tuple(_object(one, size) for one in lines), str(text), split)

    def _infer_classes(self, declared: Any) -> tuple[str, ...]:
        used = {one.name for some in self._lines.values() for one in some}
        return tuple(name for name in self._classes.values() if name in used)

    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        for one in self._lines[entry.declared.file_name]:
            if one.name in self.classes:
                yield repr((one.name, one.numbers)).encode()


def _has_objects(path: Path) -> bool:
    """Whether the first line of a text is one of labels, and not of a list, names of classes or a README."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        fields = lines.readline().split()
    return len(fields) >= _FEWEST_FIELDS and all(is_number(field) for field in fields)


def _written(places: Any) -> list[str]:
    """The places that a field of the YAML names, one or a list, with "/"."""
    some = places if isinstance(places, list) else [places]
    return [place.replace("\\", "/") for place in some if isinstance(place, str) and place]


def _parsed(fields: list[str], classes: dict[int, str], where: str) -> _Line:
    if not is_number(fields[0]):
        known = ", ".join(f"{number} {name}" for number, name in classes.items())
        raise _InEveryFile(
            "name", f"{where}: field 1: expected a number of a class ({known:.80}), got {fields[0]!r:.80}"
        )
    values = [finite_number(field, f"{where}: field {place}") for place, field in enumerate(fields, start=1)]
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise DataError(
            f"{where}: expected 'class cx cy w h' or 'class x y x y x y ...', got {len(values)} numbers"
        )
    if int(values[0]) != values[0] or int(values[0]) not in classes:
        raise _InEveryFile(
            f"class {fields[0]}",
            f"{where}: field 1: expected a class of {list(classes)!r:.80}, got {fields[0]}",
        )
    far = [v for v in values[1:] if not -_NEAR <= v <= 1 + _NEAR]
    if far:
        raise _InEveryFile(
            "pixels",
            f"{where}: expected shares of the image's sides, 0 to 1, got {far[0]:g}; are these pixels?",
        )
    return _Line(classes[int(values[0])], tuple(values[1:]), where)


def _object(line: _Line, size: tuple[int, int]) -> Drawn:
    """In pixels: a box, or a polygon with its box."""
    height, width = size
    if line.is_box:
        cx, cy, w, h = line.numbers
        box = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
        return Drawn(line.name, box, line.where)
    points = np.array(line.numbers).reshape(-1, 2) * (width, height)
    return Drawn(line.name, box_around(points), line.where, (Polygon(points),))


def _look(root: Path, given: Given) -> str | None:
    found = find_names_file(root)
    return None if found is None else found.name


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> YoloLabels:
    return YoloLabels(root, options, choice)


FORMAT = Format("YOLO (data.yaml, labels/)", _look, _open)
