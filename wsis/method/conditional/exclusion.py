"""Joint choice of one proposal for each of several slots, where proposals exclude one another.

Two instances of one class have no pixel in common, and a seed has one instance: so the picks of an image's seeds are
chosen together, not one after the other. The choice maximises the sum of values over the slots that are filled; an
empty slot counts 0.
Suffix legend: Q problems of an image, A slots, P proposals, M candidates looked at together.

Two slots of one class want the same large proposal (0), and the two small ones in it are worth more together:

>>> values = torch.tensor([[[5.0, 3.0, -9.0], [5.0, -9.0, 4.0]]])
>>> same = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
>>> joint_picks(values, torch.tensor([1, 1]), same, torch.eye(3, dtype=torch.bool))
tensor([[1, 2]])
"""

from dataclasses import dataclass, fields
from itertools import combinations

import torch
from torch import Tensor

EMPTY = -1
_IMPOSSIBLE = float("-inf")
_CANDIDATES = 24  # of a slot, the best ones, when several slots are chosen together
_TOGETHER = 3  # slots that are chosen together where there are no more


@dataclass(frozen=True)
class SeedSlots:
    """Slots that stand for the marked objects of an image, and what excludes what.

    Attributes:
        holds: bool [P, A], the proposals that hold the mark of each slot.
        same: bool [P, P], symmetric, True for u = v: two instances of one class exclude one another.
        other: bool [P, P], the same of two classes.
    """

    holds: Tensor
    same: Tensor
    other: Tensor

    def to(self, device: torch.device | str) -> "SeedSlots":
        """Copy to a device."""
        return SeedSlots(*(getattr(self, one.name).to(device) for one in fields(self)))


def joint_labels(
    scores: Tensor, gains: Tensor, columns: Tensor, seeds: SeedSlots, higher_order: bool
) -> Tensor:
    """Label an image whose slots are marks: those jointly, then whatever else beats the background, best first.

    The marks are the annotation's, so that without the higher-order term (terms U, U+P) they say nothing: an image is
    then labelled by scores alone, best first.

    Args:
        scores: float [Q, P, J].
        gains: float [Q, A, P], what a proposal in a slot gains over the background.
        columns: int64 [A], score column of each slot's class.
        seeds: which proposals hold which mark, and what excludes what.
        higher_order: whether every mark must have an instance, if any is left that holds it.

    Returns:
        int64 [Q, P], the score column of every proposal.
    """
    labels = torch.zeros(scores.shape[:2], dtype=torch.int64, device=scores.device)
    left = (scores[..., 1:] - scores[..., :1]).transpose(1, 2).clone()  # [Q, J - 1, P]
    classes = torch.arange(1, scores.shape[2], device=scores.device)
    if higher_order:
        picks = joint_picks(_demanded(gains, seeds.holds), columns, seeds.same, seeds.other)
        for slot, column in enumerate(columns):
            rows = torch.nonzero(picks[:, slot] != EMPTY)[:, 0]
            _take(labels, left, rows, picks[rows, slot], column.expand(len(rows)), classes, seeds)
    while left.numel():
        gain, place = left.flatten(1).max(1)
        rows = torch.nonzero(gain > 0)[:, 0]
        if len(rows) == 0:
            break
        place = place[rows]
        _take(labels, left, rows, place % left.shape[2], place // left.shape[2] + 1, classes, seeds)
    return labels


def _demanded(gains: Tensor, holds: Tensor) -> Tensor:
    """Gains [Q, A, P] of the proposals that hold the marks, each worth more than all gains together: as many slots as
    can be are filled, and then the best sum."""
    if gains.numel() == 0:
        return gains.double()
    largest = gains.abs().amax(dim=(1, 2), keepdim=True).double()
    return gains.double().masked_fill(~holds.T, _IMPOSSIBLE) + (1.0 + 2.0 * gains.shape[1] * largest)


def _take(
    labels: Tensor,
    left: Tensor,
    rows: Tensor,
    picked: Tensor,
    column: Tensor,
    classes: Tensor,
    seeds: SeedSlots,
) -> None:
    """Label a proposal in each of the rows and strike out what it excludes."""
    labels[rows, picked] = column
    own = (classes[None] == column[:, None])[:, :, None]
    apart = torch.where(own, seeds.same[picked][:, None], seeds.other[picked][:, None])
    left[rows] = left[rows].masked_fill(apart, _IMPOSSIBLE)


def joint_picks(values: Tensor, columns: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """Choose at most one proposal for each slot, none of them exclusive, with the largest sum of values.

    Greedy, best value first, which is the best where no slot's best was taken from it. Elsewhere up to `_TOGETHER`
    slots are chosen together among their `_CANDIDATES` best, which is exact for slots with no more. Of more slots each
    pair of which one keeps the other from its best is chosen so once, all others held.

    Args:
        values: float [Q, A, P]; minus infinity where a proposal is no candidate of the slot.
        columns: int64 [A], class of each slot.
        same: bool [P, P], symmetric, True for u = v: which proposals exclude one another within a class.
        other: bool [P, P], the same between two classes.

    Returns:
        int64 [Q, A], the proposal of each slot or `EMPTY`.
    """
    if values.numel() == 0:
        return torch.full(values.shape[:2], EMPTY, device=values.device)
    picks = _greedy(values, columns, same, other)
    wanted, first = values.max(2)
    contested = torch.nonzero((picks != torch.where(wanted > 0, first, EMPTY)).any(1))[:, 0]
    if len(contested):
        picks[contested] = _Exchange(values[contested], columns, same, other).improved(picks[contested])
    return picks


def _greedy(values: Tensor, columns: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """Best value first, int64 [Q, A]."""
    problems, slots, proposals = values.shape
    rows = torch.arange(problems, device=values.device)
    picks = torch.full((problems, slots), EMPTY, device=values.device)
    left = values.clone()
    for _ in range(slots):
        value, place = left.flatten(1).max(1)
        taken = value > 0
        if not bool(taken.any()):
            break
        slot, proposal = place // proposals, place % proposals
        picks[rows[taken], slot[taken]] = proposal[taken]
        left[rows, slot] = _IMPOSSIBLE
        of_class = columns[slot, None] == columns[None]  # [Q, A]
        apart = torch.where(of_class[:, :, None], same[proposal][:, None], other[proposal][:, None])
        left.masked_fill_(apart, _IMPOSSIBLE)
    return picks


class _Exchange:
    """Slots chosen anew on lists [Q, A, M + 2] of each one's best candidates, its present pick and the empty slot."""

    def __init__(self, values: Tensor, columns: Tensor, same: Tensor, other: Tensor) -> None:
        self.values, self.columns = values, columns.tolist()
        self.tables = [_with_empty(other), _with_empty(same)]

    def improved(self, picks: Tensor) -> Tensor:
        """int64 [Q, A] -> the same or better."""
        slots, proposals = self.values.shape[1:]
        worth, ids = self.values.topk(min(_CANDIDATES, proposals), 2)
        present = picks.clamp(min=0)[..., None]
        own = self.values.gather(2, present).masked_fill(picks[..., None] == EMPTY, _IMPOSSIBLE)
        self.worth = torch.cat([worth, own, torch.zeros_like(own)], 2)
        self.ids = torch.cat([ids, present, torch.full_like(present, proposals)], 2)
        empty = self.ids.shape[2] - 1
        at = torch.where(picks == EMPTY, empty, empty - 1)
        every = torch.arange(len(at), device=at.device)
        at = self._choose(at, list(range(slots)), every) if slots <= _TOGETHER else self._exchanged(at)
        result = self.ids.gather(2, at[:, :, None])[..., 0]
        return torch.where(at == empty, EMPTY, result)

    def _exchanged(self, at: Tensor) -> Tensor:
        """Pairs of which one has what keeps the other from its best, in the problems where it is so."""
        for first, second in combinations(range(len(self.columns)), 2):
            picked, apart = self.ids.gather(2, at[:, :, None])[..., 0], self._apart(first, second)
            taken = apart[self.ids[:, first, 0], picked[:, second]] & (at[:, first] != 0)
            taken |= apart[self.ids[:, second, 0], picked[:, first]] & (at[:, second] != 0)
            rows = torch.nonzero(taken)[:, 0]
            if len(rows):
                at = self._choose(at, [first, second], rows)
        return at

    def _apart(self, first: int, second: int) -> Tensor:
        """bool [P + 1, P + 1], what excludes what between two slots."""
        return self.tables[self.columns[first] == self.columns[second]]

    def _choose(self, at: Tensor, chosen: list[int], rows: Tensor) -> Tensor:
        """Choose some slots of some problems (int64 [n]) together, all others held.

        at: int64 [Q, A], places in the lists; returns the like.
        """
        ids, worths, size = self.ids[rows], self.worth[rows], self.ids.shape[2]
        picked = ids.gather(2, at[rows, :, None])[..., 0]
        together = worths.new_zeros(len(rows), *[1] * len(chosen))
        for axis, slot in enumerate(chosen, start=1):
            worth = worths[:, slot].clone()
            for held in set(range(len(self.columns))) - set(chosen):
                apart = self._apart(slot, held)[picked[:, held, None], ids[:, slot]]
                worth.masked_fill_(apart, _IMPOSSIBLE)
            together = together + _along(worth, axis, len(chosen))
        for (axis, slot), (beside, another) in combinations(enumerate(chosen, start=1), 2):
            one, two = (_along(ids[:, k], a, len(chosen)) for k, a in ((slot, axis), (another, beside)))
            together = together.masked_fill(self._apart(slot, another)[one, two], _IMPOSSIBLE)
        best, place = together.flatten(1).max(1)
        current = worths.gather(2, at[rows, :, None])[:, chosen, 0].sum(1)
        result = at.clone()
        for slot in reversed(chosen):
            result[rows, slot] = torch.where(best > current, place % size, at[rows, slot])
            place = place // size
        return result


def _along(entries: Tensor, axis: int, axes: int) -> Tensor:
    """Entries [Q, M] of one slot along its axis of a table [Q, M, .., M]."""
    return entries.reshape(len(entries), *[-1 if a == axis else 1 for a in range(1, axes + 1)])


def _with_empty(apart: Tensor) -> Tensor:
    """One more row and column, for the empty slot, that exclude nothing."""
    return torch.nn.functional.pad(apart, (0, 1, 0, 1))
