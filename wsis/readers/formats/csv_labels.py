"""Labels in CSV files (`table`): one for all images, or one a split, beside or above a folder of images.

    labels.csv (any single .csv or .tsv at the root, or data.labels_file)
    <split>.csv, <split>/_classes.csv (Roboflow), <split>/metadata.csv (Hugging Face), ...

An empty label field means that the image shows none of the classes.
"""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_contracts.errors import DataError
from data_contracts.paths import user_path
from data_contracts.printable import counted, first_few
from wsis.readers.files.folder_files import Problems, class_name, inside
from wsis.readers.formats.instances import TABLE as INSTANCES_TABLE
from wsis.readers.formats.table import Row, read_table
from wsis.readers.formats.table_labels import Divider, label_divider
from wsis.readers.formats.via_format import is_via_table
from wsis.readers.shared.annotations import DeclaredObject
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.labelled import NEGATIVES, Labelled, LabelledSource, is_negative_name
from wsis.readers.shared.layout import as_written, split_names
from wsis.readers.shared.names import NameIndex, images_below
from wsis.readers.shared.records import Role
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, known_splits

_OF_A_SPLIT = (
    "{}.csv",
    "{}.tsv",
    "{}/_classes.csv",
    "{}/_annotations.csv",
    "{}/labels.csv",
    "{}/metadata.csv",
    "{}_labels.csv",
    "labels/{}.csv",
)
_ENDINGS = (".csv", ".tsv")
_MISSING = ("nan", "n/a", "#n/a", "<na>", "null")  # as pandas, Excel and SQL write it


def find_tables(root: Path, names: Mapping[Role, str]) -> dict[str | None, str]:
    """Split -> its table below the root; None -> the one table of all images. Empty where there is none.

    Raises:
        DataError: several tables, and nothing says which.
    """
    found: dict[str | None, str] = {}
    for split in names.values():
        places = dict.fromkeys(place.format(name) for name in split_names(split) for place in _OF_A_SPLIT)
        there = [place for place in places if os.path.exists(root / place)] or as_written(root, places)
        if len(there) > 1:
            raise DataError(f"{root}: expected one table of split {split!r}, got {', '.join(there)}")
        if there:
            found[split] = there[0]
    wanted = names.get("train") or names["val"]
    if wanted in found:
        return found
    single = sorted(one.name for one in root.iterdir() if one.suffix.lower() in _ENDINGS and _may_be(one))
    if len(single) > 1:
        raise DataError(
            f"{root}: expected one table of labels, got {', '.join(single[:5])}; data.labels_file names yours"
        )
    return {None: single[0]} if single else {}


def _may_be(path: Path) -> bool:
    """Whether a file may be a table of labels: those of instances and of VIA's regions are none."""
    return path.is_file() and path.name != INSTANCES_TABLE and not is_via_table(path)


@dataclass
class _Image:
    """What the rows of one image say."""

    fields: list[str | tuple[str, ...]]
    split: str | None
    where: str


class CsvLabels(LabelledSource):
    """Images whose labels stand in tables.

    Args:
        tables: split (None: all) -> table.
        folder: of the images, below the root, where a name alone is looked for first; None: `images/` if there is one.
        negatives: labels that mean "none of the classes".
    """

    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        choice: SplitChoice,
        tables: Mapping[str | None, Path],
        folder: str | None = None,
        negatives: tuple[str, ...] = NEGATIVES,
    ) -> None:
        super().__init__(root, options, choice)
        self.tables, self.negatives = tables, negatives
        usual = "images" if (root / "images").is_dir() else "."
        self.folder = usual if folder is None else folder
        if not inside(root, self.folder, "data.train_images").is_dir():
            raise DataError(f"data.train_images: expected a folder of images in {root}, got {self.folder!r}")

    @cached_property
    def _images(self) -> list[str]:
        return images_below(self.root)

    def _names(self) -> NameIndex:
        return NameIndex(self.root, self._images, self.folder)

    def _scan(self, problems: Problems) -> list[Labelled]:
        images: dict[str, _Image] = {}
        for split, path in self.tables.items():
            with problems.collect():
                self._read_table(split, path, images, problems)
        fields = [f for one in images.values() for f in one.fields if isinstance(f, str)]
        several = any(len(set(one.fields)) > 1 for one in images.values())
        divider = label_divider(fields, self.options.classes, several)
        labelled = []
        for name, one in images.items():
            with problems.collect():
                labelled.append(self._labelled(name, one, divider))
        bare = len(self._images) - len(images)
        if bare > 0:
            shown = first_few(sorted(set(self._images) - set(images)))
            self.note(f"left out: {counted(bare, 'image')} that no table names: {shown}")
        return labelled

    def _read_table(
        self, split: str | None, path: Path, images: dict[str, _Image], problems: Problems
    ) -> None:
        index, known = self._names_in(split, path), known_splits(self.choice.names)
        rows = read_table(path, index.knows, lambda field: field.casefold() in known, self.note)
        for row in rows:
            with problems.collect():
                self._add(row, index.find(row.file, f"{row.where}: field 'file'"), split, images)

    def _names_in(self, split: str | None, path: Path) -> NameIndex:
        """Names in the table of a split mean the images beside it, or in the split's folder, first."""
        folder = self.folder
        if split is not None and path.parent != self.root and path.is_relative_to(self.root):
            folder = path.parent.relative_to(self.root).as_posix()
        elif split is not None:
            usual = (posixpath.join(base, name) for name in split_names(split) for base in (folder, "."))
            folder = next((one for one in usual if (self.root / one).is_dir()), folder)
        return NameIndex(self.root, self._images, posixpath.normpath(folder))

    def _add(self, row: Row, name: str, split: str | None, images: dict[str, _Image]) -> None:
        own = split if split is not None else (row.split or "").casefold() or None
        if split is None and row.split == "":
            raise DataError(f"{row.where}: field 'split': expected the name of a split, got nothing")
        one = images.setdefault(name, _Image([], own, row.where))
        if one.split != own:
            raise DataError(
                f"{row.where}: image {name!r} is in split {own!r}, but at {one.where} in {one.split!r}"
            )
        if row.labels is not None:
            one.fields.append(row.labels)

    def _labelled(self, name: str, one: _Image, divide: Divider) -> Labelled:
        rows = [list(field) if isinstance(field, tuple) else divide(field) for field in one.fields]
        labels = list(dict.fromkeys(label for row in rows for label in row))
        missing = [
            one for one in labels if one.casefold() in _MISSING and one not in (self.options.classes or ())
        ]
        if missing:
            raise DataError(
                f"{one.where}: field 'labels': expected classes or none, got {missing[0]!r}, which programs write for "
                "a missing value; an empty field says that the image shows none of them, data.classes makes it a class"
            )
        classes = [one for one in labels if not is_negative_name(one, self.negatives, self.options.classes)]
        nothing = len(classes) < len(labels) or any(not row for row in rows)
        if classes and nothing:
            raise DataError(
                f"{one.where}: field 'labels': expected classes or none, got both for image {name!r}: "
                f"{', '.join(labels)} and {'an empty label' if len(classes) == len(labels) else 'a negative'}"
            )
        where = f"{one.where}: field 'labels'"
        names = sorted({class_name(label, where) for label in classes})
        objects = tuple(DeclaredObject(name, None, where) for name in names)
        return Labelled(name, objects, one.where, one.split)


def tables_of(root: Path, names: Mapping[Role, str], given: Path | None) -> dict[str | None, Path]:
    """Split (None: all) -> table: the one that the user names, else those found.

    Raises:
        DataError: none, or several that nothing tells apart.
    """
    if given is not None:
        path = given if given.is_absolute() else root / given
        if not path.is_file():
            raise DataError(f"data.labels_file: expected a table of labels, got {path} (which is no file)")
        return {None: path}
    found = find_tables(root, names)
    if not found:
        raise DataError(
            f"{root}: expected one table of labels (a .csv or .tsv file, or <split>.csv), got none; "
            "data.labels_file names yours"
        )
    return {split: root / place for split, place in found.items()}


def _look(root: Path, given: Given) -> str | None:
    found = find_tables(root, given.names)
    return ", ".join(found.values()) or None


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> CsvLabels:
    tables = tables_of(
        root, options.splits, config.labels_file and user_path(config.labels_file, "data.labels_file")
    )
    return CsvLabels(root, options, choice, tables, config.train_images, config.negatives)


FORMAT = Format("a table (labels.csv)", _look, _open, boxes=False)
