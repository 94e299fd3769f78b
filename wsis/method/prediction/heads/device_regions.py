"""MMDetection's assignment and sampling of regions, of all sets of an image at once, with two questions to the device.

MaxIoUAssigner asks a device of each instance, RandomSampler of each list of places; both are the same here, with masks
in the place of lists. What is drawn is drawn on the CPU, as MMDetection draws it.

Suffix legend: N instances of a set, U sets, A candidate regions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler
from torch import Tensor

from wsis.method.transfers import moved


def assign(assigner: MaxIoUAssigner, overlaps: Tensor, labels: Tensor) -> AssignResult:
    """`MaxIoUAssigner.assign_wrt_overlaps` of IoUs float [N, A] and labels int64 [N]."""
    instances, candidates = overlaps.shape
    assigned = overlaps.new_full((candidates,), -1 if instances else 0, dtype=torch.long)
    if not instances or not candidates:
        none = torch.full_like(assigned, -1)
        return AssignResult(instances, assigned, overlaps.new_zeros(candidates), none)
    best, which = overlaps.max(0)
    limits = assigner.neg_iou_thr
    low, high = limits if isinstance(limits, tuple) else (0, limits)
    assigned = assigned.masked_fill((best >= low) & (best < high), 0)
    assigned = torch.where(best >= assigner.pos_iou_thr, which + 1, assigned)
    if assigner.match_low_quality:
        last = _low_quality(assigner, overlaps)
        assigned = torch.where(last > 0, last, assigned)
    of_instance = labels[(assigned - 1).clamp(min=0)]
    return AssignResult(instances, assigned, best, torch.where(assigned > 0, of_instance, -1))


def _low_quality(assigner: MaxIoUAssigner, overlaps: Tensor) -> Tensor:
    """The last instance, from 1, whose best candidate each one is: int64 [A], 0 for none."""
    top, at = overlaps.max(1, keepdim=True)
    enough = top >= assigner.min_pos_iou
    if assigner.gt_max_assign_all:
        matched = (overlaps == top) & enough
    else:
        matched = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(1, at, enough)
    number = torch.arange(1, len(overlaps) + 1, device=overlaps.device)
    return (matched * number[:, None]).amax(0)


class Sampled(NamedTuple):
    """A set's sample, on the CPU: places int64 among its added instances and then the candidates, ascending, and the
    instance of the set that each positive is assigned to."""

    positive: Tensor
    negative: Tensor
    assigned: Tensor


def sample(sampler: RandomSampler, results: Sequence[AssignResult]) -> list[Sampled]:
    """`RandomSampler.sample` of each set, all from the present state of torch's generator.

    It then is as after the last one.
    """
    instances = [_with_added(sampler, result) for result in results]
    masks = [(assigned > 0, assigned == 0) for assigned in instances]
    counts = torch.stack([torch.stack([mask.sum() for mask in of_set]) for of_set in masks]).tolist()
    state, drawn = torch.get_rng_state(), []
    for positives, negatives in counts:
        torch.set_rng_state(state)
        positive = _choice(positives, int(sampler.num * sampler.pos_fraction))
        wanted = sampler.num - len(positive)
        if sampler.neg_pos_ub >= 0:
            wanted = min(wanted, int(sampler.neg_pos_ub * max(1, len(positive))))
        drawn.append((positive, _choice(negatives, wanted)))
    found = []
    choices = moved(drawn, instances[0].device)
    for assigned, of_set, count, choice in zip(instances, masks, counts, choices, strict=True):
        chosen = [_first(m, n)[c] for m, n, c in zip(of_set, count, choice, strict=True)]
        found.append((*chosen, assigned[chosen[0]] - 1))
    return [_ascending(*of_set) for of_set in moved(found, "cpu")]


def _with_added(sampler: RandomSampler, result: AssignResult) -> Tensor:
    """What each candidate is assigned to, int64 [A], after the instances themselves where they are candidates too."""
    assigned: Tensor = result.gt_inds
    if not sampler.add_gt_as_proposals or not result.num_gts:
        return assigned
    return torch.cat([torch.arange(1, result.num_gts + 1, device=assigned.device), assigned])


def _choice(count: int, wanted: int) -> Tensor:
    """Which of so many places are taken, int64 [min(count, wanted)]: drawn where there are more than are wanted."""
    return torch.arange(count) if count <= wanted else torch.randperm(count)[:wanted]


def _first(mask: Tensor, count: int) -> Tensor:
    """The places of a mask that is True at `count` ones, ascending."""
    return torch.sort(mask.byte(), descending=True, stable=True).indices[:count]


def _ascending(positive: Tensor, negative: Tensor, assigned: Tensor) -> Sampled:
    positive, order = positive.sort()
    return Sampled(positive, negative.sort().values, assigned[order])
