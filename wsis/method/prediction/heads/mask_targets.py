"""MMDetection's mask head, whose targets are cut on the CPU from regions of all images that come in one copy."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.structures.mask import mask_target
from torch import Tensor

from wsis.method.transfers import moved


@MODELS.register_module()
class OneCopyMaskHead(FCNMaskHead):
    """FCNMaskHead with the same results."""

    def get_targets(
        self, sampling_results: Sequence[Any], batch_gt_instances: Sequence[Any], rcnn_train_cfg: Any
    ) -> Tensor:
        """Mask targets float [R, M, M] of the positive regions of all images."""
        device = sampling_results[0].pos_priors.device
        regions = [(s.pos_priors, s.pos_assigned_gt_inds) for s in sampling_results]
        boxes, assigned = zip(*moved(regions, "cpu"), strict=True)
        masks = [instances.masks for instances in batch_gt_instances]
        return moved(mask_target(boxes, assigned, masks, rcnn_train_cfg), device)
