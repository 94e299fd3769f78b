"""Assignment and sampling for K pseudo-label sets at once: how one step averages the loss over all of them.

Per image, `gt_instances` holds every distinct instance of all sets once, and `set_weights` [N, U] says which
set has it: column u is w_u = multiplicity / K at the members of set u and 0 elsewhere; weight missing from
the sum belongs to empty sets. With one column of ones this is MMDetection's ordinary ground truth.

Each set is assigned and sampled by the configured MMDetection assigner and sampler, from the same random
state. Then every candidate region (a proposal, an anchor, or an added ground-truth box) is given to one set
at random, set u with probability w_u, and stays only in that set's sample. So

- a sampled region of set u stays with probability w_u: the ordinary loss over what stays is an unbiased
  estimate of sum_u w_u * loss(set u), the first term of eq. 21, without a weight on any region;
- the number of regions, and with it the cost of the heads, stays that of one set (the budget is divided);
- equal sets take disjoint parts of the same sample, whose union is that sample: K equal sets give exactly
  MMDetection's loss and gradient on one of them.

Any two-stage head that uses MMDetection's assigner and sampler interfaces works with these unchanged.

Suffix legend: N instances, U unique sets, A candidate regions.
"""

from typing import Any

import torch
from mmdet.models.task_modules.assigners import (
    AssignResult,
    BaseAssigner,
    BboxOverlaps2D,
    MaxIoUAssigner,
)
from mmdet.models.task_modules.samplers import BaseSampler, RandomSampler, SamplingResult
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from wsis.errors import InputError
from wsis.method.prediction.heads import device_regions
from wsis.method.transfers import host_waits, moved


class InstanceSets:
    """The unique sets of one image, read from its `gt_instances`.

    Attributes:
        members: per set, int64 rows of `gt_instances`, on the CPU.
        weights: float64, one a set, sum 1, on the CPU.
    """

    def __init__(self, gt_instances: InstanceData) -> None:
        self.instances = gt_instances
        count = len(gt_instances.bboxes)
        everything = torch.arange(count)
        if "set_weights" not in gt_instances or count == 0:
            self.members, self.weights = [everything], torch.ones(1, dtype=torch.float64)
            return
        table = torch.as_tensor(gt_instances.set_weights).double().cpu()
        columns = table.max(dim=0).values
        used = (columns > 0).nonzero()[:, 0].tolist()
        self.members = [everything[table[:, u] > 0] for u in used]
        weights = columns[used]
        # float32 columns sum to one up to rounding; what is missing beyond that are empty sets
        if (empty := 1.0 - float(weights.sum())) > 1e-4:
            self.members.append(everything[:0])
            weights = torch.cat([weights, torch.tensor([empty], dtype=torch.float64)])
        self.weights = weights / weights.sum()

    def __len__(self) -> int:
        return len(self.members)

    def subset(self, index: int) -> InstanceData:
        """Boxes and labels of one set (masks are not needed to assign and sample)."""
        rows = self.members[index].to(self.instances.bboxes.device)
        return InstanceData(bboxes=self.instances.bboxes[rows], labels=self.instances.labels[rows])


class SetAssignResult:
    """One AssignResult a set, and the sets they belong to."""

    def __init__(self, sets: InstanceSets, found: list[AssignResult] | device_regions.Assigned) -> None:
        self.sets, self.found = sets, found

    def results(self) -> list[AssignResult]:
        return self.found if isinstance(self.found, list) else self.found.results()


@TASK_UTILS.register_module()
class PseudoLabelAssigner(BaseAssigner):
    """Runs `assigner` (a config) on each pseudo-label set of an image.

    Its result goes to :class:`PseudoLabelSampler`; configure both together.
    """

    def __init__(self, assigner: dict[str, Any]) -> None:
        self.inner: BaseAssigner = TASK_UTILS.build(assigner)

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> SetAssignResult:
        """Candidates in `pred_instances.priors` [A, 4] against every set of `gt_instances`."""
        sets = InstanceSets(gt_instances)
        if self._overlaps_are_shared(gt_instances_ignore):
            boxes, labels, priors = gt_instances.bboxes, gt_instances.labels, pred_instances.priors
            if host_waits(priors):
                overlaps = device_regions.box_overlaps(boxes, priors)
                return SetAssignResult(
                    sets, device_regions.assign(self.inner, overlaps, labels, sets.members)
                )
            overlaps = self.inner.iou_calculator(boxes, priors)
            results = [self.inner.assign_wrt_overlaps(overlaps[m], labels[m]) for m in sets.members]
        else:
            results = [
                self.inner.assign(pred_instances, sets.subset(u), gt_instances_ignore, **kwargs)
                for u in range(len(sets))
            ]
        return SetAssignResult(sets, results)

    def _overlaps_are_shared(self, ignored: InstanceData | None) -> bool:
        """MaxIoUAssigner needs the overlaps alone: the IoUs are computed once for all sets."""
        return (
            type(self.inner) is MaxIoUAssigner
            and type(self.inner.iou_calculator) is BboxOverlaps2D
            and self.inner.iou_calculator.dtype is None
            and isinstance(self.inner.neg_iou_thr, float | tuple)
            and self.inner.gpu_assign_thr <= 0
            and self.inner.perm_repeat_gt_cfg is None
            and (ignored is None or len(ignored) == 0)
        )


@TASK_UTILS.register_module()
class PseudoLabelSampler(BaseSampler):
    """Runs `sampler` (a config) on each set and keeps of each set's sample the share w_u (module docstring)."""

    def __init__(self, sampler: dict[str, Any], context: Any = None, **kwargs: Any) -> None:
        self.inner: BaseSampler = TASK_UTILS.build(sampler, default_args=dict(context=context))
        super().__init__(
            self.inner.num,
            self.inner.pos_fraction,
            self.inner.neg_pos_ub,
            self.inner.add_gt_as_proposals,
        )

    def _sample_pos(self, *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError("PseudoLabelSampler samples by its inner sampler")

    def _sample_neg(self, *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError("PseudoLabelSampler samples by its inner sampler")

    def sample(
        self,
        assign_result: SetAssignResult,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        **kwargs: Any,
    ) -> SamplingResult:
        """The regions to train on, with their targets as rows of `gt_instances`.

        Raises:
            InputError: the assigner beside this sampler is not a PseudoLabelAssigner.
        """
        if not isinstance(assign_result, SetAssignResult):
            raise InputError(
                "PseudoLabelSampler: expected a PseudoLabelAssigner beside it in the config, "
                f"got a {type(assign_result).__name__}"
            )
        sets = assign_result.sets
        if isinstance(assign_result.found, device_regions.Assigned) and type(self.inner) is RandomSampler:
            drawn = device_regions.sample(self.inner, assign_result.found)
            return _of_device(
                drawn, self._owners(sets, pred_instances, gt_instances), sets, pred_instances.priors
            )
        state = torch.get_rng_state()
        samples = []
        for index, result in enumerate(assign_result.results()):
            torch.set_rng_state(state)
            samples.append(self.inner.sample(result, pred_instances, sets.subset(index), **kwargs))
        if len(samples) == 1 and len(sets.members[0]) == len(gt_instances.bboxes):
            return samples[0]
        return self._merge(samples, sets, pred_instances, gt_instances)

    def _added(self, gt_instances: InstanceData) -> int:
        """How many instances are candidates themselves."""
        return len(gt_instances.bboxes) if self.inner.add_gt_as_proposals else 0

    def _owners(
        self, sets: InstanceSets, pred_instances: InstanceData, gt_instances: InstanceData
    ) -> "_Owners":
        """The set that each candidate is given to, added instances first."""
        return _Owners(self._added(gt_instances) + len(pred_instances.priors), sets.weights)

    def _merge(
        self,
        samples: list[SamplingResult],
        sets: InstanceSets,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
    ) -> SamplingResult:
        """Give each candidate to one set; unite what stays in the order of `gt_instances` and candidates."""
        device, added = gt_instances.bboxes.device, self._added(gt_instances)
        owner = self._owners(sets, pred_instances, gt_instances)
        members = [m.to(device) for m in sets.members]
        parts = [_Part(sample, members[u], added).owned_by(owner, u) for u, sample in enumerate(samples)]
        factor = _mean_factor(sets, [s.avg_factor for s in samples])
        return _united(parts, gt_instances, factor, samples[0].avg_factor_with_neg)


def _mean_factor(sets: InstanceSets, factors: list[int]) -> float:
    return float(sum(w * factor for w, factor in zip(sets.weights.tolist(), factors, strict=True)))


def _uniform(count: int) -> Tensor:
    """Uniform float64 [count] from torch's random state without advancing it.

    The state then advances as if there were one set: what is drawn later does not depend on their number.
    """
    state = torch.get_rng_state()
    seed = int(torch.randint(2**62, (1,)))
    torch.set_rng_state(state)
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class _Owners:
    """The set u that each of `count` candidates is given to, with probability w_u; looked up for those drawn."""

    def __init__(self, count: int, weights: Tensor) -> None:
        self.count = count
        self._upper = weights.cumsum(0)
        self._upper[-1] = 1.0
        self._uniform = _uniform(count) if len(weights) > 1 else None

    def of(self, places: Tensor) -> Tensor:
        """Of candidates int64 [n], on the CPU: int64 [n]."""
        if self._uniform is None:
            return torch.zeros_like(places)
        return torch.bucketize(self._uniform[places], self._upper, right=True)


class _Part:
    """One set's sample, its indices in the frame of all sets: added instances first, then candidates [A]."""

    def __init__(self, sample: SamplingResult, members: Tensor, added: int) -> None:
        shift = added - (len(members) if added else 0)
        is_gt = sample.pos_is_gt.bool()
        assigned = sample.pos_assigned_gt_inds.long()
        self.assigned = members[assigned] if len(members) else assigned
        self.positive = torch.where(is_gt, self.assigned, sample.pos_inds + shift)
        self.negative = sample.neg_inds + shift
        self.boxes, self.negative_boxes = sample.pos_priors, sample.neg_priors
        self.is_gt, self.labels = sample.pos_is_gt, sample.pos_gt_labels

    def owned_by(self, owner: _Owners, index: int) -> "_Part":
        """Keep the regions whose owner is set `index`."""
        device = self.positive.device
        kept, kept_negative = (
            (owner.of(places.cpu()) == index).to(device) for places in (self.positive, self.negative)
        )
        self.assigned, self.positive, self.boxes = self.assigned[kept], self.positive[kept], self.boxes[kept]
        self.is_gt, self.labels = self.is_gt[kept], self.labels[kept]
        self.negative, self.negative_boxes = self.negative[kept_negative], self.negative_boxes[kept_negative]
        return self


def _of_device(
    samples: list[device_regions.Sampled], owner: _Owners, sets: InstanceSets, priors: Tensor
) -> SamplingResult:
    """The samples of all sets, on the CPU, as one of the device: `_merge`, and the sample itself of a single set."""
    instances = sets.instances
    added = owner.count - len(priors)
    positives, negatives, assigned = [], [], []
    for index, (one, members) in enumerate(zip(samples, sets.members, strict=True)):
        own = len(members) if added else 0
        to = members[one.assigned] if len(members) else one.assigned
        positive = torch.where(one.positive < own, to, one.positive + added - own)
        negative = one.negative + added - own
        kept = owner.of(positive) == index
        positives.append(positive[kept])
        assigned.append(to[kept])
        negatives.append(negative[owner.of(negative) == index])
    parts = (torch.cat(positives), torch.cat(negatives), torch.cat(assigned))
    is_gt = (parts[0] < added).byte()
    united = SamplingResult.__new__(SamplingResult)
    there = moved((*parts, is_gt), priors.device)
    united.pos_inds, united.neg_inds, united.pos_assigned_gt_inds, united.pos_is_gt = there
    candidates = torch.cat([instances.bboxes, priors]) if added else priors
    united.pos_priors, united.neg_priors = candidates[united.pos_inds], candidates[united.neg_inds]
    united.pos_gt_labels = instances.labels[united.pos_assigned_gt_inds]
    united.pos_gt_bboxes = instances.bboxes[united.pos_assigned_gt_inds].view(-1, 4)
    united.num_gts, united.avg_factor_with_neg = len(instances.bboxes), True
    united.num_pos, united.num_neg = (max(len(part), 1) for part in parts[:2])
    factors = [max(len(one.positive), 1) + max(len(one.negative), 1) for one in samples]
    united.avg_factor = factors[0] if len(samples) == 1 else _mean_factor(sets, factors)
    return united


def _united(
    parts: list[_Part], gt_instances: InstanceData, avg_factor: float, avg_factor_with_neg: bool
) -> SamplingResult:
    united = SamplingResult.__new__(SamplingResult)
    assigned = torch.cat([p.assigned for p in parts])
    united.pos_inds = torch.cat([p.positive for p in parts])
    united.neg_inds = torch.cat([p.negative for p in parts])
    united.pos_priors = torch.cat([p.boxes for p in parts])
    united.neg_priors = torch.cat([p.negative_boxes for p in parts])
    united.pos_is_gt = torch.cat([p.is_gt for p in parts])
    united.pos_gt_labels = torch.cat([p.labels for p in parts])
    united.pos_assigned_gt_inds = assigned
    united.pos_gt_bboxes = gt_instances.bboxes[assigned].view(-1, 4)
    united.num_gts = len(gt_instances.bboxes)
    united.num_pos, united.num_neg = max(len(united.pos_inds), 1), max(len(united.neg_inds), 1)
    united.avg_factor, united.avg_factor_with_neg = avg_factor, avg_factor_with_neg
    return united
