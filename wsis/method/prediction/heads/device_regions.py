"""MMDetection's assignment and sampling of regions, of all sets of an image at once, with two questions to the device.

MaxIoUAssigner asks a device of each instance, RandomSampler of each list of places; both are the same here, with masks
in the place of lists. What is drawn is drawn on the CPU, as MMDetection draws it.

Suffix legend: N instances of an image, U sets, M instances of the largest set, A candidate regions, L = A + the
instances that are candidates too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wsis.method.transfers import moved

_SMALLEST_UNION = 1e-6  # as MMDetection has it
_ENTRY_BUDGET = 1 << 25  # overlaps of sets that are looked at together


@dataclass(frozen=True)
class Assigned:
    """AssignResult of each set.

    Attributes:
        labels: int64 [N].
        members: int64 [U, M], the instances of each set, then -1.
        counts: how many they are.
        numbers: int64 [U, A], the instance of the set that a candidate is assigned to, from 1; 0: none, -1: ignored.
        overlaps: float [U, A], the largest with an instance of the set.
    """

    labels: Tensor
    members: Tensor
    counts: list[int]
    numbers: Tensor
    overlaps: Tensor

    def results(self) -> list[AssignResult]:
        """MMDetection's, one a set."""
        found = []
        for members, count, numbers, best in zip(
            self.members, self.counts, self.numbers, self.overlaps, strict=True
        ):
            labels = torch.full_like(numbers, -1)
            if count:
                of_instance = self.labels[members[(numbers - 1).clamp(min=0)]]
                labels = torch.where(numbers > 0, of_instance, labels)
            found.append(AssignResult(count, numbers, best, labels))
        return found


def box_overlaps(boxes: Tensor, candidates: Tensor) -> Tensor:
    """The IoU of BboxOverlaps2D, float [N, A], of boxes [N, 4] and [A, 4] (x1, y1, x2, y2), in a third of the
    operations."""
    (low, high), (other_low, other_high) = boxes.split(2, 1), candidates.split(2, 1)
    area, other_area = (high - low).prod(1), (other_high - other_low).prod(1)
    width, height = (
        (torch.minimum(high[:, None], other_high) - torch.maximum(low[:, None], other_low))
        .clamp_(min=0)
        .unbind(2)
    )
    common = width * height
    return common / (area[:, None] + other_area - common).clamp_(min=_SMALLEST_UNION)


def assign(assigner: MaxIoUAssigner, overlaps: Tensor, labels: Tensor, members: Sequence[Tensor]) -> Assigned:
    """`MaxIoUAssigner.assign_wrt_overlaps` of each set.

    Args:
        overlaps: float [N, A], IoUs.
        labels: int64 [N].
        members: per set int64 rows of the instances, on the CPU.
    """
    counts, candidates = [len(rows) for rows in members], overlaps.shape[1]
    padded = pad_sequence(list(members), batch_first=True, padding_value=-1)
    rows = moved(padded, overlaps.device)
    if not overlaps.numel() or not rows.numel():
        numbers = rows.new_zeros(len(rows), candidates)
        return Assigned(labels, rows, counts, numbers, overlaps.new_zeros(numbers.shape))
    favourites = _favourites(assigner, overlaps) if assigner.match_low_quality else None
    together = max(1, _ENTRY_BUDGET // (padded.shape[1] * candidates))
    parts = [_assigned(assigner, overlaps, favourites, part) for part in rows.split(together)]
    numbers, best = (torch.cat(of_parts) for of_parts in zip(*parts, strict=True))
    return Assigned(labels, rows, counts, numbers, best)


def _assigned(
    assigner: MaxIoUAssigner, overlaps: Tensor, favourites: Tensor | None, members: Tensor
) -> tuple[Tensor, Tensor]:
    """`numbers` and `overlaps` of some sets."""
    absent = (members < 0)[..., None]
    best, which = overlaps[members].masked_fill_(absent, -1).max(1)
    limits = assigner.neg_iou_thr
    low, high = limits if isinstance(limits, tuple) else (0, limits)
    numbers = torch.full_like(which, -1).masked_fill_((best >= low) & (best < high), 0)
    numbers = torch.where(best >= assigner.pos_iou_thr, which + 1, numbers)
    if favourites is not None:
        number = torch.arange(1, members.shape[1] + 1, dtype=torch.int32, device=members.device)
        last = torch.where(favourites[members] & ~absent, number[:, None], 0).amax(1)
        numbers = torch.where(last > 0, last, numbers)
    empty = absent.all(1)
    return numbers.masked_fill_(empty, 0), best.masked_fill_(empty, 0)


def _favourites(assigner: MaxIoUAssigner, overlaps: Tensor) -> Tensor:
    """Whether a candidate is the best of an instance, and good enough for one that has no better: bool [N, A]."""
    top, at = overlaps.max(1, keepdim=True)
    enough = top >= assigner.min_pos_iou
    if assigner.gt_max_assign_all:
        return (overlaps == top) & enough
    return torch.zeros_like(overlaps, dtype=torch.bool).scatter_(1, at, enough)


class Sampled(NamedTuple):
    """A set's sample, on the CPU: places int64 among its added instances and then the candidates, ascending, and the
    instance of the set that each positive is assigned to."""

    positive: Tensor
    negative: Tensor
    assigned: Tensor


def sample(sampler: RandomSampler, assigned: Assigned) -> list[Sampled]:
    """`RandomSampler.sample` of each set, all from the present state of torch's generator.

    It then is as after the last one.
    """
    numbers = _with_added(sampler, assigned)
    added = numbers.shape[1] - assigned.numbers.shape[1]
    # how many positives, and negatives, there are up to each place: int32 [U, 2, L]
    ranks = torch.stack([numbers > 0, numbers == 0], 1).cumsum(2, dtype=torch.int32)
    state, drawn = torch.get_rng_state(), []
    for positives, negatives in ranks[..., -1:].sum(2).tolist():
        torch.set_rng_state(state)
        positive = _choice(positives, int(sampler.num * sampler.pos_fraction))
        wanted = sampler.num - len(positive)
        if sampler.neg_pos_ub >= 0:
            wanted = min(wanted, int(sampler.neg_pos_ub * max(1, len(positive))))
        drawn += [positive, _choice(negatives, wanted)]
    wanted_ranks = moved(pad_sequence(drawn, batch_first=True).int() + 1, ranks.device)
    places = torch.searchsorted(ranks, wanted_ranks.view(len(ranks), 2, -1)).clamp_(max=ranks.shape[2] - 1)
    places, owners = moved((places, numbers.gather(1, places[:, 0]) - 1), "cpu")
    found = []
    for index, count in enumerate(assigned.counts):
        positive, negative = (
            row[: len(choice)] for row, choice in zip(places[index], drawn[2 * index :], strict=False)
        )
        unused = added - count if added else 0
        found.append(_ascending(positive, negative, owners[index, : len(positive)], count, unused))
    return found


def _with_added(sampler: RandomSampler, assigned: Assigned) -> Tensor:
    """What each candidate is assigned to, after the instances themselves where they are candidates too: int64
    [U, L]; -1 in the place of instances that smaller sets lack."""
    if not sampler.add_gt_as_proposals:
        return assigned.numbers
    number = torch.arange(1, assigned.members.shape[1] + 1, device=assigned.members.device)
    return torch.cat([torch.where(assigned.members < 0, -1, number), assigned.numbers], 1)


def _choice(count: int, wanted: int) -> Tensor:
    """Which of so many places are taken, int64 [min(count, wanted)]: drawn where there are more than are wanted."""
    return torch.arange(count) if count <= wanted else torch.randperm(count)[:wanted]


def _ascending(positive: Tensor, negative: Tensor, assigned: Tensor, own: int, unused: int) -> Sampled:
    """A sample whose places leave out the unused ones after the set's own instances."""
    positive, order = positive.sort()
    positive, negative = (p - unused * (p >= own) for p in (positive, negative.sort().values))
    return Sampled(positive, negative, assigned[order])
