"""One proposal for each annotated box of an image, chosen jointly: a pixel belongs to one box.

The score of a choice is the sum of the boxes' gains minus, for every two boxes, the share of the smaller of their
proposals that lies in the other one. It is raised from a start by steps that move one box or two boxes at once, until
none helps.
Suffix legend: R problems, P proposals, A boxes, M candidates of a box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.conditional.graph import ProposalGraph

SHARED_PIXELS = 1.0  # cost of lying in another box's proposal, in ranges of a box's gains
_MOST_CANDIDATES = 16  # of a box, best box IoU first
_ROUNDS = 10
_IMPOSSIBLE = float("-inf")
SAME = 1e3  # "share" of a proposal in itself: two boxes have it only where nothing else is left


@dataclass(frozen=True)
class BoxCandidates:
    """What the boxes of an image choose from.

    Attributes:
        ids: int64 [A, M], proposals; rows are filled up with their first.
        listed: bool [A, M], False where filled up.
        overlap: float32 [P, P], common pixels of two proposals over the smaller one's; `SAME` on the diagonal.
        pairs: boxes of which some candidates share more pixels than others do: there a step of two can help.
    """

    ids: Tensor
    listed: Tensor
    overlap: Tensor
    pairs: tuple[tuple[int, int], ...] = ()


def box_candidates(graph: ProposalGraph, box_iou: Tensor, threshold: float) -> BoxCandidates:
    """The proposals that fit each box, those of the largest IoU (float [P, A]) where they are many; a box that none
    fits has its best one."""
    ranked = torch.where(box_iou >= threshold, box_iou, _IMPOSSIBLE).T
    best = box_iou.argmax(0)
    ranked[torch.arange(len(best)), best] = (
        box_iou.amax(0) + 1
    )  # the first, so that filled-up places repeat it
    width = min(_MOST_CANDIDATES, int((ranked > _IMPOSSIBLE).sum(1).max()))
    order = ranked.sort(dim=1, descending=True, stable=True)
    ids, listed = order.indices[:, :width], order.values[:, :width] > _IMPOSSIBLE
    ids = torch.where(listed, ids, ids[:, :1])
    common = graph.iou()
    sizes = graph.areas[:, None] + graph.areas
    common = common * sizes / (1 + common)  # from IoU to pixels
    overlap = common / torch.minimum(graph.areas[:, None], graph.areas)
    overlap.fill_diagonal_(SAME)
    return BoxCandidates(ids, listed, overlap, pairs_that_share(ids, overlap))


def box_fit(scores: Tensor, box_iou: Tensor, threshold: float) -> Tensor:
    """How well proposals stand for boxes without anything learned, float [P, A]; 1 for a box's best one that fits it.

    Args:
        scores: float [P] in (0, 1], the proposals' fit to the box that each was made for.
        box_iou: float [P, A].
        threshold: a proposal fits a box from this IoU on.

    Raises:
        InputError: not one score a proposal.
    """
    if scores.shape != box_iou.shape[:1]:
        raise InputError(f"scores: expected [{len(box_iou)}], got {tuple(scores.shape)}")
    fits = box_iou >= threshold
    fit = scores[:, None] * box_iou
    best = torch.where(fits | ~fits.any(0), fit, 0.0).amax(0)
    return fit / best.clamp(min=1e-6)


def best_candidates(gains: Tensor, candidates: BoxCandidates) -> Tensor:
    """The candidate of the largest gain of each box, int64 [A]; gains float [A, P]."""
    own = gains.gather(1, candidates.ids).masked_fill(~candidates.listed, _IMPOSSIBLE)
    return candidates.ids.gather(1, own.argmax(1, keepdim=True))[:, 0]


def choose_jointly(choices: Sequence["JointChoice"]) -> None:
    """Improve the picks of several images until no step does: all of them round by round, so that the host asks for
    those that moved once a round."""
    moving = list(choices)
    for _ in range(_ROUNDS):
        if not moving:
            return
        moved = torch.stack([choice.improve() for choice in moving]).tolist()
        moving = [choice for choice, has_moved in zip(moving, moved, strict=True) if has_moved]


class JointChoice:
    """The proposals of the boxes of one image in R problems, and what each proposal would share with them.

    Exact for two boxes; for more, no change of one box or of two that overlap makes it better. Ties keep what is.

    Args:
        gains: float [R, A, P], at least one box.
        start: int64 [R, A], a proposal for every box; it may be none of its candidates.
        candidates: of the image.
        weight: of shared pixels, in mean ranges of a box's gains over its candidates.
        most_pairs: more pairs of boxes than these move one by one alone: time; None: pairs always move.

    Attributes:
        picks: int64 [R, A], the proposal of each box.
    """

    def __init__(
        self,
        gains: Tensor,
        start: Tensor,
        candidates: BoxCandidates,
        weight: float = SHARED_PIXELS,
        most_pairs: int | None = None,
    ) -> None:
        own = gains.gather(2, candidates.ids.expand(len(gains), -1, -1)).double()
        high = own.masked_fill(~candidates.listed, _IMPOSSIBLE).amax(2)
        low = own.masked_fill(~candidates.listed, -_IMPOSSIBLE).amin(2)
        # no gain makes up for a proposal held twice
        forbidden = 2 * gains.abs().amax(dim=(1, 2)).double() / SAME
        self.cost = torch.maximum(weight * (high - low).mean(1), forbidden)
        self.pairs = candidates.pairs if most_pairs is None or len(candidates.pairs) <= most_pairs else ()
        self.gains, self.picks, self.candidates = gains.double(), start.clone(), candidates
        self.overlap = candidates.overlap.double()
        self.shared = self.overlap[start].sum(1)  # [R, P]
        self.rows = torch.arange(len(start), device=start.device)

    def improve(self) -> Tensor:
        """Move each box and each pair of boxes once where that helps; bool [], whether any moved."""
        moved = [self._improve_one(box) for box in range(self.picks.shape[1])]
        moved += [self._improve_two(one, other) for one, other in self.pairs]
        return torch.stack(moved).any()

    def _value(self, box: int, ids: Tensor, without: tuple[int, ...]) -> Tensor:
        """Gain of proposals int64 [R, n] for a box, less what they share with the picks of all boxes but some."""
        shared = self.shared.gather(1, ids)
        for one in without:
            shared = shared - self.overlap[self.picks[:, one, None], ids]
        return self.gains[:, box].gather(1, ids) - self.cost[:, None] * shared

    def _options(self, box: int) -> tuple[Tensor, Tensor]:
        """What a box can take, the present pick first: ids int64 [R, 1 + M] and whether each is one."""
        ids, listed = self.candidates.ids[box], self.candidates.listed[box]
        count = len(self.picks)
        options = torch.cat([self.picks[:, box, None], ids.expand(count, -1)], 1)
        return options, torch.cat([listed.new_ones(1), listed]).expand(count, -1)

    def _move(self, box: int, ids: Tensor) -> None:
        self.shared += self.overlap[ids] - self.overlap[self.picks[:, box]]
        self.picks[:, box] = ids

    def _improve_one(self, box: int) -> Tensor:
        """Move one box in every row in which that helps; bool [], whether any moved."""
        options, possible = self._options(box)
        values = self._value(box, options, (box,)).masked_fill(~possible, _IMPOSSIBLE)
        values[:, 0] += 1e-9
        best = values.argmax(1)
        self._move(box, options[self.rows, best])
        return (best > 0).any()

    def _improve_two(self, one: int, other: int) -> Tensor:
        """Move two boxes at once, likewise."""
        (a, may_a), (b, may_b) = self._options(one), self._options(other)
        value_a = self._value(one, a, (one, other)).masked_fill(~may_a, _IMPOSSIBLE)
        value_b = self._value(other, b, (one, other)).masked_fill(~may_b, _IMPOSSIBLE)
        between = self.overlap[a[:, :, None], b[:, None, :]]
        values = (value_a[:, :, None] + value_b[:, None, :] - self.cost[:, None, None] * between).flatten(1)
        values[:, 0] += 1e-9
        best = values.argmax(1)
        self._move(one, a[self.rows, best // b.shape[1]])
        self._move(other, b[self.rows, best % b.shape[1]])
        return (best > 0).any()


def pairs_that_share(ids: Tensor, overlap: Tensor) -> tuple[tuple[int, int], ...]:
    """The pairs of `BoxCandidates`, of candidates int64 [A, M] and shares float [P, P]."""
    found = []
    for one in range(len(ids) - 1):
        between = (
            overlap[ids[one][:, None, None], ids[one + 1 :]].transpose(0, 1).flatten(1)
        )  # [A - 1 - one, M * M]
        apart = torch.nonzero(between.amax(1) > between.amin(1))[:, 0]
        found += [(one, one + 1 + other) for other in apart.tolist()]
    return tuple(found)
