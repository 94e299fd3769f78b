"""Algorithm 1: greedy argmax of the score under the higher-order term (eq. 3-5), batched over problems.

A *slot* is what must receive an instance: an annotated class (image-level labels) or an annotated box.
Suffix legend: B images, Q problems of an image (samples, loss-augmented problems), P proposals, A slots,
J = 1 + number of annotated classes (score columns, 0 = background), R problems of all images, M candidates.

Three proposals, the second inside the first; one annotated class (column 1). The first wins and removes the second,
the third beats the background as well:

>>> inside = torch.tensor([[0, 1, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.bool)
>>> scores = torch.tensor([[[0.0, 3.0], [0.0, 2.0], [0.0, 1.0]]])
>>> infer([scores], [Slots(torch.tensor([1]), inside)])
[tensor([[1, 0, 1]])]

Where nothing beats the background the class keeps one instance, unless the higher-order term is off:

>>> infer([scores - torch.tensor([0.0, 9.0])], [Slots(torch.tensor([1]), inside)])
[tensor([[1, 0, 0]])]
>>> infer([scores - torch.tensor([0.0, 9.0])], [Slots(torch.tensor([1]), inside)], higher_order=False)
[tensor([[0, 0, 0]])]
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsis.errors import InputError, NonFiniteError
from wsis.method.conditional.box_choice import BoxCandidates, choose_jointly
from wsis.method.conditional.exclusion import SeedSlots, joint_labels

BOX_THRESHOLD = 0.8  # departure D6
_IMPOSSIBLE = float("-inf")
_NOTHING_LEFT = -1e4  # gain of a slot's second best when it has none
_ENTRY_BUDGET = 1 << 22  # gains looked at together while further proposals are picked
_MOST_PAIRS = 30  # of boxes that share pixels, up to which they also move two at a time
_WINDOW = 64  # candidates looked at together while skipping those that earlier picks removed


@dataclass(frozen=True)
class Slots:
    """What the annotation asks of one image's labelling.

    Attributes:
        columns: int64 [A], the score column (1..J-1) of each slot's class.
        suppress: bool [P, P]; entry (i, l) says that taking i for a class removes l from that class's candidates:
            |r_i ∩ r_l| / |r_l| > t.
        box_iou: None for image-level labels; float [P, A] for boxes, the IoU of each proposal's box with each box.
        box_threshold: a box draws on proposals with at least this IoU.
        prior: float [P, A], added to what each proposal gains for each box; None: nothing.
        candidates: what the boxes choose from jointly, so that shared pixels cost; None: each for itself.
        seeds: where the slots are seeds, and inference is joint over them.
    """

    columns: Tensor
    suppress: Tensor
    box_iou: Tensor | None = None
    box_threshold: float = BOX_THRESHOLD
    prior: Tensor | None = None
    candidates: BoxCandidates | None = None
    seeds: SeedSlots | None = None

    def to(self, device: torch.device | str) -> "Slots":
        """Copy to a device."""
        overlap = None if self.box_iou is None else self.box_iou.to(device)
        return replace(
            self,
            columns=self.columns.to(device),
            suppress=self.suppress.to(device),
            box_iou=overlap,
            prior=None if self.prior is None else self.prior.to(device),
            candidates=None if self.candidates is None else self.candidates.to(device),
            seeds=None if self.seeds is None else self.seeds.to(device),
        )

    def __post_init__(self) -> None:
        if self.columns.ndim != 1 or (len(self.columns) and int(self.columns.min()) < 1):
            raise InputError(f"columns: expected int [A] of score columns >= 1, got {self.columns}")
        expected = (len(self.suppress), len(self.columns))
        if self.box_iou is not None and tuple(self.box_iou.shape) != expected:
            raise InputError(f"box_iou: expected {expected}, got {tuple(self.box_iou.shape)}")


def slot_gains(scores: Tensor, slots: Slots, *, last_resort: bool = True) -> Tensor:
    """Return what S gains when proposal u takes slot a instead of the background: G_{u, j(a)} - G_{u, 0}, for boxes
    with their prior.

    For boxes, proposals under the IoU threshold rank below every other one, best IoU first: they are a box's
    last resort when others have taken all its candidates (minus infinity when `last_resort` is False).

    Args:
        scores: float [Q, P, J].
        slots: the annotation.
        last_resort: whether a box may take a proposal under the threshold.

    Returns:
        float [Q, A, P].
    """
    by_column = scores.transpose(1, 2)
    gains = by_column[:, slots.columns] - by_column[:, :1]
    if slots.box_iou is None or gains.numel() == 0:
        return gains
    if slots.prior is not None:
        gains = gains + slots.prior.T.to(gains.dtype)
    box_iou = slots.box_iou.T.to(gains.dtype)
    if not last_resort:
        return gains.masked_fill(box_iou < slots.box_threshold, _IMPOSSIBLE)
    low, high = gains.amin(dim=(1, 2), keepdim=True), gains.amax(dim=(1, 2), keepdim=True)
    floor = (
        low - (high - low) - 1.0
    )  # so far down that a box with one candidate is served before one with two
    return torch.where(box_iou >= slots.box_threshold, gains, floor + box_iou - 1.0)


def infer(scores: Sequence[Tensor], slots: Sequence[Slots], *, higher_order: bool = True) -> list[Tensor]:
    """Run Algorithm 1 for all problems of several images at once.

    Order of picks: first every slot's best proposal, whatever its score (the higher-order term; as a proposal takes
    one class at most, the slot that would lose most by its second best is served first); then, for image-level
    labels, further proposals whose class beats the background, in order of gain. A pick removes, for its own class,
    the proposals it contains (`Slots.suppress`). Boxes get exactly one proposal each. Ties go to the lower index.
    A slot stays empty only when there are fewer proposals than slots. Boxes with `Slots.candidates` then move on from
    these picks, jointly (`box_choice`); marks (`Slots.seeds`) are filled jointly from the start (`exclusion`).

    Args:
        scores: per image float [Q, P, J]; refined scores G, plus eps * Delta for loss-augmented problems.
        slots: per image.
        higher_order: False leaves a class or box without instance when nothing beats the background (terms U, U+P).

    Returns:
        Per image int64 [Q, P], the score column of every proposal (0 = background).

    Raises:
        NonFiniteError: a score is NaN or infinite.
        InputError: shapes disagree.
    """
    gains = []
    for index, (score, slot) in enumerate(zip(scores, slots, strict=True)):
        if score.ndim != 3 or score.shape[1] != len(slot.suppress):
            raise InputError(
                f"scores[{index}]: expected [Q, {len(slot.suppress)}, J], got {tuple(score.shape)}"
            )
        if not torch.isfinite(score).all():
            raise NonFiniteError(f"scores[{index}]: NaN or infinite proposal score")
        gains.append(slot_gains(score, slot, last_resort=higher_order))
    plain = [i for i, slot in enumerate(slots) if slot.seeds is None]
    greedy = _greedy([gains[i] for i in plain], [slots[i] for i in plain], higher_order) if plain else []
    picks, results = dict(zip(plain, greedy, strict=True)), []
    for index, (score, gain, slot) in enumerate(zip(scores, gains, slots, strict=True)):
        if slot.seeds is not None:
            results.append(joint_labels(score, gain, slot.columns, slot.seeds, higher_order))
            continue
        if slot.candidates is not None and higher_order:
            _share_out(picks[index], gain, slot.candidates)
        results.append(torch.cat([slot.columns.new_zeros(1), slot.columns])[picks[index]])
    return results


def _share_out(chosen: Tensor, gains: Tensor, candidates: BoxCandidates) -> None:
    """Let the boxes of an image move jointly from their greedy picks (int64 [Q, P], 0 or 1 + slot), in place."""
    slots = torch.arange(1, gains.shape[1] + 1, device=chosen.device)
    held = chosen[:, None] == slots[:, None]  # [Q, A, P]
    rows = torch.nonzero(held.any(2).all(1))[:, 0]  # where proposals are fewer than boxes nothing can move
    picks = choose_jointly(gains[rows], held[rows].byte().argmax(2), candidates, most_pairs=_MOST_PAIRS)
    moved = torch.zeros_like(chosen[rows])
    moved.scatter_(1, picks, slots.expand_as(picks))
    chosen[rows] = moved


def _greedy(gains: list[Tensor], slots: Sequence[Slots], higher_order: bool) -> list[Tensor]:
    """Return per image int64 [Q, P]: 0 or 1 + slot."""
    state = _State(gains, slots)
    if state.gains.numel():
        state.fill_slots(higher_order)
        rows = torch.nonzero(state.optional)[:, 0]
        step = max(1, _ENTRY_BUDGET // state.gains[0].numel())
        for start in range(0, len(rows), step):
            state.take_gainful(rows[start : start + step])
    return state.results()


class _State:
    """All problems of all images, flattened to R rows and padded to the largest P and A."""

    def __init__(self, gains: list[Tensor], slots: Sequence[Slots]) -> None:
        self.shapes = [tuple(gain.shape) for gain in gains]
        self.suppress = [slot.suppress for slot in slots]
        device = gains[0].device
        rows = sum(shape[0] for shape in self.shapes)
        self.num_slots = max(shape[1] for shape in self.shapes)
        self.num_proposals = max(shape[2] for shape in self.shapes)
        dtype = torch.promote_types(gains[0].dtype, torch.float32)
        size = (rows, self.num_slots, self.num_proposals)
        self.gains = torch.full(size, _IMPOSSIBLE, device=device, dtype=dtype)
        self.image = torch.zeros(rows, dtype=torch.int64, device=device)
        self.optional = torch.zeros(rows, dtype=torch.bool, device=device)
        start = 0
        for index, (gain, slot) in enumerate(zip(gains, slots, strict=True)):
            count, columns, proposals = gain.shape
            self.gains[start : start + count, :columns, :proposals] = gain
            self.image[start : start + count] = index
            self.optional[start : start + count] = slot.box_iou is None
            start += count
        self.labels = torch.zeros(rows, self.num_proposals, dtype=torch.int64, device=device)

    def fill_slots(self, higher_order: bool) -> None:
        """Give every slot of every row its best proposal, largest regret first.

        Without the higher-order term no class must have one, and a box gets one only if it beats the background.
        """
        best, proposal, second, runner_up = self._two_best(self.gains)
        unfilled = torch.ones_like(best, dtype=torch.bool)
        if not higher_order:
            unfilled &= ~self.optional[:, None]
        for _ in range(self.num_slots):
            served = unfilled & (best > (_IMPOSSIBLE if higher_order else 0.0))
            rows = torch.nonzero(served.any(1))[:, 0]
            if len(rows) == 0:
                return
            regret = best - second.clamp(min=_NOTHING_LEFT)
            slot = torch.where(served, regret, _IMPOSSIBLE).argmax(1)[rows]
            taken = proposal[rows, slot]
            self.labels[rows, taken] = slot + 1
            unfilled[rows, slot] = False
            self.gains[rows, :, taken] = _IMPOSSIBLE
            contained = self._contained(self.image[rows], taken)
            self.gains[rows, slot] = self.gains[rows, slot].masked_fill(contained, _IMPOSSIBLE)
            # Of the other slots only those lose that had their eye on the proposal.
            wanted = (proposal[rows] == taken[:, None]) | (runner_up[rows] == taken[:, None])
            row, other = torch.nonzero(wanted & unfilled[rows], as_tuple=True)
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
        count, slots, proposals = len(rows), self.num_slots, self.num_proposals
        struck = torch.zeros(count, slots + 1, proposals, dtype=torch.bool, device=rows.device)
        struck[:, slots] = True  # where the ends of the lists point to
        lines = struck.view(-1, proposals)
        candidates, counts = self._candidates(rows)
        at = torch.arange(count, device=rows.device) * candidates.shape[1]
        end, images, window = at + counts, self.image[rows], torch.arange(_WINDOW, device=rows.device)
        row = torch.nonzero(counts)[:, 0]
        while len(row):
            candidate = candidates.take(at[row, None] + window)
            first = struck.take(candidate).byte().argmin(1)
            picked = candidate.gather(1, first[:, None])[:, 0]
            found = ~struck.take(picked)
            hit, picked = row[found], picked[found]
            line, proposal = picked // proposals, picked % proposals
            self.labels[rows[hit], proposal] = line - hit * (slots + 1) + 1
            struck[hit, :, proposal] = True
            lines[line] |= self._contained(images[hit], proposal)
            at[row] += torch.where(found, first + 1, _WINDOW)
            row = row[at[row] < end[row]]

    def _candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What gains, best first (ties: lower proposal, then slot), and how many in each row, int64 [n, M] and [n].

        A candidate is its place in a table [n, A + 1, P]; lists are filled up with the first place of slot A.
        """
        gains = self.gains[rows].transpose(1, 2)  # row, proposal, slot: the order of ties
        row, proposal, slot = torch.nonzero(gains > 0, as_tuple=True)
        counts = torch.bincount(row, minlength=len(rows))
        place = torch.arange(len(row), device=rows.device) - (torch.cumsum(counts, 0) - counts)[row]
        values = gains.new_full((len(rows), int(counts.max()) + _WINDOW), _IMPOSSIBLE)
        values[row, place] = gains[row, proposal, slot]
        line = torch.arange(len(rows), device=rows.device)[:, None] * (self.num_slots + 1)
        candidates = ((line + self.num_slots) * self.num_proposals).repeat(1, values.shape[1])
        candidates[row, place] -= (self.num_slots - slot) * self.num_proposals - proposal
        order = torch.sort(values, dim=1, descending=True, stable=True).indices
        return candidates.gather(1, order), counts

    def _contained(self, images: Tensor, proposals: Tensor) -> Tensor:
        """What taking each proposal of each image removes, bool [n, P]."""
        if len(self.suppress) == 1:
            return self.suppress[0][proposals]
        result = torch.zeros(len(proposals), self.num_proposals, dtype=torch.bool, device=images.device)
        for index, suppress in enumerate(self.suppress):
            mine = torch.nonzero(images == index)[:, 0]
            result[mine, : len(suppress)] = suppress[proposals[mine]]
        return result

    def results(self) -> list[Tensor]:
        parts, start = [], 0
        for count, _, proposals in self.shapes:
            parts.append(self.labels[start : start + count, :proposals])
            start += count
        return parts
