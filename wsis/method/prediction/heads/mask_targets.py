"""MMDetection's mask head, whose targets are cut where the regions are, from masks of all images in one copy."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import roi_align
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn.modules.utils import _pair

from wsis.method.transfers import moved

_INSIDE = 0.5  # share of a cell from which on it is the mask's, as MMDetection has it


@MODELS.register_module()
class OneCopyMaskHead(FCNMaskHead):
    """FCNMaskHead with the same results: MMDetection makes a copy of the mask for each region, on the host."""

    def get_targets(
        self, sampling_results: Sequence[Any], batch_gt_instances: Sequence[Any], rcnn_train_cfg: Any
    ) -> Tensor:
        """Mask targets float [R, M, M] of the positive regions of all images."""
        device = sampling_results[0].pos_priors.device
        dense = [torch.from_numpy(instances.masks.masks) for instances in batch_gt_instances]
        parts = []
        for regions, masks in zip(sampling_results, moved(dense, device), strict=True):
            shares = cut_masks(
                masks, regions.pos_priors, regions.pos_assigned_gt_inds, _pair(rcnn_train_cfg.mask_size)
            )
            soft = rcnn_train_cfg.get("soft_mask_target", False)
            parts.append(shares if soft else (shares >= _INSIDE).float())
        return torch.cat(parts)


def cut_masks(masks: Tensor, boxes: Tensor, assigned: Tensor, size: tuple[int, int]) -> Tensor:
    """The share of a mask in each cell of a region.

    Args:
        masks: uint8 [N, H, W], 0 or 1.
        boxes: float [R, 4] xyxy in pixels.
        assigned: int64 [R], each region's mask.
        size: cells M, M of a region.

    Returns:
        float [R, M, M] in [0, 1].
    """
    if not len(boxes):
        return boxes.new_zeros((0, *size))
    x, y = boxes[:, 0::2].clamp(0, masks.shape[2]), boxes[:, 1::2].clamp(0, masks.shape[1])
    rois = torch.stack([assigned.to(boxes.dtype), x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
    shares: Tensor = roi_align(masks[:, None].to(boxes.dtype), rois, size, 1.0, 0, "avg", True)
    return shares[:, 0]
