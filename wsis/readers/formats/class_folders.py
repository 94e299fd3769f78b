"""A folder a class (ImageNet's layout): the labels are the names of the folders.

    <split>/<class>/.../image     where folders are named like the splits (train, val; also valid, validation)
    <class>/.../image             else: data.val_share or lists of names divide them

An image in the folders of several classes has several labels: the same file name with the same bytes (or linked) is one
image. Images in a folder named `negative`, `negatives`, `background` or `none`, with or without "_" before it
(`data.negatives`), show none of the classes.
"""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from data_contracts.errors import DataError
from data_contracts.printable import counted
from wsis.readers.files.folder_files import Problems, class_name, inside, read_bytes, sha256
from wsis.readers.files.image_files import files_below
from wsis.readers.shared.annotations import DeclaredObject
from wsis.readers.shared.folder import FolderOptions
from wsis.readers.shared.format import Format, Given
from wsis.readers.shared.labelled import NEGATIVES, Labelled, LabelledSource, is_negative_name
from wsis.readers.shared.names import NameIndex, images_among, images_below, is_image, is_left_behind
from wsis.readers.shared.records import Role
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import SplitChoice, find_split, known_splits

_BESIDE = (".txt", ".json", ".xml", ".csv", ".md", ".yaml", ".yml", ".html")


@dataclass(frozen=True)
class _File:
    """An image file of a class folder."""

    path: str  # below the root
    split: str | None
    folder: str  # of its class


class ClassFolders(LabelledSource):
    """A folder a class.

    Args:
        negatives: names of folders of images that show none of the classes.
    """

    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        choice: SplitChoice,
        negatives: tuple[str, ...] = NEGATIVES,
    ) -> None:
        super().__init__(root, options, choice)
        self.negatives = negatives

    @cached_property
    def _listed(self) -> tuple[list[str], list[str]]:
        """Images below the root, and files that are none, but for those that tools and systems leave beside them."""
        names = list(files_below(self.root))
        others = [n for n in names if not (is_image(n) or is_left_behind(n) or n.lower().endswith(_BESIDE))]
        return images_among(names), others

    @cached_property
    def _images(self) -> list[str]:
        folder, found = self.choice.apart.folder, self._listed[0]
        if folder is None or posixpath.normpath(folder) == ".":
            return found
        return [path for path in found if not PurePosixPath(path).is_relative_to(posixpath.normpath(folder))]

    def _names(self) -> NameIndex:
        return NameIndex(self.root, self._images)

    def _scan(self, problems: Problems) -> list[Labelled]:
        files, stray = self._files()
        self._note_stray(stray)
        if not files:
            raise DataError(
                f"{self.root}: expected a folder a class with images, <class>/ or "
                f"{'/<class>/ and '.join(self.choice.names.values())}/<class>/, got "
                f"{f'{len(stray)} images without a class folder' if stray else 'no image'}"
            )
        self._note_empty(files)
        self._note_others(files)
        images = []
        for some in _same_images(self.root, files):
            with problems.collect():
                images.append(self._labelled(some))
        return images

    def _note_stray(self, stray: list[str]) -> None:
        """Say which images are left out, where they are not val by other annotations."""
        apart = self.choice.apart.files() if stray else frozenset()
        unused = [path for path in stray if not apart or (self.root / path).resolve() not in apart]
        if unused:
            shown = ", ".join(unused[:3])
            images = "1 image that lies" if len(unused) == 1 else f"{len(unused)} images that lie"
            self.note(f"left out: {images} in no class folder: {shown}")

    def _note_empty(self, files: list[_File]) -> None:
        """Say which folders beside those of the classes hold no image: most often a copy that failed."""
        above = {self.root / (one.split or "") for one in files}
        classes = {one.folder for one in files}
        beside = {
            path
            for folder in above
            for path in folder.iterdir()
            if path.is_dir() and path.name not in classes
        }
        empty = []
        for path in sorted(one for one in beside if not is_left_behind(one.name)):
            names = [name for name in files_below(path) if not is_left_behind(name)]
            of_labels = bool(names) and all(name.lower().endswith(_BESIDE) for name in names)
            if not (of_labels or any(map(is_image, names))):
                held = counted(len(names), "other file") if names else "empty"
                empty.append(f"{path.relative_to(self.root).as_posix()} ({held})")
        if empty:
            self.note(f"no image, and so no class: {', '.join(empty[:5])}")

    def _note_others(self, files: list[_File]) -> None:
        """Say which files in the folders of classes are no images, but for those that tools write beside them."""
        folders = {PurePosixPath(one.split or "", one.folder) for one in files}
        others = [n for n in self._listed[1] if not folders.isdisjoint(PurePosixPath(n).parents)]
        if others:
            shown = ", ".join(others[:3])
            self.note(
                f"left out: {counted(len(others), 'file')} in class folders of no kind of image: {shown}"
            )

    def _files(self) -> tuple[list[_File], list[str]]:
        """Files of class folders, and images that lie in none."""
        splits = self._split_folders()
        files, stray = [], []
        for path in self._images:
            parts = PurePosixPath(path).parts
            above = 1 if splits else 0
            if len(parts) < above + 2 or (splits and parts[0] not in splits):
                stray.append(path)
            else:
                files.append(_File(path, parts[0] if splits else None, parts[above]))
        return files, stray

    def _split_folders(self) -> set[str]:
        """The folders that are splits: those named like one that hold class folders.

        Raises:
            DataError: there are some, and none is that of train: they would be taken for classes.
        """
        depths: dict[
            str, list[int]
        ] = {}  # of the folders at the root: images in class folders less those in none
        for path in self._images:
            parts = PurePosixPath(path).parts
            depths.setdefault(parts[0], []).append(1 if len(parts) > 2 else -1)
        known = known_splits(self.choice.names)
        named = {name for name, places in depths.items() if name.casefold() in known and sum(places) > 0}
        wanted = self.choice.names.get("train") or self.choice.names["val"]
        if named and find_split(wanted, named) is None:
            raise DataError(
                f"{self.root}: expected a folder of split {wanted!r} beside {', '.join(sorted(named))}, got "
                f"{', '.join(sorted(set(depths) - named)) or 'nothing'}; data.train_split, data.val_split name yours"
            )
        return named

    def _labelled(self, some: list[_File]) -> Labelled:
        """One image from all files that are the same."""
        folders = sorted({one.folder for one in some})
        classes = [f for f in folders if not is_negative_name(f, self.negatives, self.options.classes)]
        first = min(one.path for one in some)
        if classes and len(classes) < len(folders):
            raise DataError(
                f"{self.root / first}: expected a class or none of them, got an image in the folders "
                f"{', '.join(folders)} (data.negatives: {', '.join(self.negatives)})"
            )
        where = str(self.root / first)
        named = sorted({class_name(name, where) for name in classes})
        objects = tuple(DeclaredObject(name, None, where) for name in named)
        return Labelled(first, objects, where, some[0].split)


def _same_images(root: Path, files: list[_File]) -> list[list[_File]]:
    """Files grouped by image: one name with the same bytes in several folders of a split is one image."""
    by_name: dict[tuple[str | None, str, int], list[_File]] = {}
    for one in files:
        size = os.stat(root / one.path).st_size if os.path.exists(root / one.path) else -1
        by_name.setdefault((one.split, PurePosixPath(one.path).name, size), []).append(one)
    groups: list[list[_File]] = []
    for some in by_name.values():
        if len(some) == 1:
            groups.append(some)
            continue
        by_bytes: dict[str, list[_File]] = {}
        for one in some:
            by_bytes.setdefault(_content(root, one.path), []).append(one)
        groups += by_bytes.values()
    return groups


def _content(root: Path, path: str) -> str:
    """What tells two files apart: their bytes."""
    return sha256(read_bytes(inside(root, path, path), f"image {path}"))


_PLAIN_FOLDERS = {
    "images",
    "image",
    "img",
    "imgs",
    "jpegimages",
    "photos",
    "photographs",
    "pictures",
    "data",
    "labels",
}


def _class_folders(root: Path, names: Mapping[Role, str]) -> list[str]:
    """Names of folders that look like classes: below those of the splits, else at the root."""
    parts = [PurePosixPath(path).parts[:-1] for path in images_below(root)]
    known = known_splits(names)
    in_splits = {p[1] for p in parts if len(p) > 1 and p[0].casefold() in known}
    at_root = {p[0] for p in parts if p and p[0].casefold() not in known}
    found = sorted(in_splits or at_root)
    plain = [name for name in found if name.casefold() in _PLAIN_FOLDERS or name.casefold() in known]
    return [] if len(plain) == len(found) else found


def _look(root: Path, given: Given) -> str | None:
    return ", ".join(_class_folders(root, given.names)[:5]) or None


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> ClassFolders:
    return ClassFolders(root, options, choice, config.negatives)


FORMAT = Format("a folder a class (train/cat/a.jpg, cat/a.jpg)", _look, _open, boxes=False)
