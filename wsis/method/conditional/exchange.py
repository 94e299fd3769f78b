"""Slots of which one keeps the other from its best proposal, chosen anew: few problems and steps that depend on one
another, for the host, whichever device has the rest.

Suffix legend: Q problems of an image, A slots, P proposals, M candidates looked at together, n problems of those.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

EMPTY = -1
_IMPOSSIBLE = float("-inf")
_CANDIDATES = 24  # of a slot, the best ones, when several slots are chosen together
_TOGETHER = 3  # slots that are chosen together where there are no more


class HostTables:
    """`same` and `other` of an image that stay on the CPU when the rest moves (`wsis.method.transfers.moved`)."""

    def __init__(self, same: Tensor, other: Tensor) -> None:
        self.same, self.other = same, other


def candidate_lists(values: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
    """Values and proposals [Q, A, M + 2] of each slot's best candidates, its present pick and the empty slot, whose
    number is P; of values [Q, A, P] and picks int64 [Q, A]."""
    proposals = values.shape[2]
    if not values.numel():
        return values.new_zeros(*picks.shape, 0), picks.new_zeros(*picks.shape, 0)
    worth, ids = values.topk(min(_CANDIDATES, proposals), 2)
    present = picks.clamp(min=0)[..., None]
    own = values.gather(2, present).masked_fill(picks[..., None] == EMPTY, _IMPOSSIBLE)
    worth = torch.cat([worth, own, torch.zeros_like(own)], 2)
    return worth, torch.cat([ids, present, torch.full_like(present, proposals)], 2)


def exchanged(
    contested: Tensor, picks: Tensor, worth: Tensor, ids: Tensor, columns: Sequence[int], tables: HostTables
) -> Tensor:
    """Picks int64 [Q, A] on the CPU, better ones where contested (bool [Q])."""
    rows = torch.nonzero(contested)[:, 0]
    if not len(rows):
        return picks
    result = picks.clone()
    result[rows] = _Exchange(worth[rows], ids[rows], columns, tables).improved(picks[rows])
    return result


class _Exchange:
    """Slots chosen anew on the lists of `candidate_lists`, all on the CPU."""

    def __init__(self, worth: Tensor, ids: Tensor, columns: Sequence[int], tables: HostTables) -> None:
        self.worth, self.ids, self.slots = worth, ids, len(columns)
        self.tables = torch.stack([_with_empty(tables.other), _with_empty(tables.same)])
        of_slot = torch.tensor(columns)
        self.same = (of_slot[:, None] == of_slot).long()  # [A, A], which of the tables

    def improved(self, picks: Tensor) -> Tensor:
        """int64 [Q, A] -> the same or better."""
        empty = self.ids.shape[2] - 1
        at = torch.where(picks == EMPTY, empty, empty - 1)
        at = self._together(at) if self.slots <= _TOGETHER else self._exchanged(at)
        result = self.ids.gather(2, at[:, :, None])[..., 0]
        return torch.where(at == empty, EMPTY, result)

    def _together(self, at: Tensor) -> Tensor:
        """All slots at once."""
        every = torch.arange(len(at), device=at.device)
        return self._choose(at, list(range(self.slots)), every)

    def _exchanged(self, at: Tensor) -> Tensor:
        """Pairs of which one has what keeps the other from its best, in the problems where it is so."""
        for first, second in combinations(range(self.slots), 2):
            picked, apart = self.ids.gather(2, at[:, :, None])[..., 0], self._apart(first, second)
            taken = apart[self.ids[:, first, 0], picked[:, second]] & (at[:, first] != 0)
            taken |= apart[self.ids[:, second, 0], picked[:, first]] & (at[:, second] != 0)
            rows = torch.nonzero(taken)[:, 0]
            if len(rows):
                at = self._choose(at, [first, second], rows)
        return at

    def _apart(self, first: int, second: int) -> Tensor:
        """bool [P + 1, P + 1], what excludes what between two slots."""
        return self.tables[self.same[first, second]]

    def _choose(self, at: Tensor, chosen: list[int], rows: Tensor) -> Tensor:
        """Choose some slots of some problems (int64 [n]) together, all others held.

        at: int64 [Q, A], places in the lists; returns the like.
        """
        ids, worths, size = self.ids[rows], self.worth[rows], self.ids.shape[2]
        picked = ids.gather(2, at[rows, :, None])[..., 0]
        held = [slot for slot in range(self.slots) if slot not in chosen]
        together = worths.new_zeros(len(rows), *[1] * len(chosen))
        for axis, slot in enumerate(chosen, start=1):
            of_held = self.same[slot, held][:, None], picked[:, held, None], ids[:, slot, None]
            worth = worths[:, slot].masked_fill(self.tables[of_held].any(1), _IMPOSSIBLE)
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
    return functional.pad(apart, (0, 1, 0, 1))
