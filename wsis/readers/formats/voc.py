"""PASCAL VOC devkits (VOC2012 and folders of its shape), with SBD's extra annotations merged in on request.

    ImageSets/Segmentation/<split>.txt   one image id a line (then ImageSets/Main, ImageSets and the root are looked at)
    JPEGImages/<id>.jpg                  (or .jpeg, .png, .webp, .bmp, .tif, .tiff)
    Annotations/<id>.xml                 classes and boxes
    SegmentationObject/<id>.png          instance numbers, 255 void: evaluation alone
    SegmentationClass/<id>.png           class numbers: evaluation alone

Where there is no list of a split, a folder of its name with XML files in it is the split (Roboflow; `val` is `valid`
too); without either, all XML files of Annotations/ or of the root are train (LabelImg). Images may lie beside their
XML or in images/.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010.
Suffixes: N instances, H W image.
"""

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.paths import user_path
from data_contracts.printable import counted
from wsis.method.masks import rle
from wsis.readers.files.folder_files import (
    Problems,
    inside,
    plain_name,
    read_bytes,
    require_file,
    sha256,
)
from wsis.readers.files.images import decode_indices
from wsis.readers.files.photographs import SUFFIXES
from wsis.readers.formats.sbd import SbdFolder
from wsis.readers.formats.voc_format import (
    VOC_CLASSES,
    VOID,
    annotation_root,
    check_mask_size,
    devkit,
    instance_classes,
    look,
    missing_list,
    names_by_stem,
    parse_annotation,
    read_split,
    size_message,
    xml_ids,
)
from wsis.readers.shared.annotations import Declared
from wsis.readers.shared.folder import Entry, FolderOptions, FolderSource
from wsis.readers.shared.format import Format
from wsis.readers.shared.layout import as_written, split_names
from wsis.readers.shared.records import Role, TruthRecord
from wsis.readers.shared.settings import DataSettings
from wsis.readers.shared.splits import HoldOut, SplitChoice, held_out, no_val_line

TRAINAUG = "trainaug"
_XML, _PNG = (".xml",), (".png",)
_NO_MASK = tuple(one for one in SUFFIXES if one not in _PNG)


class VocSource(FolderSource):
    """A VOC devkit.

    Image-level labels are the classes of the XML's objects. Objects marked difficult are left out, as VOC's own
    tasks do, unless an image has no others. Boxes are 1-based and inclusive in VOC: (xmin, ymin, xmax, ymax) becomes
    (xmin - 1, ymin - 1, xmax, ymax), the tight box of the instance's mask with exclusive ends.

    The split `trainaug` is VOC's train plus SBD's train and val, without VOC's val (10,582 images on the
    whole data); it needs `sbd_root`. An image without XML takes classes and boxes from SBD.

    Args:
        root: the folder VOC2012 (or of that shape).
        sbd_root: SBD's folder `dataset` (img/, inst/, cls/, train.txt, val.txt).
        hold_out: what to hold out as val where the devkit has none.
        lists: files of image ids that say the images of a part in place of the devkit's lists.
    """

    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        sbd_root: Path | None = None,
        hold_out: HoldOut | None = None,
        lists: Mapping[Role, Path] | None = None,
    ) -> None:
        super().__init__(root, options)
        self._lists = lists or {}
        self._hold_out = hold_out
        self._held: list[Declared] | None = None  # val, where it is a share of train
        self._sbd = None if sbd_root is None else SbdFolder(sbd_root)
        self._folders: dict[str, str] = {}  # image id -> folder of its XML, where that is not Annotations/
        self._listed: dict[
            tuple[str, tuple[str, ...]], dict[str, list[str]]
        ] = {}  # folder, endings -> its files

    # -- annotations --------------------------------------------------------------------------------------
    def _declare(self, role: Role, problems: Problems) -> list[Declared]:
        if role == "val" and self._held is not None:
            return self._held
        self._note_masks()
        declared = []
        ids: tuple[str, ...] = ()
        with problems.collect():
            ids = tuple(map(self._own_id, self._ids(role, problems)))
        for image_id in ids:
            with problems.collect():
                declared.append(self._declare_image(image_id, role))
        if role == "train" and "val" in self.options.splits and "val" not in self._lists:
            with problems.collect():
                return self._divide(declared)
        return declared

    def _divide(self, declared: list[Declared]) -> list[Declared]:
        """Hold a share out as val where there is no val, which one folder of XML files cannot say."""
        split = self.options.splits["val"]
        listed = self._has_split(split) or any(xml_ids(self.root / n, Problems()) for n in split_names(split))
        if self._hold_out is None:
            if not listed and split in split_names("val") and not self._lists:
                self._held = []
                self.note(
                    f"{no_val_line(len(declared), self.options.limit)}; data.val_share=0.1 holds a tenth out"
                )
            return declared
        if listed:
            raise DataError(
                f"data.val_share: expected data without a val part, got split {split!r} in {self.root}"
            )
        if len(declared) < 2:
            raise DataError(f"data.val_share: expected two images or more to divide, got {len(declared)}")
        labels = {one.image_id: {item.name for item in one.objects} for one in declared}
        chosen = held_out(labels, self._hold_out.share, self._hold_out.seed)
        self._held = [replace(one, role="val") for one in declared if one.image_id in chosen]
        return [one for one in declared if one.image_id not in chosen]

    def _ids(self, role: Role, problems: Problems) -> tuple[str, ...]:
        if role in self._lists:
            return read_split(self._lists[role], f"list of {role}", problems, self._is_there)
        return self._split_ids(self.options.splits[role], problems)

    def _own_id(self, listed: str) -> str:
        """The id that a list means: of `a.jpg` and `a.xml` it is `a`, where there is no such id and `a` has XML."""
        stem, ending = os.path.splitext(listed)
        folder = self._folders.get(listed, "Annotations")
        if ending.lower() not in (*SUFFIXES, *_XML) or self._alike(folder, listed, _XML):
            return listed
        return stem if self._alike(folder, stem, _XML) else listed

    def _split_ids(self, split: str, problems: Problems) -> tuple[str, ...]:
        if split != TRAINAUG or self._has_split(split):
            return self._read_split(split, problems)
        if self._sbd is None:
            raise DataError(
                f"split {TRAINAUG!r}: {self._split_path(split)} does not exist; expected that file or "
                "data.sbd_root, the folder `dataset` of SBD, to be merged in"
            )
        held_out = set(self._read_split("val", problems))
        merged = dict.fromkeys((*self._read_split("train", problems), *self._sbd.ids()))
        return tuple(image_id for image_id in merged if image_id not in held_out)

    def _split_path(self, split: str) -> Path:
        name = plain_name(split, "option data split")
        tasks = ("Segmentation", "Main")
        places = [f"ImageSets/{task}/{one}.txt" for one in split_names(name) for task in tasks]
        places += [f"{folder}{one}.txt" for folder in ("ImageSets/", "") for one in split_names(name)]
        return inside(self.root, next(iter(as_written(self.root, places)), places[0]), "split")

    def _has_split(self, split: str) -> bool:
        return self._split_path(split).is_file()

    def _read_split(self, split: str, problems: Problems) -> tuple[str, ...]:
        path = self._split_path(split)
        if not path.is_file():
            for folder in split_names(split):
                if ids := xml_ids(self.root / folder, problems):
                    self._folders.update(dict.fromkeys(ids, folder))
                    self.note(f"split {split!r}: {counted(len(ids), 'XML file')} of {folder}/")
                    return ids
            for folder in ("Annotations", ".") if split in split_names("train") else ():
                if not (self.root / "ImageSets").exists() and (ids := xml_ids(self.root / folder, problems)):
                    self._folders.update(dict.fromkeys(ids, folder))
                    self.note(f"no split lists: {counted(len(ids), 'XML file')} of {folder}/")
                    return ids
            if not os.path.lexists(path):
                raise DataError(missing_list(self.root, split, path))
        return read_split(path, f"split {split!r}", problems, self._is_there)

    def _is_there(self, name: str) -> bool:
        """Whether a name, with its ending or without, is that of an XML file or an image."""
        stems = (name, os.path.splitext(name)[0])
        places = (("Annotations", _XML), ("JPEGImages", SUFFIXES))
        return any(self._alike(folder, stem, endings) for folder, endings in places for stem in stems)

    def _declare_image(self, image_id: str, role: Role) -> Declared:
        xml = self._file(self._folders.get(image_id, "Annotations"), image_id, _XML)
        if not xml.is_file() and self._sbd is not None and self._sbd.has(image_id):
            annotation = self._sbd.annotation(image_id)
            path, file_name = self._image_path(image_id)
            return Declared(image_id, role, str(path), file_name, *annotation)
        data = read_bytes(xml, f"image {image_id}")
        root = annotation_root(data, str(xml))
        size, objects = parse_annotation(root, str(xml))
        path, file_name = self._image_path(image_id, (root.findtext("filename") or "").strip())
        return Declared(image_id, role, str(path), file_name, size, objects, str(xml), sha256(data))

    def _image_path(self, image_id: str, named: str = "") -> tuple[Path, str]:
        """The image's file and its path below the root: of the id's name, else of the name in the XML."""
        folders = dict.fromkeys(("JPEGImages", self._folders.get(image_id, "Annotations"), "images"))
        last = PurePosixPath(named.replace("\\", "/")).name
        named_file = [last] if PurePosixPath(last).suffix.lower() in SUFFIXES else []
        for folder in folders:
            alike = self._alike(folder, image_id, SUFFIXES)
            if len(alike) > 1:
                alike = sorted(alike, key=lambda name: name != last)  # the one that the XML names first
                taken = "" if alike[0] == last else f"; the XML names none of them, {alike[0]} is taken"
                self.note(f"{counted(len(alike), 'image')} of one id in {folder}/: {', '.join(alike)}{taken}")
            for name in (*alike, *named_file):
                path = self._inside(folder, name)
                if os.path.isfile(path):
                    return path, posixpath.normpath(f"{folder}/{name}")
                if os.path.lexists(path):
                    require_file(path, f"image {image_id}")
        if self._sbd is not None and (found := self._sbd.image_path(image_id)) is not None:
            return found, f"img/{found.name}"
        raise DataError(f"image {image_id}: the file {self.root / 'JPEGImages' / image_id}.jpg is missing")

    def _file(self, folder: str, stem: str, endings: tuple[str, ...]) -> Path:
        """A file of a folder, whatever the case of its ending; as it is usual where there is none."""
        return self._inside(folder, next(iter(self._alike(folder, stem, endings)), stem + endings[0]))

    def _alike(self, folder: str, stem: str, endings: tuple[str, ...]) -> list[str]:
        """Files of a folder with a name and one of some endings: as the endings are given, then in other cases."""
        key = (folder, endings)
        if key not in self._listed:
            self._listed[key] = names_by_stem(self._inside(folder, "."), endings)
        usual = {stem + ending: place for place, ending in enumerate(endings)}
        return sorted(self._listed[key].get(stem, ()), key=lambda name: (usual.get(name, len(usual)), name))

    def _inside(self, folder: str, name: str) -> Path:
        return inside(self.root, f"{folder}/{name}", f"{folder} of image {Path(name).stem}")

    def _infer_classes(self, declared: Sequence[Declared]) -> tuple[str, ...]:
        return tuple(
            sorted({item.name for one in declared for item in one.objects})
        )  # VOC's order is alphabetical

    # -- masks, for evaluation alone ----------------------------------------------------------------------
    def _mask_paths(self, entry: Entry) -> tuple[Path, Path]:
        folders = ("SegmentationObject", "SegmentationClass")
        instances, classes = (self._file(one, entry.declared.image_id, _PNG) for one in folders)
        return instances, classes

    def _note_masks(self) -> None:
        """Say which files of masks are none that can be read."""
        others = [
            names for names in names_by_stem(self._inside("SegmentationObject", "."), _NO_MASK).values()
        ]
        if others:
            self.note(
                f"left out: {counted(len(others), 'file')} of SegmentationObject/, where masks are PNG: "
                f"{others[0][0]}"
            )
        if names_by_stem(self._inside("SegmentationClass", "."), _PNG) and not (
            os.path.isdir(self.root / "SegmentationObject") or self._sbd
        ):
            self.note("left out: SegmentationClass/, which without SegmentationObject/ says no instances")

    def _has_truth(self, entry: Entry) -> bool:
        if self._mask_paths(entry)[0].is_file():
            return True
        return self._sbd is not None and self._sbd.has(entry.declared.image_id)

    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        image_id = entry.declared.image_id
        paths = self._mask_paths(entry)
        if not paths[0].is_file() and self._sbd is not None and self._sbd.has(image_id):
            yield from self._sbd.truth_bytes(image_id)
            return
        for path in paths:
            yield read_bytes(path, f"masks of image {image_id}")

    def _truth(self, entry: Entry) -> TruthRecord:
        image_id = entry.declared.image_id
        paths = self._mask_paths(entry)
        if not paths[0].is_file() and self._sbd is not None and self._sbd.has(image_id):
            instances, categories, where = self._sbd.instances(image_id)
        else:
            planes = [decode_indices(read_bytes(p, f"masks of image {image_id}"), str(p)) for p in paths]
            where = str(paths[0])
            for plane, path in zip(planes, paths, strict=True):
                check_mask_size(plane, entry, path)
            instances, categories = planes[0], instance_classes(planes[0], planes[1], str(paths[1]))
        if instances.shape != entry.size:
            raise DataError(size_message(where, instances.shape, entry))
        return self._record(entry, instances, categories, where)

    def _record(
        self, entry: Entry, instances: NDArray[np.uint8], categories: dict[int, int], where: str
    ) -> TruthRecord:
        numbers = {name: i for i, name in enumerate(self.classes, start=1)}
        names = self._palette()
        declared = {item.name for item in entry.declared.objects}
        kept = {}
        if self._classes_doubted:  # what an index means is then a guess, and the cause is told already
            categories = {}
        for instance, category in categories.items():
            name = names.get(category, f"index {category}")
            if category in names and name not in declared and name not in VOC_CLASSES:
                raise DataError(
                    f"{where}: instance {instance} of image {entry.declared.image_id}: class index {category} "
                    f"means {name!r} here, but the annotation has {', '.join(sorted(declared)) or 'no object'}. "
                    "Class indices are VOC's own 1..20 or, for other classes, numbers in the order of data.classes"
                )
            if name in numbers:
                kept[instance] = numbers[name]
            elif self.options.on_unknown_class == "error":
                raise DataError(
                    f"{where}: instance {instance} of image {entry.declared.image_id}: expected a class of "
                    f"{', '.join(numbers)}, got {name!r}"
                )
        masks = instances[None] == np.array(list(kept), dtype=np.uint8).reshape(-1, 1, 1)
        return TruthRecord.of(
            entry.declared.image_id,
            entry.declared.role,
            rle.encode_many(masks),
            list(kept.values()),
            instances == VOID,
        )

    def _palette(self) -> dict[int, str]:
        """Class index in SegmentationClass -> name: VOC's own palette, or 1..C in the order of `classes` when
        the classes are not VOC's."""
        names = VOC_CLASSES if set(self.classes) <= set(VOC_CLASSES) else self.classes
        return dict(enumerate(names, start=1))


def _open(config: DataSettings, root: Path, options: FolderOptions, choice: SplitChoice) -> VocSource:
    hold_out = None if choice.share is None else HoldOut(choice.share, choice.seed)
    sbd = config.sbd_root and user_path(config.sbd_root, "data.sbd_root")
    return VocSource(root, options, sbd, hold_out, choice.lists)


FORMAT = Format("a VOC devkit (ImageSets/, Annotations/)", look, _open, home=devkit)
