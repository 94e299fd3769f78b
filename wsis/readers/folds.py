"""Cross-validation: of the train part of a data set, every n-th image is val, the others train."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.folder_files import sha256
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


class FoldSource:
    """A `DatasetSource` whose parts are folds of another one's train part.

    Args:
        source: of which only the train part is read.
        fold: images fold, fold + folds, fold + 2 folds, ... in the source's order are val.
        folds: number of folds.
    """

    def __init__(self, source: DatasetSource, fold: int, folds: int) -> None:
        self._source, self._fold, self._folds = source, fold, folds

    @cached_property
    def _role(self) -> Mapping[str, Role]:
        ids = self._source.image_ids("train")
        if len(ids) < self._folds:
            raise DataError(
                f"data.folds: expected at least {self._folds} train images to part, got {len(ids)}"
            )
        held = set(ids[self._fold :: self._folds])
        return {image_id: "val" if image_id in held else "train" for image_id in ids}

    def _hash(self, digest: str) -> str:
        return sha256(repr((digest, self._fold, self._folds)).encode())

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the class of index j is number j + 1."""
        return self._source.classes

    def digest(self) -> str:
        """sha256 over the whole part's digest and the fold."""
        return self._hash(self._source.digest())

    def truth_digest(self, roles: Sequence[Role] = ROLES) -> str:
        """sha256 over the whole part's masks, the fold and the parts asked for (evaluation only)."""
        return self._hash(repr((self._source.truth_digest(("train",)), tuple(roles))))

    def validate(self, track: Track = untracked) -> None:
        """Check every image of all folds."""
        self._source.validate(track)

    def notes(self) -> tuple[str, ...]:
        """What the reader decided, and the fold."""
        held = len(self.image_ids("val"))
        line = f"val is fold {self._fold} of {self._folds} of the train part: {held} images; another val is not read"
        return (*self._source.notes(), line)

    def source_categories(self) -> Mapping[Role, Mapping[str, int | str]]:
        """Part -> class name -> the id that the annotations give the class, where they do."""
        named = self._source.source_categories()
        return {role: named["train"] for role in ROLES if "train" in named}

    def source_ids(self) -> Mapping[str, int | str]:
        """Image id -> the id that the annotations themselves give the image, where they do."""
        return self._source.source_ids()

    def tolerate(self) -> tuple[str, ...]:
        """From now on give the images that can be read; all that is wrong with the annotations, a line each."""
        return self._source.tolerate()

    def image_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of one part, in order."""
        return tuple(image_id for image_id, role in self._role.items() if role == split)

    def outlines(self) -> Iterator[Outline]:
        """All images in order, none of them read."""
        return (replace(one, role=self._role[one.image_id]) for one in self._source.outlines())

    def labels_of(self, image_id: str) -> NDArray[np.int32]:
        """Classes of one image. KeyError if the id is not in the data set."""
        return self._source.labels_of(image_id)

    def image(self, image_id: str) -> ImageRecord:
        """One image. KeyError if the id is not in the data set."""
        return replace(self._source.image(image_id), split=self._role[image_id])

    def box_changes(self, split: Role) -> BoxChanges:
        """Boxes that are not as they were annotated: those of all folds stand with train."""
        return self._source.box_changes("train") if split == "train" else BoxChanges()

    def truth_ids(self, split: Role) -> tuple[str, ...]:
        """Ids of the images of one part that have masks (evaluation only)."""
        return tuple(i for i in self._source.truth_ids("train") if self._role[i] == split)

    def truth_of(self, image_id: str) -> TruthRecord:
        """Instances of one image (evaluation only)."""
        return replace(self._source.truth_of(image_id), split=self._role[image_id])
