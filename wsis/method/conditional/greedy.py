"""Algorithm 1's picks one after the other, for slots that are classes or boxes, batched over problems.

Suffix legend: Q problems of an image, R of all images, A slots, P proposals, M candidates.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from wsis.method.conditional.exclusion import padded_tables
from wsis.method.transfers import host_waits, places, rounds_unseen

_IMPOSSIBLE = float("-inf")
_NOTHING_LEFT = -1e4  # gain of a slot's second best when it has none
_ENTRY_BUDGET = 1 << 22  # gains looked at together while further proposals are picked
_WINDOW = 64  # candidates looked at together while skipping those that earlier picks removed


def greedy_picks(
    gains: Sequence[Tensor], suppress: Sequence[Tensor], of_classes: Sequence[bool], higher_order: bool
) -> list[Tensor]:
    """Fill the slots of several images one pick after the other; see `inference.infer`.

    Args:
        gains: per image float [Q, A, P], `inference.slot_gains`.
        suppress: per image bool [P, P]: what taking a proposal removes from its slot's candidates.
        of_classes: whether an image's slots are classes, which take further proposals; else they are boxes.
        higher_order: whether each slot must get one.

    Returns:
        Per image int64 [Q, P]: 0, or 1 + the slot of a proposal.
    """
    if not gains:
        return []
    state = _State(gains, suppress, of_classes)
    if state.gains.numel():
        state.fill_slots(higher_order)
        step = max(1, _ENTRY_BUDGET // state.gains[0].numel())
        for start in range(0, len(state.optional), step):
            state.take_gainful(state.optional[start : start + step])
    return state.results()


class _State:
    """All problems of all images, flattened to R rows and padded to the largest P and A."""

    def __init__(
        self, gains: Sequence[Tensor], suppress: Sequence[Tensor], of_classes: Sequence[bool]
    ) -> None:
        self.shapes = [tuple(gain.shape) for gain in gains]
        self.suppress = suppress
        self.table = padded_tables(self.suppress) if host_waits(gains[0]) else None
        device = gains[0].device
        rows = sum(shape[0] for shape in self.shapes)
        self.num_slots = max(shape[1] for shape in self.shapes)
        self.num_proposals = max(shape[2] for shape in self.shapes)
        dtype = torch.promote_types(gains[0].dtype, torch.float32)
        size = (rows, self.num_slots, self.num_proposals)
        self.gains = torch.full(size, _IMPOSSIBLE, device=device, dtype=dtype)
        self.image = torch.zeros(rows, dtype=torch.int64, device=device)
        optional = [torch.zeros(0, dtype=torch.int64, device=device)]
        self.starts = [0, *accumulate(shape[0] for shape in self.shapes)]
        for index, (gain, takes_more) in enumerate(zip(gains, of_classes, strict=True)):
            part = slice(self.starts[index], self.starts[index + 1])
            self.gains[part, : gain.shape[1], : gain.shape[2]] = gain
            self.image[part] = index
            if takes_more:
                optional.append(torch.arange(part.start, part.stop, device=device))
        self.optional = torch.cat(optional)  # rows whose slots are classes
        self.labels = torch.zeros(rows, self.num_proposals, dtype=torch.int64, device=device)

    def fill_slots(self, higher_order: bool) -> None:
        """Give every slot of every row its best proposal, largest regret first.

        Without the higher-order term no class must have one, and a box gets one only if it beats the background.
        """
        best, proposal, second, runner_up = self._two_best(self.gains)
        unfilled = torch.ones_like(best, dtype=torch.bool)
        if not higher_order:
            unfilled.index_fill_(0, self.optional, False)
        for _ in range(self.num_slots):
            served = unfilled & (best > (_IMPOSSIBLE if higher_order else 0.0))
            serves = served.any(1)
            (rows,) = places(serves)
            if len(rows) == 0:
                return
            serves = serves[rows]
            regret = best - second.clamp(min=_NOTHING_LEFT)
            slot = torch.where(served, regret, _IMPOSSIBLE).argmax(1)[rows]
            taken = proposal[rows, slot]
            self.labels[rows, taken] = torch.where(serves, slot + 1, self.labels[rows, taken])
            unfilled[rows, slot] &= ~serves
            self.gains[rows, :, taken] = self.gains[rows, :, taken].masked_fill(serves[:, None], _IMPOSSIBLE)
            contained = self._contained(self.image[rows], taken) & serves[:, None]
            self.gains[rows, slot] = self.gains[rows, slot].masked_fill(contained, _IMPOSSIBLE)
            # Of the other slots only those lose that had their eye on the proposal.
            wanted = (proposal[rows] == taken[:, None]) | (runner_up[rows] == taken[:, None])
            row, other = places(wanted & unfilled[rows])
            row = rows[row]
            again = self._two_best(self.gains[row, other])
            for table, value in zip((best, proposal, second, runner_up), again, strict=True):
                table[row, other] = value

    @staticmethod
    def _two_best(gains: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Best and second best over the last dimension, each with its index; the lower index where equal."""
        best, first = gains.max(-1)
        gains.scatter_(-1, first[..., None], _IMPOSSIBLE)
        second, runner_up = gains.max(-1)
        gains.scatter_(-1, first[..., None], best[..., None])
        return best, first, second, runner_up

    def take_gainful(self, rows: Tensor) -> None:
        """In these rows, take what beats the background, best first, until nothing is left.

        Only candidates of positive gain are listed, sorted once; a pick strikes out what it removes, and each row
        walks down its list over what is struck out.
        """
        count, slots, proposals, on_device = len(rows), self.num_slots, self.num_proposals, host_waits(rows)
        struck = torch.zeros(count, slots + 1, proposals, dtype=torch.bool, device=rows.device)
        struck[:, slots] = True  # where the ends of the lists point to
        lines = struck.view(-1, proposals)
        candidates, counts = self._candidates(rows)
        at = torch.arange(count, device=rows.device) * candidates.shape[1]
        end, images, window = at + counts, self.image[rows], torch.arange(_WINDOW, device=rows.device)
        row = torch.arange(count, device=rows.device)
        while len(row := row[at[row] < end[row]]):
            for _ in range(rounds_unseen(row)):
                candidate = candidates.take(at[row, None] + window)
                first = struck.take(candidate).byte().argmin(1)
                picked = candidate.gather(1, first[:, None])[:, 0]
                found = ~struck.take(picked)
                at[row] += torch.where(found, first + 1, _WINDOW)
                hit, picked = (row, picked) if on_device else (row[found], picked[found])
                line, proposal = picked // proposals, picked % proposals
                label, contained = line - hit * (slots + 1) + 1, self._contained(images[hit], proposal)
                if on_device:
                    label = torch.where(found, label, self.labels[rows[hit], proposal])
                    contained &= found[:, None]
                    struck[hit, :, proposal] |= found[:, None]
                    at[row] = torch.minimum(at[row], end[row])
                else:
                    struck[hit, :, proposal] = True
                self.labels[rows[hit], proposal] = label
                lines[line] |= contained

    def _candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What gains, best first (ties: lower proposal, then slot), and how many in each row, int64 [n, M] and [n].

        A candidate is its place in a table [n, A + 1, P]; lists are filled up with the first place of slot A.
        """
        gains = self.gains[rows].transpose(1, 2)  # row, proposal, slot: the order of ties
        gainful = gains > 0
        row, proposal, slot = places(gainful)
        value, before = gains[row, proposal, slot], (self.num_slots - slot) * self.num_proposals - proposal
        if host_waits(gains):  # all are listed, those without gain as filled up
            listed = gainful[row, proposal, slot]
            value, before = value.masked_fill(~listed, _IMPOSSIBLE), before * listed
            counts = gainful.sum((1, 2))
            place, width = proposal * self.num_slots + slot, self.num_slots * self.num_proposals
        else:
            counts = torch.bincount(row, minlength=len(rows))
            place = torch.arange(len(row), device=rows.device) - (torch.cumsum(counts, 0) - counts)[row]
            width = int(counts.max())
        values = gains.new_full((len(rows), width + _WINDOW), _IMPOSSIBLE)
        values[row, place] = value
        line = torch.arange(len(rows), device=rows.device)[:, None] * (self.num_slots + 1)
        candidates = ((line + self.num_slots) * self.num_proposals).repeat(1, values.shape[1])
        candidates[row, place] -= before
        order = torch.sort(values, dim=1, descending=True, stable=True).indices
        return candidates.gather(1, order), counts

    def _contained(self, images: Tensor, proposals: Tensor) -> Tensor:
        """What taking each proposal of each image removes, bool [n, P]."""
        if len(self.suppress) == 1:
            return self.suppress[0][proposals]
        if self.table is not None:
            return self.table[images, proposals]
        result = torch.zeros(len(proposals), self.num_proposals, dtype=torch.bool, device=images.device)
        for index, suppress in enumerate(self.suppress):
            mine = torch.nonzero(images == index)[:, 0]
            result[mine, : len(suppress)] = suppress[proposals[mine]]
        return result

    def results(self) -> list[Tensor]:
        parts = zip(self.starts, self.shapes, strict=False)
        return [self.labels[start : start + shape[0], : shape[2]] for start, shape in parts]
