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
from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.conditional.box_choice import BoxCandidates, JointChoice, choose_jointly
from wsis.method.conditional.exclusion import SeedSlots, joint_labels
from wsis.method.conditional.greedy import greedy_picks
from wsis.method.finite import FiniteChecks
from wsis.method.transfers import places

BOX_THRESHOLD = 0.8  # departure D6
_IMPOSSIBLE = float("-inf")
_MOST_PAIRS = 30  # of boxes that share pixels, up to which they also move two at a time


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


def infer(
    scores: Sequence[Tensor],
    slots: Sequence[Slots],
    *,
    higher_order: bool = True,
    checks: FiniteChecks | None = None,
) -> list[Tensor]:
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
        checks: of what the scores came from, done together with that of the scores themselves.

    Returns:
        Per image int64 [Q, P], the score column of every proposal (0 = background).

    Raises:
        NonFiniteError: a score is NaN or infinite.
        InputError: shapes disagree.
    """
    checks = FiniteChecks() if checks is None else checks
    for index, (score, slot) in enumerate(zip(scores, slots, strict=True)):
        if score.ndim != 3 or score.shape[1] != len(slot.suppress):
            raise InputError(
                f"scores[{index}]: expected [Q, {len(slot.suppress)}, J], got {tuple(score.shape)}"
            )
        checks.add(score, f"scores[{index}]: NaN or infinite proposal score")
    checks.check()
    gains = [slot_gains(s, slot, last_resort=higher_order) for s, slot in zip(scores, slots, strict=True)]
    marked = [i for i, slot in enumerate(slots) if slot.seeds is not None]
    plain = [i for i, slot in enumerate(slots) if slot.seeds is None]
    of_marks = joint_labels(
        [scores[i] for i in marked],
        [gains[i] for i in marked],
        [slots[i].columns for i in marked],
        [seeds for slot in slots if (seeds := slot.seeds) is not None],
        higher_order,
    )
    picks = greedy_picks(
        [gains[i] for i in plain],
        [slots[i].suppress for i in plain],
        [slots[i].box_iou is None for i in plain],
        higher_order,
    )
    if higher_order:
        _share_out(picks, [gains[i] for i in plain], [slots[i].candidates for i in plain])
    columns = (torch.cat([slots[i].columns.new_zeros(1), slots[i].columns]) for i in plain)
    of_slots = [table[pick] for table, pick in zip(columns, picks, strict=True)]
    results = dict(zip([*marked, *plain], [*of_marks, *of_slots], strict=True))
    return [results[i] for i in range(len(slots))]


def _share_out(
    picks: Sequence[Tensor], gains: Sequence[Tensor], candidates: Sequence[BoxCandidates | None]
) -> None:
    """Let the boxes of each image that has candidates move jointly from their greedy picks (int64 [Q, P], 0 or
    1 + slot), in place."""
    choices: list[JointChoice] = []
    filled: list[tuple[Tensor, Tensor, Tensor]] = []
    for chosen, gain, of_image in zip(picks, gains, candidates, strict=True):
        if of_image is None or not gain.numel():
            continue
        held = (
            chosen[:, None] == torch.arange(1, gain.shape[1] + 1, device=chosen.device)[:, None]
        )  # [Q, A, P]
        all_held = held.any(2).all(1)  # where proposals are fewer than boxes nothing can move
        (rows,) = places(all_held)
        start = held[rows].byte().argmax(2)
        choices.append(JointChoice(gain[rows], start, of_image, most_pairs=_MOST_PAIRS))
        filled.append((chosen, rows, all_held[rows, None]))
    choose_jointly(choices)
    for choice, (chosen, rows, all_held) in zip(choices, filled, strict=True):
        slots = torch.arange(1, choice.picks.shape[1] + 1, device=chosen.device)
        moved = torch.zeros_like(chosen[rows]).scatter_(1, choice.picks, slots.expand_as(choice.picks))
        chosen[rows] = torch.where(all_held, moved, chosen[rows])
