"""What the readers of a data folder share: classes, checks, subset, digest and reading of images.

A format gives `_declare` (its annotations, unchecked) and `_truth` (masks, for evaluation).
Suffixes: M annotated classes, N boxes.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import Problems, read_bytes, require_folder, sha256
from wsis.readers.files.images import bits_of_file, check_shape, decode_image, eight_bit_png, image_size
from wsis.readers.files.sample_depth import depth_mark
from wsis.readers.shared.annotations import Declared, fit_boxes, pick_spread, role_limit
from wsis.readers.shared.box_units import shares_line
from wsis.readers.shared.class_names import annotated_names, misspelt_classes, misspelt_line, unknown_lines
from wsis.readers.shared.records import (
    ROLES,
    BoxChanges,
    ImageRecord,
    Outline,
    Role,
    Track,
    TruthRecord,
    untracked,
)

OnEmpty = Literal["negative", "drop", "error"]

DIGEST_VERSION = 1  # raised when the same files are read into other records
_NEGATIVE = ""  # stands among the classes where a subset is chosen, so that negatives stay too
_SOME = {""}  # stands for the classes of an image where only whether there are some is asked


@dataclass(frozen=True)
class FolderOptions:
    """Choices common to the formats.

    Attributes:
        splits: name of the split that plays each part; a part that is absent is not read.
        classes: class names in order; None takes those of the annotations.
        limit: train images to take (val: a quarter, at least 8), see `annotations.pick_spread`; None: all.
        on_empty: a train image without any annotated class is a negative (it shows none of the classes), is left out,
            or is an error. In val such images stay.
        boxes_required: whether an object without a box is an error.
        on_unknown_class: what to do with an object of a class that is not in `classes`.
        strict: whether a box that reaches outside of its image or has no area is an error; else it is clipped or
            dropped, and said.
    """

    splits: Mapping[Role, str]
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    on_empty: OnEmpty = "negative"
    on_unknown_class: Literal["error", "ignore"] = "error"
    boxes_required: bool = False
    strict: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """One image of the data set: what was declared, checked and numbered. `clipped` and `dropped` name boxes."""

    declared: Declared
    size: tuple[int, int]
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32]
    box_labels: NDArray[np.int32]
    clipped: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class FolderSource(ABC):
    """A `DatasetSource` on a folder. Annotations are read once, images each time they are asked for."""

    _unit_line = staticmethod(shares_line)  # what to say where the boxes of a part are no pixels

    def __init__(self, root: Path, options: FolderOptions) -> None:
        require_folder(root, "data.root")
        self.root, self.options = root, options
        self._notes: dict[str, None] = {}
        self._tolerant = False
        self._classes_doubted = False  # whether names that are no class have been told of
        self._damaged = False  # whether the header of an image could not be read
        self._bits: dict[str, int | None] = {}  # image id -> bits in use, of images of more than 8
        self._verified: dict[str, str] = {}  # image id -> sha256 of bytes that decoded to the declared size

    # -- what a format gives ------------------------------------------------------------------------------
    @abstractmethod
    def _declare(self, role: Role, problems: Problems) -> list[Declared]:
        """The images of one part with their objects, in the order of the split."""

    @abstractmethod
    def _infer_classes(self, declared: Sequence[Declared]) -> tuple[str, ...]:
        """Class names when none are given."""

    @abstractmethod
    def _truth(self, entry: Entry) -> TruthRecord:
        """Masks of one image."""

    @abstractmethod
    def _has_truth(self, entry: Entry) -> bool:
        """Whether the image has masks."""

    @abstractmethod
    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        """Everything that `_truth` reads."""

    # -- the index ----------------------------------------------------------------------------------------
    @cached_property
    def _index(self) -> tuple[tuple[str, ...], dict[str, Entry], Problems]:
        problems = Problems()
        roles = [role for role in ROLES if role in self.options.splits]
        declared = {role: self._declare(role, problems) for role in roles}
        classes = self.options.classes or self._infer_classes(next(filter(None, declared.values()), []))
        if not classes and not problems.messages:
            problems.add(f"{self.root}: no class is annotated; expected objects, or the option data.classes")
        self._check_classes([one for some in declared.values() for one in some], classes, problems)
        entries: dict[str, Entry] = {}
        for role in roles:
            self._add_role(role, declared[role], classes, entries, problems)
            mine = [entry for entry in entries.values() if entry.declared.role == role]
            where = f"{self.root}: split {self.options.splits[role]!r}"
            if not problems.messages and (line := self._unit_line(mine, where)):
                (problems.add if self.options.boxes_required else self.note)(line)
        return classes, entries, problems

    def _check_classes(
        self, declared: Sequence[Declared], classes: tuple[str, ...], problems: Problems
    ) -> None:
        """Say which classes are misspelt and, where that is an error, which names are no class."""
        images = annotated_names(declared)
        misspelt = misspelt_classes(self.options.classes or (), images)
        refused = self.options.on_unknown_class == "error"
        for wanted, near in misspelt.items():
            (problems.add if refused else self.note)(misspelt_line(wanted, near, images[near]))
        if refused and not images.keys() <= set(classes):
            self._classes_doubted = True
            for line in unknown_lines(declared, classes, misspelt):
                problems.add(line)

    def _add_role(
        self,
        role: Role,
        declared: Sequence[Declared],
        classes: tuple[str, ...],
        entries: dict[str, Entry],
        problems: Problems,
    ) -> None:
        numbers = {name: i for i, name in enumerate(classes, start=1)}
        names = self.options.splits
        kept, known = list[Declared](), list[set[str]]()
        whole = self.options.limit is None  # then the sets of all images would be memory for nothing
        for one in declared:
            present = one.names & numbers.keys()
            if present or not self._drops(one):
                kept.append(one)
                known.append(present and _SOME if whole else present)
        if self.options.limit is not None:
            some = [one or ({_NEGATIVE} if role == "train" else set()) for one in known]
            spread = pick_spread(some, role_limit(role, self.options.limit))
            kept, known = [kept[i] for i in spread], [known[i] for i in spread]
        paths = {entry.declared.location: entry.declared for entry in entries.values()}
        for one in kept:
            before = entries[one.image_id].declared if one.image_id in entries else paths.get(one.location)
            if before is not None:
                problems.add(
                    f"{one.where}: duplicate image {one.image_id!r} ({one.file_name}) in split "
                    f"{names[role]!r}; it is there already in split {names[before.role]!r}"
                )
                continue
            paths[one.location] = one
            with problems.collect():
                entries[one.image_id] = self._entry(one, numbers)
        if declared and not any(known) and role == "train" and not problems.messages:  # else it follows
            problems.add(f"{self.root}: split {names[role]!r}: no image holds an annotated class")

    def _drops(self, one: Declared) -> bool:
        return one.role == "train" and (self.options.on_empty == "drop" or one.unsure)

    def _entry(self, one: Declared, numbers: Mapping[str, int]) -> Entry:
        objects = [item for item in one.objects if item.name in numbers]
        refused = one.role == "train" and self.options.on_empty == "error"
        if refused and not one.objects:
            raise DataError(
                f"{one.where}: expected at least one object, got none (image {one.image_id}); "
                "it shows none of the classes? data.on_empty=negative; data.on_empty=drop leaves such images out"
            )
        if refused and not objects and self.options.on_unknown_class == "ignore":  # else told with it
            found = ", ".join(sorted({item.name for item in one.objects}))
            raise DataError(
                f"{one.where}: expected an object of an annotated class ({', '.join(numbers)}), got {found} "
                f"(image {one.image_id}); data.on_empty=negative takes it for one that shows none of them, "
                "data.on_empty=drop leaves such images out"
            )
        size = one.size or self._size_from_header(one)
        check_shape(size, f"image {one.image_id} ({one.file_name})")
        fitted = fit_boxes(objects, size, one.image_id, self.options.boxes_required, self.options.strict)
        return Entry(
            one,
            size,
            labels=np.array(sorted({numbers[item.name] for item in objects}), dtype=np.int32),
            boxes=fitted.boxes,
            box_labels=np.array([numbers[name] for name in fitted.names], dtype=np.int32),
            clipped=fitted.clipped,
            dropped=fitted.dropped,
        )

    def _size_from_header(self, one: Declared) -> tuple[int, int]:
        try:
            return image_size(read_bytes(one.path, f"image {one.image_id}"), str(one.path))
        except DataError:
            self._damaged = True
            raise

    def _entries(self) -> dict[str, Entry]:
        _, entries, problems = self._index
        if not self._tolerant:
            then = f"no image was decoded yet: wsis check {self.root} names all that are damaged"
            problems.raise_if_any(f"data in {self.root}", then if self._damaged else "")
        return entries

    def note(self, line: str) -> None:
        """Remember what the reader decided and the user must be told."""
        self._notes[line] = None

    def notes(self) -> tuple[str, ...]:
        """What the reader decided where the data left it open, a line each."""
        _ = self._entries(), self._depth
        return tuple(self._notes)

    def source_categories(self) -> Mapping[Role, Mapping[str, int | str]]:
        """None: the annotations name classes."""
        return {}

    def source_ids(self) -> Mapping[str, int | str]:
        """Image id -> the id that the annotations themselves give the image, where they do."""
        return {}

    def _entry_of(self, image_id: str) -> Entry:
        entries = self._entries()
        if image_id not in entries:
            raise KeyError(f"{self.root}: no image {image_id!r} in the data set")
        return entries[image_id]

    # -- DatasetSource ------------------------------------------------------------------------------------
    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the class of index j is number j + 1."""
        self._entries()
        return self._index[0]

    def validate(self, track: Track = untracked) -> None:
        """Check annotations and decode every image; one DataError lists all that is wrong."""
        _, entries, index_problems = self._index
        problems = Problems()
        problems.messages = list(index_problems.messages)
        for entry in track(entries.values(), len(entries)):
            with problems.collect():
                self._image_bytes(entry)
        problems.raise_if_any(f"data in {self.root}")

    def tolerate(self) -> tuple[str, ...]:
        """From now on give the images that can be read; all that is wrong with the annotations, a line each."""
        self._tolerant = True
        return tuple(self._index[2].messages)

    def _image_bytes(self, entry: Entry) -> bytes:
        one = entry.declared
        data = read_bytes(one.path, f"image {one.image_id}")
        digest = sha256(data)
        if self._verified.get(one.image_id) == digest:
            return data
        got = decode_image(data, str(one.path)).shape[:2]
        if got != entry.size:
            turned = " (after its EXIF rotation)" if got == entry.size[::-1] else ""
            raise DataError(
                f"{one.where}: field 'size': expected the image's width x height, {got[1]} x {got[0]}{turned}, "
                f"got {entry.size[1]} x {entry.size[0]} (image {one.image_id})"
            )
        self._verified[one.image_id] = digest
        return data

    def _bits_of(self, one: Declared) -> int | None:
        if one.image_id not in self._bits:
            self._bits[one.image_id] = bits_of_file(one.path)
        return self._bits[one.image_id]

    @cached_property
    def _depth(self) -> int | None:
        """Bits in use by the images of more than 8: as many for all, so that brightness compares."""
        used = [self._bits_of(entry.declared) for entry in self._entries().values()]
        deep = [bits for bits in used if bits is not None]
        if deep:
            self.note(
                f"{len(deep)} images of 16 bits a channel: {max(deep)} are in use, of which the upper 8 are kept"
            )
        return max(deep, default=None)

    def _stored_bytes(self, entry: Entry) -> bytes:
        """The file's bytes, of more than 8 bits a channel those of an 8-bit PNG."""
        data, one = self._image_bytes(entry), entry.declared
        if self._depth is None or self._bits_of(one) is None:
            return data
        return eight_bit_png(data, str(one.path), self._depth)

    def digest(self) -> str:
        """sha256 over classes, ids, annotations and image bytes; the same wherever the root lies."""
        problems, whole = Problems(), hashlib.sha256()
        whole.update(repr((DIGEST_VERSION, type(self).__name__, self.classes)).encode())
        for image_id, entry in self._entries().items():
            one = entry.declared
            with problems.collect():
                pixels = sha256(read_bytes(one.path, f"image {image_id}"))
                whole.update(repr((image_id, one.role, one.file_name, one.digest, pixels)).encode())
        problems.raise_if_any(f"data in {self.root}")
        if self._depth is not None:
            whole.update(depth_mark(self._depth, (e.declared.file_name for e in self._entries().values())))
        return whole.hexdigest()

    def truth_digest(self, roles: Sequence[Role] = ROLES) -> str:
        """sha256 over everything that `truth` reads (evaluation only)."""
        problems, whole = Problems(), hashlib.sha256()
        whole.update(repr((DIGEST_VERSION, type(self).__name__, self.classes)).encode())
        for role in roles:
            for image_id in self.truth_ids(role):
                entry = self._entry_of(image_id)
                with problems.collect():
                    parts = [sha256(part) for part in self._truth_bytes(entry)]
                    whole.update(repr((image_id, role, entry.size, parts)).encode())
        problems.raise_if_any(f"masks in {self.root}")
        return whole.hexdigest()

    def image_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of one part in the order of its split."""
        return tuple(i for i, entry in self._entries().items() if entry.declared.role == split)

    def files(self, split: Role) -> frozenset[Path]:
        """The image files of one part."""
        every = (entry.declared for entry in self._entries().values())
        return frozenset(one.path.resolve() for one in every if one.role == split)

    def outlines(self) -> Iterator[Outline]:
        """All images in order, none of them read."""
        for image_id, entry in self._entries().items():
            one = entry.declared
            yield Outline(image_id, one.role, one.file_name, entry.size, one.path.stat().st_size)

    def labels_of(self, image_id: str) -> NDArray[np.int32]:
        """Classes of one image. KeyError if the id is not in the data set."""
        return self._entry_of(image_id).labels

    def image(self, image_id: str) -> ImageRecord:
        """One image. KeyError if the id is not in the data set."""
        entry = self._entry_of(image_id)
        return ImageRecord(
            image_id=image_id,
            split=entry.declared.role,
            file_name=entry.declared.file_name,
            encoded=self._stored_bytes(entry),
            height=entry.size[0],
            width=entry.size[1],
            labels=entry.labels,
            boxes=entry.boxes,
            box_labels=entry.box_labels,
        )

    def box_changes(self, split: Role) -> BoxChanges:
        """Boxes of one part that were clipped to their image, and dropped because nothing was left of them."""
        entries = [entry for entry in self._entries().values() if entry.declared.role == split]
        return BoxChanges(
            clipped=tuple(message for entry in entries for message in entry.clipped),
            dropped=tuple(message for entry in entries for message in entry.dropped),
        )

    def truth_ids(self, split: Role) -> tuple[str, ...]:
        """Ids that have masks. An image without any object counts as one where another of its part has some."""
        entries = {i: self._entry_of(i) for i in self.image_ids(split)}
        found = {i: entry for i, entry in entries.items() if self._has_truth(entry)}
        return tuple(found) if any(len(entry.labels) for entry in found.values()) else ()

    def truth_of(self, image_id: str) -> TruthRecord:
        """Instances of one image (evaluation only)."""
        return self._truth(self._entry_of(image_id))
