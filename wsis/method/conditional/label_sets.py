"""The K samples of one image as a compact record: proposal ids and classes, equal samples stored once.

Suffix legend: K samples, U unique samples, M labelled proposals of all unique samples, P proposals, S superpixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.proposal_set import Regions

if TYPE_CHECKING:  # sets are looked at where nothing learns
    from torch import Tensor


@dataclass(frozen=True)
class SampleSet:
    """K label sets of one image.

    Attributes:
        multiplicities: int32 [U], how many samples equal each unique one; sums to K.
        offsets: int32 [U + 1], start of each unique sample in the arrays below.
        proposal_ids: int32 [M], rows in the image's (unfiltered) proposals.
        classes: int32 [M], 1..C.
        scores: float32 [M], score margin over the background, mean over the equal samples.
    """

    multiplicities: np.ndarray
    offsets: np.ndarray
    proposal_ids: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        """InputError unless the five arrays describe label sets: names the field, what was expected and what came."""
        unique, labelled = len(self.multiplicities), len(self.proposal_ids)
        ends = self.offsets[[0, -1]].tolist() if len(self.offsets) else []
        if len(self.offsets) != unique + 1 or ends != [0, labelled]:
            raise InputError(
                f"offsets: expected {unique + 1} from 0 to {labelled}, got {self.offsets.tolist()}"
            )
        if (np.diff(self.offsets) < 0).any():
            raise InputError(f"offsets: expected rising values, got {self.offsets.tolist()}")
        if not labelled == len(self.classes) == len(self.scores):
            raise InputError(
                "proposal_ids, classes, scores: expected one length, got "
                f"{labelled}, {len(self.classes)}, {len(self.scores)}"
            )
        for name, least in (("multiplicities", 1), ("proposal_ids", 0), ("classes", 1)):
            values = getattr(self, name)
            if len(values) and int(values.min()) < least:
                raise InputError(f"{name}: expected at least {least}, got {int(values.min())}")

    @classmethod
    def from_record(cls, record: Mapping[str, np.ndarray]) -> "SampleSet":
        """The sets of a stored record of pseudo labels (its other fields are ignored).

        Raises:
            InputError: the arrays describe no label sets; names the field.
        """
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of the sets, as a stored record of pseudo labels has them beside its statistics."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_samples(self) -> int:
        return int(self.multiplicities.sum())

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the K samples, how many equal each unique one, float64 [U]; they sum to 1."""
        return self.multiplicities / self.multiplicities.sum()

    def most_frequent(self, count: int) -> list[int]:
        """Indices of at most so many unique samples, the most frequent first."""
        return np.argsort(-self.multiplicities, kind="stable")[:count].tolist()

    def unique(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Proposal ids, classes and scores of one unique sample."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.proposal_ids[part], self.classes[part], self.scores[part]

    def check(self, num_samples: int, num_proposals: int, num_classes: int) -> None:
        """Whether the sets are K samples of an image with P proposals in a data set of C classes.

        Raises:
            InputError: multiplicities do not sum to K, a proposal id is not below P, or a class is above C.
        """
        if self.num_samples != num_samples:
            raise InputError(
                f"multiplicities: expected a sum of {num_samples} samples, got {self.num_samples} "
                f"from {self.multiplicities.tolist()}"
            )
        if len(self.proposal_ids) and int(self.proposal_ids.max()) >= num_proposals:
            raise InputError(
                f"proposal_ids: expected below {num_proposals}, got {int(self.proposal_ids.max())}"
            )
        if len(self.classes) and int(self.classes.max()) > num_classes:
            raise InputError(f"classes: expected 1..{num_classes}, got {int(self.classes.max())}")

    def masks(self, index: int, proposals: Regions) -> NDArray[np.bool_]:
        """Masks bool [n, H, W] of one unique sample, from all proposals of the image; see `Regions.masks`."""
        return proposals.masks(self.unique(index)[0])


def certain_samples(
    proposal_ids: NDArray[np.integer], classes: NDArray[np.integer], num_samples: int
) -> SampleSet:
    """K equal samples: these proposals, int [n], with these classes, int [n] in 1..C."""
    return SampleSet(
        multiplicities=np.array([num_samples], np.int32),
        offsets=np.array([0, len(proposal_ids)], np.int32),
        proposal_ids=proposal_ids.astype(np.int32),
        classes=classes.astype(np.int32),
        scores=np.ones(len(proposal_ids), np.float32),
    )


def deduplicate(labels: "Tensor", scores: "Tensor", classes: "Tensor", kept: np.ndarray) -> SampleSet:
    """Merge equal samples, most frequent first (ties: the one drawn first).

    Args:
        labels: int64 [K, P], score columns (0 = background) of the filtered proposals.
        scores: float [K, P, J], refined scores.
        classes: int64 [J - 1], class of each score column.
        kept: int [P], row of each filtered proposal in the image's proposals.
    """
    table = [0, *classes.tolist()]
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for k, row in enumerate(labels):
        picked = row.nonzero()[:, 0]
        key = tuple(zip(picked.tolist(), row[picked].tolist(), strict=True))
        groups.setdefault(key, []).append(k)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[1][0]))
    ids, names, values = [], [], []
    for key, members in ordered:
        for proposal, column in key:
            ids.append(int(kept[proposal]))
            names.append(table[column])
            margin = scores[members, proposal, column] - scores[members, proposal, 0]
            values.append(float(margin.mean()))
    return SampleSet(
        multiplicities=np.array([len(members) for _, members in ordered], dtype=np.int32),
        offsets=np.cumsum([0] + [len(key) for key, _ in ordered], dtype=np.int64).astype(np.int32),
        proposal_ids=np.array(ids, dtype=np.int32),
        classes=np.array(names, dtype=np.int32),
        scores=np.array(values, dtype=np.float32),
    )
