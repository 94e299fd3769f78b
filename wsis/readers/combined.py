"""Train labels of one format with val masks of another: two sources as one data set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import sha256
from wsis.readers.shared.folder import FolderSource
from wsis.readers.shared.records import (
    ROLES,
    BoxChanges,
    DatasetSource,
    ImageRecord,
    Outline,
    Role,
    Track,
    TruthRecord,
    untracked,
)


def check_same_classes(
    train: Sequence[str], val: Sequence[str], on_unknown: Literal["error", "ignore"]
) -> None:
    """Check that the classes of val, matched by name, are those of train.

    Raises:
        DataError: none is, or one is not and that is no reason to leave its objects out.
    """
    unknown = [name for name in val if name not in train]
    if len(unknown) == len(val):
        raise DataError(
            f"data.val_annotations: expected classes named as in train ({', '.join(train)}), got {', '.join(val)}"
        )
    if unknown and on_unknown == "error":
        raise DataError(
            f"data.val_annotations: expected classes of train ({', '.join(train)}), got also {', '.join(unknown)}; "
            "data.on_unknown_class=ignore leaves their objects out"
        )


class CombinedSource:
    """A `DatasetSource` whose parts come from two others.

    Args:
        train: gives the classes.
        val_of: makes the source of val for the classes of train; objects of others are treated as the user chose.
    """

    def __init__(self, train: FolderSource, val_of: Callable[[tuple[str, ...]], DatasetSource]) -> None:
        self._train, self._val_of = train, val_of
        self._val: DatasetSource | None = None

    def _part(self, role: Role) -> DatasetSource:
        if role == "train":
            return self._train
        if self._val is None:
            self._val = self._val_of(self._train.classes)
            both = self._train_ids & set(self._val.image_ids("val"))
            if both:
                raise DataError(
                    f"data.val_annotations: expected images that are not in train, got {len(both)} of the same name: "
                    f"{', '.join(sorted(both)[:3])}"
                )
        return self._val

    def _parts(self) -> Iterator[tuple[Role, DatasetSource]]:
        return ((role, self._part(role)) for role in ROLES)

    def _of(self, image_id: str) -> DatasetSource:
        return self._part("train" if image_id in self._train_ids else "val")

    @cached_property
    def _train_ids(self) -> frozenset[str]:
        return frozenset(self._train.image_ids("train"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the class of index j is number j + 1."""
        return self._train.classes

    def digest(self) -> str:
        """sha256 over the digests of both parts."""
        return sha256(repr([part.digest() for _, part in self._parts()]).encode())

    def truth_digest(self, roles: Sequence[Role] = ROLES) -> str:
        """sha256 over the masks of both parts (evaluation only)."""
        return sha256(repr([self._part(role).truth_digest((role,)) for role in roles]).encode())

    def validate(self, track: Track = untracked) -> None:
        """Check both parts; one DataError lists all that is wrong with the first that is."""
        for _, part in self._parts():
            part.validate(track)

    def notes(self) -> tuple[str, ...]:
        """What the readers decided, a line each."""
        return tuple(line for _, part in self._parts() for line in part.notes())

    def note(self, line: str) -> None:
        """Remember what was decided and the user must be told."""
        self._train.note(line)

    def source_categories(self) -> Mapping[Role, Mapping[str, int | str]]:
        """Part -> class name -> the id that the annotations give the class, where they do."""
        return {role: named for _, part in self._parts() for role, named in part.source_categories().items()}

    def source_ids(self) -> Mapping[str, int | str]:
        """Image id -> the id that the annotations themselves give the image, where they do."""
        return {
            image_id: number for _, part in self._parts() for image_id, number in part.source_ids().items()
        }

    def tolerate(self) -> tuple[str, ...]:
        """From now on give the images that can be read; all that is wrong with the annotations, a line each."""
        return tuple(line for _, part in self._parts() for line in part.tolerate())

    def image_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of one part, in order."""
        return self._part(split).image_ids(split)

    def outlines(self) -> Iterator[Outline]:
        """All images in order, none of them read."""
        return (one for role, part in self._parts() for one in part.outlines() if one.role == role)

    def labels_of(self, image_id: str) -> NDArray[np.int32]:
        """Classes of one image. KeyError if the id is not in the data set."""
        return self._of(image_id).labels_of(image_id)

    def image(self, image_id: str) -> ImageRecord:
        """One image. KeyError if the id is not in the data set."""
        return self._of(image_id).image(image_id)

    def box_changes(self, split: Role) -> BoxChanges:
        """Boxes of one part that are not as they were annotated."""
        return self._part(split).box_changes(split)

    def truth_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of the images of one part that have masks (evaluation only)."""
        return self._part(split).truth_ids(split)

    def truth_of(self, image_id: str) -> TruthRecord:
        """Instances of one image (evaluation only)."""
        return self._of(image_id).truth_of(image_id)
