"""Algorithm 1: greedy argmax of the score under the higher-order term (eq. 3-5), batched over problems.

A *slot* is what must receive an instance: an annotated class (image-level labels) or an annotated box.
Suffix legend: B images, Q problems of an image (samples, loss-augmented problems), P proposals, A slots,
J = 1 + number of annotated classes (score columns, 0 = background).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsis.errors import InputError, NonFiniteError

_IMPOSSIBLE = float("-inf")
_NOTHING_LEFT = -1e4  # gain of a slot's second best when it has none


@dataclass(frozen=True)
class Slots:
    """What the annotation asks of one image's labelling.

    Attributes:
        columns: int64 [A], the score column (1..J-1) of each slot's class.
        suppress: bool [P, P]; entry (i, l) says that taking i for a class removes l from that class's candidates:
            |r_i ∩ r_l| / |r_l| > t.
        box_iou: None for image-level labels; float [P, A] for boxes, the IoU of each proposal's box with each box.
        box_threshold: a box draws on proposals with at least this IoU.
    """

    columns: Tensor
    suppress: Tensor
    box_iou: Tensor | None = None
    box_threshold: float = 0.5

    def to(self, device: torch.device | str) -> "Slots":
        """Copy to a device."""
        overlap = None if self.box_iou is None else self.box_iou.to(device)
        return replace(
            self, columns=self.columns.to(device), suppress=self.suppress.to(device), box_iou=overlap
        )

    def __post_init__(self) -> None:
        if self.columns.ndim != 1 or (len(self.columns) and int(self.columns.min()) < 1):
            raise InputError(f"columns: expected int [A] of score columns >= 1, got {self.columns}")
        expected = (len(self.suppress), len(self.columns))
        if self.box_iou is not None and tuple(self.box_iou.shape) != expected:
            raise InputError(f"box_iou: expected {expected}, got {tuple(self.box_iou.shape)}")


def slot_gains(scores: Tensor, slots: Slots, *, last_resort: bool = True) -> Tensor:
    """Return what S gains when proposal u takes slot a instead of the background: G_{u, j(a)} - G_{u, 0}.

    For boxes, proposals under the IoU threshold rank below every other one, best IoU first: they are a box's
    last resort when others have taken all its candidates (minus infinity when `last_resort` is False).

    Args:
        scores: float [Q, P, J].
        slots: the annotation.
        last_resort: whether a box may take a proposal under the threshold.

    Returns:
        float [Q, P, A].
    """
    gains = scores[:, :, slots.columns] - scores[:, :, :1]
    if slots.box_iou is None or gains.numel() == 0:
        return gains
    if not last_resort:
        return gains.masked_fill(slots.box_iou < slots.box_threshold, _IMPOSSIBLE)
    low, high = gains.amin(dim=(1, 2), keepdim=True), gains.amax(dim=(1, 2), keepdim=True)
    floor = (
        low - (high - low) - 1.0
    )  # so far down that a box with one candidate is served before one with two
    box_iou = slots.box_iou.to(gains.dtype)
    return torch.where(box_iou >= slots.box_threshold, gains, floor + box_iou - 1.0)


def infer(scores: Sequence[Tensor], slots: Sequence[Slots], *, higher_order: bool = True) -> list[Tensor]:
    """Run Algorithm 1 for all problems of several images at once.

    Order of picks: first every slot's best proposal, whatever its score (the higher-order term; as a proposal takes
    one class at most, the slot that would lose most by its second best is served first); then, for image-level
    labels, further proposals whose class beats the background, in order of gain. A pick removes, for its own class,
    the proposals it contains (`Slots.suppress`). Boxes get exactly one proposal each. Ties go to the lower index.
    A slot stays empty only when there are fewer proposals than slots.

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
    picks = _greedy(gains, slots, higher_order)
    results = []
    for chosen, slot in zip(picks, slots, strict=True):
        table = torch.cat([slot.columns.new_zeros(1), slot.columns])
        results.append(table[chosen])
    return results


def _greedy(gains: list[Tensor], slots: Sequence[Slots], higher_order: bool) -> list[Tensor]:
    """Return per image int64 [Q, P]: 0 or 1 + slot."""
    state = _State(gains, slots)
    for _ in range(state.num_slots):
        if not state.pick_required(_IMPOSSIBLE if higher_order else 0.0):
            break
    state.keep(state.optional)
    while state.pick_optional():
        pass
    return state.results()


class _State:
    """All problems of all images, flattened to R rows and padded to the largest P and A."""

    def __init__(self, gains: list[Tensor], slots: Sequence[Slots]) -> None:
        self.shapes = [tuple(gain.shape) for gain in gains]
        device = gains[0].device
        rows = sum(shape[0] for shape in self.shapes)
        self.num_proposals = max(shape[1] for shape in self.shapes)
        self.num_slots = max(shape[2] for shape in self.shapes)
        self.gains = torch.full((rows, self.num_proposals, self.num_slots), _IMPOSSIBLE, device=device)
        self.gains = self.gains.to(torch.promote_types(gains[0].dtype, torch.float32))
        self.suppress = torch.zeros(
            len(gains), self.num_proposals, self.num_proposals, dtype=torch.bool, device=device
        )
        self.image = torch.zeros(rows, dtype=torch.int64, device=device)
        self.optional = torch.zeros(rows, dtype=torch.bool, device=device)
        start = 0
        for index, (gain, slot) in enumerate(zip(gains, slots, strict=True)):
            count, proposals, columns = gain.shape
            self.gains[start : start + count, :proposals, :columns] = gain
            self.suppress[index, :proposals, :proposals] = slot.suppress
            self.image[start : start + count] = index
            self.optional[start : start + count] = slot.box_iou is None
            start += count
        self.open = torch.ones(rows, self.num_slots, dtype=torch.bool, device=device)
        self.labels = torch.zeros(rows, self.num_proposals, dtype=torch.int64, device=device)
        self.active = torch.arange(rows, device=device)

    def pick_required(self, threshold: float) -> bool:
        """Give one still empty slot of every row its best proposal, if above the threshold; largest regret first."""
        if self.gains.numel() == 0:
            return False
        best, proposal = self.gains.max(1)  # [R, A]
        second = self.gains.scatter(1, proposal[:, None], _IMPOSSIBLE).amax(1).clamp(min=_NOTHING_LEFT)
        served = self.open & (best > threshold)
        slot = torch.where(served, best - second, _IMPOSSIBLE).argmax(1)
        rows = torch.nonzero(served.any(1))[:, 0]
        slot = slot[rows]
        self._take(rows, proposal[rows, slot], slot)
        return len(rows) > 0

    def pick_optional(self) -> bool:
        """Take the best remaining (proposal, slot) of every row in which one beats the background."""
        if self.gains.numel() == 0:
            return False
        best, where = self.gains.flatten(1).max(1)
        self.keep(best > 0)
        where = where[best > 0]
        self._take(
            torch.arange(len(where), device=where.device), where // self.num_slots, where % self.num_slots
        )
        return len(where) > 0

    def _take(self, rows: Tensor, proposal: Tensor, slot: Tensor) -> None:
        self.labels[self.active[rows], proposal] = slot + 1
        self.open[rows, slot] = False
        self.gains[rows, proposal] = _IMPOSSIBLE
        contained = self.suppress[self.image[rows], proposal]
        self.gains[rows, :, slot] = self.gains[rows, :, slot].masked_fill(contained, _IMPOSSIBLE)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone (bool [R])."""
        if not bool(rows.all()):
            self.gains, self.open = self.gains[rows], self.open[rows]
            self.image, self.active, self.optional = self.image[rows], self.active[rows], self.optional[rows]

    def results(self) -> list[Tensor]:
        parts, start = [], 0
        for count, proposals, _ in self.shapes:
            parts.append(self.labels[start : start + count, :proposals])
            start += count
        return parts
