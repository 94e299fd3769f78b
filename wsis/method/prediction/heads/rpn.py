"""MMDetection's region proposal network with the same results, that seldom asks a device for targets and proposals."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import batched_nms, nms
from mmdet.models.dense_heads import RPNHead
from mmdet.models.losses import CrossEntropyLoss, L1Loss
from mmdet.models.losses.smooth_l1_loss import l1_loss
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_wh
from mmengine.structures import InstanceData
from torch import Tensor

from wsis.method.transfers import host_waits, moved

_TOGETHER = 10_000  # boxes from which mmcv suppresses group by group


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, config: Any) -> tuple[Tensor, Tensor]:
    """`mmcv.ops.batched_nms`: boxes with scores float [n, 5] and indices int64 [n] of what is kept, best first.

    Args:
        boxes: float [N, 4].
        groups: int64 [N]; boxes of two groups do not suppress one another.
        config: type, iou_threshold and the like.
    """
    plain = set(config) == {"type", "iou_threshold"} and config["type"] == "nms"
    if not host_waits(boxes) or not plain or len(boxes) >= config.get("split_thr", _TOGETHER):
        dets, kept = batched_nms(boxes, scores, groups, config)
        return dets, kept
    apart = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
    _, kept = nms(apart, scores, config["iou_threshold"])
    return torch.cat([boxes[kept], scores[kept, None]], -1), kept


@MODELS.register_module()
class SeldomAskingRPNHead(RPNHead):
    """RPNHead. Anchors inside the image are found on the CPU; nothing is taken out and put back by masks."""

    def get_anchors(
        self,
        featmap_sizes: Sequence[tuple[int, int]],
        batch_img_metas: Sequence[dict[str, Any]],
        device: torch.device | str = "cuda",
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Anchors of each image and level on the device, and which lie inside of the images, bool on the CPU."""
        anchors = self.prior_generator.grid_priors(featmap_sizes, device=device)
        flags = [
            self.prior_generator.valid_flags(featmap_sizes, meta["pad_shape"], "cpu")
            for meta in batch_img_metas
        ]
        return [anchors for _ in batch_img_metas], flags

    def _get_targets_single(
        self,
        flat_anchors: Tensor,
        valid_flags: Tensor,
        gt_instances: InstanceData,
        img_meta: dict[str, Any],
        gt_instances_ignore: InstanceData | None = None,
        unmap_outputs: bool = True,
    ) -> tuple[Any, ...]:
        """Targets of one image for all anchors; on the CPU as MMDetection."""
        if not host_waits(flat_anchors) or not unmap_outputs or self.reg_decoded_bbox:
            flags = valid_flags.to(flat_anchors.device)
            found: tuple[Any, ...] = super()._get_targets_single(
                flat_anchors, flags, gt_instances, img_meta, gt_instances_ignore, unmap_outputs
            )
            return found
        border = self.train_cfg["allowed_border"]
        on_cpu = flat_anchors.cpu() if border >= 0 else flat_anchors
        inside = anchor_inside_flags(on_cpu, valid_flags, img_meta["img_shape"][:2], border)
        (rows,) = torch.nonzero(inside, as_tuple=True)
        if not len(rows):
            raise ValueError("There is no valid anchor inside the image boundary.")
        rows = moved(rows, flat_anchors.device)
        candidates = InstanceData(priors=flat_anchors if bool(inside.all()) else flat_anchors[rows])
        assigned = self.assigner.assign(candidates, gt_instances, gt_instances_ignore)
        sample = self.sampler.sample(assigned, candidates, gt_instances)
        return *self._targets(flat_anchors, rows, sample), sample.pos_inds, sample.neg_inds, sample

    def _targets(self, anchors: Tensor, rows: Tensor, sample: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels, their weights, box targets and their weights of all anchors [A, 4], from a sample of some rows."""
        count = len(anchors)
        labels = anchors.new_full((count,), self.num_classes, dtype=torch.long)
        label_weights = anchors.new_zeros(count, dtype=torch.float)
        targets, weights = anchors.new_zeros(2, count, self.bbox_coder.encode_size).unbind()
        positive, negative = rows[sample.pos_inds], rows[sample.neg_inds]
        if len(positive):
            targets[positive] = self.bbox_coder.encode(sample.pos_priors, sample.pos_gt_bboxes)
            weights.index_fill_(0, positive, 1.0)
            labels[positive] = sample.pos_gt_labels
            given = self.train_cfg["pos_weight"]
            label_weights.index_fill_(0, positive, given if given > 0 else 1.0)
        label_weights.index_fill_(0, negative, 1.0)
        return labels, label_weights, targets, weights

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Any,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict[str, Any] | None = None,
    ) -> InstanceData:
        """Proposals of one image, best first; on the CPU as MMDetection."""
        if rescale or not host_waits(results.bboxes):
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        if cfg.get("min_bbox_size", -1) >= 0:
            width, height = get_box_wh(results.bboxes)
            (large,) = torch.nonzero(
                (width > cfg.min_bbox_size) & (height > cfg.min_bbox_size), as_tuple=True
            )
            results = results[large]  # by places: a mask would be waited for once for each field
        found = InstanceData()
        kept = results.level_ids[:0]
        if len(results.bboxes):
            _, kept = grouped_nms(results.bboxes, results.scores, results.level_ids, cfg.nms)
            kept = kept[: cfg.max_per_img]
        found.bboxes, found.scores = results.bboxes[kept], results.scores[kept]
        found.labels = found.scores.new_zeros(len(found.scores), dtype=torch.long)
        return found


@MODELS.register_module()
class UnaskedL1Loss(L1Loss):
    """L1Loss, which asks a device whether any weight is above 0; where none is, the sum is 0 all the same."""

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """As MMDetection."""
        if weight is None or not host_waits(weight):
            loss: Tensor = super().forward(pred, target, weight, avg_factor, reduction_override)
            return loss
        reduction = reduction_override or self.reduction
        return self.loss_weight * l1_loss(pred, target, weight, reduction=reduction, avg_factor=avg_factor)


@MODELS.register_module()
class UnaskedCrossEntropyLoss(CrossEntropyLoss):
    """CrossEntropyLoss, whose labels of one class become targets without a list of their places."""

    def forward(
        self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """As MMDetection."""
        one = self.use_sigmoid and cls_score.ndim == 2 and cls_score.shape[1] == 1 and label.ndim == 1
        if one and host_waits(label) and self.ignore_index is None:
            # -100 and the like are ignored by their sign; 0 is the class, 1 the background
            label = torch.where(label < 0, label, (label == 0).long())[:, None]
            weight = None if weight is None else weight[:, None]
        loss: Tensor = super().forward(cls_score, label, weight, *args, **kwargs)
        return loss
