"""Joint choice of one proposal for each of several slots, where proposals exclude one another.

Two instances of one class have no pixel in common, and a seed has one instance: so the picks of an image's seeds are
chosen together, not one after the other. The choice maximises the sum of values over the slots that are filled; an
empty slot counts 0.
Suffix legend: Q problems of an image, R of all images, A slots, P proposals, J = 1 + number of annotated
classes.

Two slots of one class want the same large proposal (0), and the two small ones in it are worth more together:

>>> values = torch.tensor([[[5.0, 3.0, -9.0], [5.0, -9.0, 4.0]]])
>>> same = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
>>> seeds = SeedSlots(torch.ones(3, 2, dtype=torch.bool), same, torch.eye(3, dtype=torch.bool))
>>> joint_picks([values], [torch.tensor([1, 1])], Exclusion([1], [seeds]))
tensor([[1, 2]])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from wsis.method.conditional.exchange import EMPTY, HostTables, candidate_lists, exchanged
from wsis.method.transfers import host_waits, moved, places, rounds_unseen

_IMPOSSIBLE = float("-inf")


@dataclass(frozen=True)
class SeedSlots:
    """Slots that stand for the marked objects of an image, and what excludes what.

    Attributes:
        holds: bool [P, A], the proposals that hold the mark of each slot.
        same: bool [P, P], symmetric, True for u = v: two instances of one class exclude one another.
        other: bool [P, P], the same of two classes.
        on_host: the last two as they were made.
    """

    holds: Tensor
    same: Tensor
    other: Tensor
    on_host: HostTables = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        if self.on_host is None:
            object.__setattr__(self, "on_host", HostTables(self.same, self.other))


def joint_labels(
    scores: Sequence[Tensor],
    gains: Sequence[Tensor],
    columns: Sequence[Tensor],
    seeds: Sequence[SeedSlots],
    higher_order: bool,
) -> list[Tensor]:
    """Label images whose slots are marks: those jointly, then whatever else beats the background, best first.

    The marks are the annotation's, so that without the higher-order term (terms U, U+P) they say nothing: an image is
    then labelled by scores alone, best first.

    Args:
        scores: per image float [Q, P, J].
        gains: per image float [Q, A, P], what a proposal in a slot gains over the background.
        columns: per image int64 [A], score column of each slot's class.
        seeds: per image which proposals hold which mark, and what excludes what.
        higher_order: whether every mark must have an instance, if any is left that holds it.

    Returns:
        Per image int64 [Q, P], the score column of every proposal.
    """
    if len(scores) > 1 and not host_waits(scores[0]):  # one by one nothing is padded
        images = zip(scores, gains, columns, seeds, strict=True)
        return [joint_labels([s], [g], [c], [e], higher_order)[0] for s, g, c, e in images]
    if not scores:
        return []
    exclusion = Exclusion([len(s) for s in scores], seeds)
    left = _padded([(s[..., 1:] - s[..., :1]).transpose(1, 2) for s in scores], _IMPOSSIBLE)  # [R, J - 1, P]
    labels = torch.zeros(len(left), left.shape[2], dtype=torch.int64, device=left.device)
    if higher_order and labels.numel():
        values = [_demanded(g, e.holds) for g, e in zip(gains, seeds, strict=True)]
        picks = joint_picks(values, columns, exclusion)
        of_slots = _padded([c[None].expand(len(s), -1) for c, s in zip(columns, scores, strict=True)], 0)
        for slot in range(picks.shape[1]):
            filled = picks[:, slot] != EMPTY
            (rows,) = places(filled)
            picked, column = picks[rows, slot].clamp(min=0), of_slots[rows, slot]
            labels[rows, picked] = torch.where(filled[rows], column, labels[rows, picked])
            apart = exclusion.of_classes(rows, picked, column, left.shape[1]) & filled[rows, None, None]
            left[rows] = left[rows].masked_fill(apart, _IMPOSSIBLE)
    _take_gainful(labels, left, exclusion)
    return [
        part[:, : s.shape[1]] for part, s in zip(labels.split([len(s) for s in scores]), scores, strict=True)
    ]


def _take_gainful(labels: Tensor, left: Tensor, exclusion: "Exclusion") -> None:
    """Label what beats the background, best first, until nothing is left: labels int64 [R, P] in place, from what each
    proposal gains in each class, float [R, J - 1, P]."""
    rows, proposals, turn = torch.arange(len(left), device=left.device), left.shape[2], 0
    while left.numel():
        gain, place = left.flatten(1).max(1)
        turn += 1
        if turn % rounds_unseen(left) == 0:
            kept = torch.nonzero(gain > 0)[:, 0]
            rows, left, gain, place = rows[kept], left[kept], gain[kept], place[kept]
            if not len(rows):
                return
        picked, column = place % proposals, place // proposals + 1
        labels[rows, picked] = torch.where(gain > 0, column, labels[rows, picked])
        left.masked_fill_(exclusion.of_classes(rows, picked, column, left.shape[1]), _IMPOSSIBLE)


class Exclusion:
    """What excludes what in the problems of several images, one after the other: R rows, of images padded to the
    largest P.

    Args:
        counts: problems of each image.
        seeds: per image what excludes what.
    """

    def __init__(self, counts: Sequence[int], seeds: Sequence[SeedSlots]) -> None:
        self.same = padded_tables([one.same for one in seeds])
        self.other = padded_tables([one.other for one in seeds])
        self.on_host = [one.on_host for one in seeds]
        self.starts = [0, *accumulate(counts)]
        self.image = torch.zeros(self.starts[-1], dtype=torch.int64, device=self.same.device)
        for index, (start, stop) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            self.image[start:stop] = index

    def of(self, rows: Tensor, picked: Tensor, is_same: Tensor) -> Tensor:
        """What a pick of each row (int64 [n] both) excludes in slots that are of its class or not, bool [n, A] ->
        bool [n, A, P]."""
        image = self.image[rows]
        same, other = self.same[image, picked], self.other[image, picked]
        return torch.where(is_same[:, :, None], same[:, None], other[:, None])

    def of_classes(self, rows: Tensor, picked: Tensor, column: Tensor, classes: int) -> Tensor:
        """The same in every class, of picks in the columns int64 [n]: bool [n, J - 1, P]."""
        every = torch.arange(1, classes + 1, device=column.device)
        return self.of(rows, picked, every[None] == column[:, None])


def padded_tables(tables: Sequence[Tensor]) -> Tensor:
    """Tables bool [P, P] of several images as one [B, P, P] for the largest P."""
    return _padded([table[None] for table in tables], 0)


def _padded(parts: Sequence[Tensor], value: float) -> Tensor:
    """Tensors concatenated, with the value where another is longer in the dimensions after the first. A copy, but of
    one tensor that is a view alone."""
    if len(parts) == 1:
        return parts[0] if value == 0 else parts[0].clone(memory_format=torch.contiguous_format)
    size = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    result = parts[0].new_full((sum(map(len, parts)), *size), value)
    start = 0
    for part in parts:
        result[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
        start += len(part)
    return result


def _demanded(gains: Tensor, holds: Tensor) -> Tensor:
    """Gains [Q, A, P] of the proposals that hold the marks, each worth more than all gains together: as many slots as
    can be are filled, and then the best sum."""
    if gains.numel() == 0:
        return gains.double()
    largest = gains.abs().amax(dim=(1, 2), keepdim=True).double()
    return gains.double().masked_fill(~holds.T, _IMPOSSIBLE) + (1.0 + 2.0 * gains.shape[1] * largest)


def joint_picks(values: Sequence[Tensor], columns: Sequence[Tensor], exclusion: "Exclusion") -> Tensor:
    """Choose at most one proposal for each slot, none of them exclusive, with the largest sum of values.

    Greedy, best value first, which is the best where no slot's best was taken from it. Elsewhere up to three slots are
    chosen together among their 24 best, which is exact for slots with no more. Of more slots each pair of which one
    keeps the other from its best is chosen so once, all others held (`exchange`).

    Args:
        values: per image float [Q, A, P]; minus infinity where a proposal is no candidate of the slot.
        columns: per image int64 [A], class of each slot.
        exclusion: of these images.

    Returns:
        int64 [R, A], the proposal of each slot or `EMPTY`, of all images one after the other, for the largest A.
    """
    picks = _greedy(values, columns, exclusion)
    lists, parts = [], []
    for index, value in enumerate(values):
        own = picks[exclusion.starts[index] : exclusion.starts[index + 1], : value.shape[1]]
        contested = own.new_zeros(len(own), dtype=torch.bool)
        if value.numel():
            wanted, first = value.max(2)
            contested = (own != torch.where(wanted > 0, first, EMPTY)).any(1)
        (rows,) = places(contested)
        parts.append((exclusion.starts[index] + rows, value.shape[1]))
        lists.append((contested[rows], own[rows], *candidate_lists(value[rows], own[rows])))
    # few problems, and steps that depend on one another: for the host, whichever device has the rest
    on_host, of_slots = moved((lists, list(columns)), "cpu")
    better = [
        exchanged(*of_image, slots.tolist(), tables)
        for of_image, slots, tables in zip(on_host, of_slots, exclusion.on_host, strict=True)
    ]
    for (rows, slots), chosen in zip(parts, moved(better, picks.device), strict=True):
        picks[rows, :slots] = chosen
    return picks


def _greedy(values: Sequence[Tensor], columns: Sequence[Tensor], exclusion: Exclusion) -> Tensor:
    """Best value first, int64 [R, A]."""
    left = _padded(values, _IMPOSSIBLE)
    of_slots = _padded([c[None].expand(len(v), -1) for c, v in zip(columns, values, strict=True)], 0)
    problems, slots, proposals = left.shape
    rows = torch.arange(problems, device=left.device)
    picks = torch.full((problems, slots), EMPTY, device=left.device)
    for _ in range(slots if left.numel() else 0):
        value, place = left.flatten(1).max(1)
        slot, proposal = place // proposals, place % proposals
        picks[rows, slot] = torch.where(value > 0, proposal, picks[rows, slot])
        left.scatter_(1, slot[:, None, None].expand(-1, 1, proposals), _IMPOSSIBLE)
        is_same = of_slots[rows, slot, None] == of_slots
        left.masked_fill_(exclusion.of(rows, proposal, is_same), _IMPOSSIBLE)
    return picks
