"""What the readers of images that carry their own labels share: folders of classes, tables, YOLO, drawings.

A format gives `_scan`: its images with their objects. Which part each plays, its id and its digest follow here.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_contracts.errors import DataError
from data_contracts.printable import counted, first_few
from wsis.readers.files.folder_files import Problems, clean_text, inside, sha256
from wsis.readers.files.image_ids import unique_ids
from wsis.readers.shared.annotations import Declared, DeclaredObject
from wsis.readers.shared.folder import Entry, FolderOptions, FolderSource
from wsis.readers.shared.names import NameIndex
from wsis.readers.shared.records import Role, TruthRecord
from wsis.readers.shared.splits import Placed, SplitChoice, divide

NEGATIVES = ("negative", "negatives", "background", "none")


@dataclass(frozen=True)
class Labelled:
    """An image as its format declares it.

    Attributes:
        file_name: path below the root.
        objects: empty for a negative.
        where: what declares it, for messages.
        split: name of its split in the data; None where the data say nothing.
        size: (height, width) that the annotation claims, None if it claims none.
    """

    file_name: str
    objects: tuple[DeclaredObject, ...]
    where: str
    split: str | None = None
    size: tuple[int, int] | None = None

    @property
    def classes(self) -> set[str]:
        return {item.name for item in self.objects}


def is_negative_name(name: str, negatives: Sequence[str], classes: Sequence[str] | None) -> bool:
    """Whether a folder or label says "none of the classes": one of `negatives`, with or without "_" before it, in any
    case; a name among the classes that the user gave is a class."""
    if classes is not None and name in classes:
        return False
    return name.strip("_").casefold() in {one.strip("_").casefold() for one in negatives}


class LabelledSource(FolderSource):
    """A `DatasetSource` of images that carry their labels.

    Args:
        choice: which part each image plays.
    """

    def __init__(self, root: Path, options: FolderOptions, choice: SplitChoice) -> None:
        super().__init__(root, options)
        self.choice = choice

    @abstractmethod
    def _scan(self, problems: Problems) -> list[Labelled]:
        """All images of the root, each once."""

    @abstractmethod
    def _names(self) -> NameIndex:
        """The images by what lists may call them."""

    # -- parts --------------------------------------------------------------------------------------------
    def _declare(self, role: Role, problems: Problems) -> list[Declared]:
        if "_parts" not in self.__dict__:
            apart = self.choice.apart.files()  # what is wrong there is told by itself
            self._parts: dict[Role, list[Declared]] = {}
            with problems.collect():
                self._parts = self._assign(apart, problems)
        return self._parts.get(role, [])

    def _assign(self, apart: frozenset[Path], problems: Problems) -> dict[Role, list[Declared]]:
        images = {one.file_name: one for one in self._scan(problems)}
        self._set_apart(images, apart)
        if not images:
            if not problems.messages:
                raise DataError(f"{self.root}: expected images with labels, got none")
            return {}
        try:
            parts = self._split(images, problems)
        except DataError:
            if not problems.messages:
                raise
            return {}  # the labels that could not be read may be those that it misses
        names = [name for some in parts.values() for name in some]
        ids = dict(zip(names, unique_ids([_possible_ids(name) for name in names]), strict=True))
        declared: dict[Role, list[Declared]] = {}
        for role, some in parts.items():
            declared[role] = []
            for name in some:
                with problems.collect():
                    declared[role].append(self._declared(ids[name], role, images[name]))
        return declared

    def _set_apart(self, images: dict[str, Labelled], apart: frozenset[Path]) -> None:
        """Take out the images that are val by other annotations."""
        taken = [name for name in images if apart and (self.root / name).resolve() in apart]
        for name in taken:
            del images[name]
        if taken:
            self.note(
                f"left out of train: {counted(len(taken), 'image')} that data.val_annotations has: "
                f"{first_few(taken)}"
            )

    def _split(self, images: dict[str, Labelled], problems: Problems) -> dict[Role, list[str]]:
        """Names of the images of each part, sorted."""
        placed = {name: Placed(frozenset(one.classes), one.split) for name, one in images.items()}
        return divide(placed, self.choice, self._names, self.root, self.note, problems)

    def _declared(self, image_id: str, role: Role, one: Labelled) -> Declared:
        path = inside(self.root, one.file_name, one.where)
        clean_text(image_id, f"{one.where}: file name")
        digest = sha256(repr((image_id, [(item.name, item.box) for item in one.objects])).encode())
        return Declared(image_id, role, str(path), one.file_name, one.size, one.objects, one.where, digest)

    def _infer_classes(self, declared: Sequence[Declared]) -> tuple[str, ...]:
        return tuple(sorted({item.name for one in declared for item in one.objects}))

    # -- masks: none, unless a format has some --------------------------------------------------------------
    def _has_truth(self, entry: Entry) -> bool:
        return False

    def _truth_bytes(self, entry: Entry) -> Iterator[bytes]:
        return iter(())

    def _truth(self, entry: Entry) -> TruthRecord:
        raise DataError(f"{entry.declared.where}: expected masks, got labels alone")


def _possible_ids(file_name: str) -> list[str]:
    """How an image may be called, shortest first: its name, then with ever more of the folders above it."""
    parts = PurePosixPath(file_name).parts
    tails = [PurePosixPath(*parts[-n:]) for n in range(1, len(parts) + 1)]
    return [name for tail in tails for name in (str(tail.with_suffix("")), str(tail))]
