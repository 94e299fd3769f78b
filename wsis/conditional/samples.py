"""The K samples of one image as a compact record: proposal ids and classes, equal samples stored once.

Suffix legend: K samples, U unique samples, M labelled proposals of all unique samples, P proposals, S superpixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsis.errors import InputError


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
        unique = len(self.multiplicities)
        if (
            len(self.offsets) != unique + 1
            or self.offsets[0] != 0
            or self.offsets[-1] != len(self.proposal_ids)
        ):
            raise InputError(
                f"offsets: expected {unique + 1} from 0 to {len(self.proposal_ids)}, got {self.offsets.tolist()}"
            )
        if not len(self.proposal_ids) == len(self.classes) == len(self.scores):
            raise InputError("proposal_ids, classes, scores: lengths differ")

    @property
    def num_samples(self) -> int:
        return int(self.multiplicities.sum())

    def unique(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Proposal ids, classes and scores of one unique sample."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return self.proposal_ids[part], self.classes[part], self.scores[part]

    def masks(self, index: int, superpixels: np.ndarray, membership: np.ndarray) -> np.ndarray:
        """Masks bool [n, h, w] of one unique sample at the working size of the proposals."""
        ids = self.unique(index)[0]
        if len(ids) and int(ids.max()) >= len(membership):
            raise InputError(f"proposal_ids: {int(ids.max())} of {len(membership)} proposals")
        return membership[ids][:, superpixels]


def deduplicate(labels: Tensor, scores: Tensor, classes: Tensor, kept: np.ndarray) -> SampleSet:
    """Merge equal samples, most frequent first (ties: the one drawn first).

    Args:
        labels: int64 [K, P], score columns (0 = background) of the filtered proposals.
        scores: float [K, P, J], refined scores.
        classes: int64 [J - 1], class of each score column.
        kept: int [P], row of each filtered proposal in the image's proposals.
    """
    table = torch.cat([classes.new_zeros(1), classes])
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for k, row in enumerate(labels):
        picked = torch.nonzero(row)[:, 0]
        key = tuple(zip(picked.tolist(), row[picked].tolist(), strict=True))
        groups.setdefault(key, []).append(k)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[1][0]))
    ids, names, values = [], [], []
    for key, members in ordered:
        for proposal, column in key:
            ids.append(int(kept[proposal]))
            names.append(int(table[column]))
            margin = scores[members, proposal, column] - scores[members, proposal, 0]
            values.append(float(margin.mean()))
    return SampleSet(
        multiplicities=np.array([len(members) for _, members in ordered], dtype=np.int32),
        offsets=np.cumsum([0] + [len(key) for key, _ in ordered], dtype=np.int64).astype(np.int32),
        proposal_ids=np.array(ids, dtype=np.int32),
        classes=np.array(names, dtype=np.int32),
        scores=np.array(values, dtype=np.float32),
    )
