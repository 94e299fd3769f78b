"""COCO instances JSON: any user's own images and classes, in the layouts of `coco_layout`.

Suffixes: N instances, H W image.
"""

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from data_contracts.errors import DataError
from data_contracts.printable import counted, first_few
from wsis.method.masks import rle
from wsis.readers.files.folder_files import Problems, clean_text, inside, plain_name, sha256
from wsis.readers.files.image_files import ImageFiles
from wsis.readers.files.image_ids import unique_ids
from wsis.readers.formats.coco_file import CocoAnnotation, CocoFile, read_coco
from wsis.readers.formats.coco_format import CocoImage, Id, look
from wsis.readers.formats.coco_masks import has_points, segmentation_mask
from wsis.readers.shared.annotations import Declared
from wsis.readers.shared.box_units import corners_or_shares_line
from wsis.readers.shared.folder import Entry, FolderOptions, FolderSource
from wsis.readers.shared.format import Format
from wsis.readers.shared.layout import annotation_file, common_file, hint_of_val, image_folder, split_names
from wsis.readers.shared.names import NameIndex
from wsis.readers.shared.records import ROLES, Role, TruthRecord
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import Placed, SplitChoice, divide, known_splits, no_val_line, split_folder

_SHOWN = 3


@dataclass(frozen=True)
class CocoPaths:
    """Places relative to the root; None stands for the usual ones."""

    annotations: Mapping[Role, str]
    images: Mapping[Role, str]


@dataclass(frozen=True)
class _Part:
    """The file of one part, the folder of its images, and those that were found: (image, its path below the root)."""

    file: CocoFile
    folder: str
    found: list[tuple[CocoImage, str]]


class CocoSource(FolderSource):
    """A folder of images with COCO instances JSON.

    Classes are the categories with annotations sorted by their id (1..C), unless `options.classes` names them. Crowd
    regions give no label and no box; for evaluation they are void. An image's id is the name of its file.
    """

    _unit_line = staticmethod(corners_or_shares_line)

    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        paths: CocoPaths | None = None,
        choice: SplitChoice | None = None,
    ) -> None:
        super().__init__(root, options)
        self._paths = paths or CocoPaths({}, {})
        self._choice = choice or SplitChoice(options.splits)
        self._parts: dict[Role, _Part] = {}
        self._folders: dict[str, str] = {}  # as they are called -> where they lie
        self._own: dict[str, Id] = {}  # image id -> id in the JSON

    # -- annotations --------------------------------------------------------------------------------------
    def _declare(self, role: Role, problems: Problems) -> list[Declared]:
        if not self._parts:
            self._read(problems)
        return self._declared.get(role, [])

    def _read(self, problems: Problems) -> None:
        """Read all parts: names must be unique in all of them."""
        self._declared: dict[Role, list[Declared]] = {}
        common = self._common()
        if common is not None:
            with problems.collect():
                self._parts = self._read_common(common, problems)
        roles = self._roles() if common is None else []
        for role in roles:
            with problems.collect():
                self._parts[role] = self._read_part(role, problems)
        images = [(role, *one) for role, part in self._parts.items() for one in part.found]
        bases = {role: _base(part) for role, part in self._parts.items()}
        ids = unique_ids(_Names([(path, bases[role]) for role, _, path in images]))
        self._declared = {role: [] for role in self._parts}
        for image_id, (role, image, path) in zip(ids, images, strict=True):
            self._own.setdefault(image_id, image.number)
            with problems.collect():
                self._declared[role].append(self._declare_image(image_id, role, image, path))
        if roles == ["train"] and "val" in self.options.splits:
            self.note(
                f"{no_val_line(len(images), self.options.limit)}; data.val_share=0.1 holds a tenth of them out, "
                "data.val_annotations names a file of val"
            )
        for part in self._parts.values():
            part.found.clear()  # what is declared has it all

    def _common(self) -> str | None:
        """The file of all images, where none is of a part; of train alone, where lists or a share make val of it."""
        files = {role: self._file_of(role) for role in self.options.splits}
        first = files.get("train") or files.get("val")
        divided = self._choice.share is not None or bool(self._choice.lists)
        if first is None:
            return common_file(self.root)
        if divided and files.get("val") is not None:
            raise DataError(
                f"{self.root}: expected one file to divide by data.val_share or lists, got {files['val']} for val"
            )
        return first if divided else None

    def _roles(self) -> list[Role]:
        """The parts that have files of their own: with a file of train, val is none where nothing says that it is."""
        roles = [role for role in ROLES if role in self.options.splits]
        if len(roles) < len(ROLES) or self._file_of("val") or not self._file_of("train"):
            return roles
        named = self._paths.images.get("val") or self.options.splits["val"] not in split_names("val")
        if named or hint_of_val(self.root):
            return roles
        return ["train"]

    def _file_of(self, role: Role) -> str | None:
        split = plain_name(self.options.splits[role], "option data split")
        return self._paths.annotations.get(role) or annotation_file(self.root, role, split)

    def _read_common(self, name: str, problems: Problems) -> dict[Role, _Part]:
        """The parts that one file holds: by folders, lists or a share."""
        role: Role = "train" if "train" in self.options.splits else "val"
        whole, known = self._open_part(name, role, problems), known_splits(self.options.splits)
        placed = {
            path: Placed(
                frozenset(one.category for one in whole.file.of(image.number) if not one.crowd),
                split_folder(path, known),
            )
            for image, path in whole.found
        }
        parts = divide(
            placed,
            self._choice,
            lambda: NameIndex(self.root, placed, whole.folder),
            self.root,
            self.note,
            problems,
        )
        taken = {role: set(names) for role, names in parts.items()}
        return {
            role: _Part(whole.file, whole.folder, [one for one in whole.found if one[1] in names])
            for role, names in taken.items()
        }

    def _read_part(self, role: Role, problems: Problems) -> _Part:
        found, split = self._file_of(role), self.options.splits[role]
        usual = self.root / f"annotations/instances_{split}.json"
        hint = None if found or role == "train" or os.path.lexists(usual) else hint_of_val(self.root)
        if hint:
            raise DataError(
                f"split {split!r}: the file {usual} is missing, and {hint} says that there is a val: "
                "data.val_annotations names its file, data.val_split=null does without"
            )
        return self._open_part(found or f"annotations/instances_{split}.json", role, problems)

    def _open_part(self, name: str, role: Role, problems: Problems) -> _Part:
        split = self.options.splits[role]
        elsewhere = Path(name).is_absolute()  # as the user says: no name in the data may lead there
        path = Path(name) if elsewhere else inside(self.root, name, f"annotations of split {split!r}")
        file = read_coco(path, f"split {split!r}", problems)
        beside = "." if elsewhere else posixpath.dirname(name) or "."
        folder = self._folder(role, split, beside, [image.file_name for image in file.images])
        if name != f"annotations/instances_{split}.json":
            self.note(f"split {split!r}: annotations {name}, images {folder}/")
        if file.clicks:
            self.note(
                f"{file.path}: {counted(file.clicks, 'annotation')} whose polygons have one or two points: they are "
                "labels, and no masks to compare with"
            )
        files = ImageFiles(self.root, folder, beside, self.options.strict)
        found = []
        for image in file.images:
            with problems.collect():
                found.append((image, files.find(image.file_name, f"{image.where}: field 'file_name'")))
        if files.guessed:
            shown = ", ".join(f"{a!r:.80} is {b}" for a, b in files.guessed[:_SHOWN])
            self.note(
                f"{file.path}: {len(files.guessed)} file name{'s are' if len(files.guessed) > 1 else ' is'} not as the "
                f"files are called, and taken for those that fit (data.strict=true refuses them): {shown}"
            )
        return _Part(file, folder, found)

    def _folder(self, role: Role, split: str, beside: str, names: Sequence[str]) -> str:
        given = self._paths.images.get(role)
        if given is None:
            return image_folder(self.root, split, beside, names)
        if not inside(self.root, given, f"image folder of split {split!r}").is_dir():
            raise DataError(f"{self.root}: no image folder of split {split!r}; expected {given}")
        return posixpath.normpath(given.replace("\\", "/"))

    def _declare_image(self, image_id: str, role: Role, image: CocoImage, file_name: str) -> Declared:
        path = self._path_of(file_name, f"{image.where}: field 'file_name'")
        file = self._parts[role].file
        objects = file.objects(image.number)
        digest = sha256(
            repr((image_id, image.number, image.size, sha256(objects.content().encode()))).encode()
        )
        unsure = file.crowds_alone(image.number)  # crowds alone
        return Declared(image_id, role, path, file_name, image.size, objects, image.where, digest, unsure)

    def _path_of(self, file_name: str, where: str) -> str:
        """As `inside`: links of each folder are followed once, not once an image."""
        folder, name = posixpath.split(clean_text(file_name, where))
        if folder not in self._folders:
            self._folders[folder] = str(inside(self.root, folder or ".", where))
        path = os.path.join(self._folders[folder], name)
        followed = os.path.islink(path) or "\\" in file_name
        return str(inside(self.root, file_name, where)) if followed else path

    def _infer_classes(self, declared: Sequence[Declared]) -> tuple[str, ...]:
        if not self._parts:
            return ()
        names = next(iter(self._parts.values())).file.categories.values()
        used = {name for part in self._parts.values() for name in part.file.used()}
        unused = [name for name in names if name not in used]
        if unused:
            few = first_few(unused, 10)
            self.note(f"left out: {len(unused)} of {len(names)} categories, which no object has: {few}")
        return tuple(name for name in names if name in used)

    def source_categories(self) -> Mapping[Role, Mapping[str, Id]]:
        """Part -> name of a category -> its `id` in the part's JSON."""
        self._entries()
        return {
            role: {name: number for number, name in part.file.categories.items()}
            for role, part in self._parts.items()
        }

    def source_ids(self) -> Mapping[str, Id]:
        """Image id -> the image's `id` in the JSON."""
        return {image_id: self._own[image_id] for image_id in self._entries()}

    # -- masks, for evaluation alone ----------------------------------------------------------------------
    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes, start=1)}

    def _annotations(self, entry: Entry) -> list[CocoAnnotation]:
        one = entry.declared
        return self._parts[one.role].file.of(self._own[one.image_id])

    def _has_truth(self, entry: Entry) -> bool:
        """Whether each object of a class, and each crowd, has a mask."""
        return all(
            one.masked for one in self._annotations(entry) if one.crowd or one.category in self._numbers
        )

    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        for annotation in self._annotations(entry):
            fields = annotation.fields()
            yield repr(sorted(fields.items())).encode(errors="backslashreplace")
            if has_points(fields):
                yield b"points"

    def _truth(self, entry: Entry) -> TruthRecord:
        masks: list[bytes] = []
        labels: list[int] = []
        void, empty = np.zeros(entry.size, dtype=bool), 0
        for one in self._annotations(entry):
            if not one.crowd and one.category not in self._numbers:
                continue
            place = f"{one.where} (image {entry.declared.image_id})"
            mask = segmentation_mask(one.fields(), entry.size, place)
            if one.crowd:
                void |= mask
            elif mask.any():
                masks.append(rle.encode(mask))
                labels.append(self._numbers[one.category])
            else:  # a polygon of two points, or thinner than a pixel
                empty += 1
        return TruthRecord.of(entry.declared.image_id, entry.declared.role, masks, labels, void, empty)


def _base(part: _Part) -> str:
    """The deepest folder that holds all images of a part."""
    return posixpath.commonpath({posixpath.dirname(path) for _, path in part.found} or {""})


class _Names(Sequence[Sequence[str]]):
    """Names of images by path and folder of all, made when they are asked for: of nearly all images the first does."""

    def __init__(self, images: Sequence[tuple[str, str]]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Sequence[str]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sequence[str]]: ...
    def __getitem__(self, index: int | slice) -> Sequence[str] | Sequence[Sequence[str]]:
        if isinstance(index, slice):
            return _Names(self._images[index])
        return _names(*self._images[index])


def _names(path: str, base: str) -> list[str]:
    """How an image may be called, shortest first: its path below the folder of all images, then with the folders
    above, one by one; without and with its ending."""
    whole = path.replace("\\", "/")
    parts = whole.split("/")
    below = base == "" or whole.startswith(f"{base}/")
    first = len(parts) - (len(base.split("/")) if base and below else 0)
    ends = ["/".join(parts[-n:]) for n in range(first if below else len(parts), len(parts) + 1)]
    return [name for end in ends for name in (_without_suffix(end), end)]


def _without_suffix(name: str) -> str:
    """As `PurePath.with_suffix("")`: a dot at the beginning or end of the last part begins none."""
    dot, slash = name.rfind("."), name.rfind("/")
    return name[:dot] if slash + 1 < dot < len(name) - 1 else name


def paths_of(config: DataSettings) -> CocoPaths:
    """The places that the user names."""
    files: dict[Role, str | None] = {"train": config.train_annotations, "val": config.val_annotations}
    images: dict[Role, str | None] = {"train": config.train_images, "val": config.val_images}
    return CocoPaths(
        annotations={role: name for role, name in files.items() if name is not None},
        images={role: name for role, name in images.items() if name is not None},
    )


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> CocoSource:
    return CocoSource(root, options, paths_of(config), choice)


FORMAT = Format(
    "COCO (annotations/instances_train.json, train/_annotations.coco.json, result.json)", look, _open
)
