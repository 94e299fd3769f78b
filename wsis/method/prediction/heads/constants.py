"""MMDetection's box coder and anchors with their constants on the device: MMDetection copies them there each time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from wsis.method.transfers import host_waits, moved


@TASK_UTILS.register_module()
class ResidentBoxCoder(DeltaXYWHBBoxCoder):
    """DeltaXYWHBBoxCoder with the same results."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._constants = torch.tensor(self.means)[None], torch.tensor(self.stds)[None]

    def encode(self, bboxes: Any, gt_bboxes: Any) -> Tensor:
        """As MMDetection: deltas [N, 4] from boxes to ground truth, both float [N, 4]."""
        own, target = get_box_tensor(bboxes), get_box_tensor(gt_bboxes)
        if not host_waits(own):
            deltas: Tensor = super().encode(bboxes, gt_bboxes)
            return deltas
        (low, high), (target_low, target_high) = own.float().split(2, 1), target.float().split(2, 1)
        size, target_size = high - low, target_high - target_low
        centre, target_centre = (low + high) * 0.5, (target_low + target_high) * 0.5
        deltas = torch.cat([(target_centre - centre) / size, torch.log(target_size / size)], 1)
        means, stds = self._on(deltas)
        return deltas.sub_(means).div_(stds)

    def decode(
        self,
        bboxes: Any,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Any:
        """As MMDetection: boxes [N, n * 4] from boxes [N, 4] and deltas [N, n * 4], inside of (H, W, ...)."""
        if not host_waits(pred_bboxes) or pred_bboxes.ndim != 2 or self.add_ctr_clamp or self.use_box_type:
            return super().decode(bboxes, pred_bboxes, max_shape, wh_ratio_clip)
        count = len(pred_bboxes)
        if not count:
            return pred_bboxes
        own = get_box_tensor(bboxes).repeat(1, pred_bboxes.shape[1] // 4).reshape(-1, 4)
        means, stds = self._on(pred_bboxes)
        deltas = pred_bboxes.reshape(-1, 4) * stds + means
        most = np.abs(np.log(wh_ratio_clip))
        (low, high), (shift, growth) = own.split(2, 1), deltas.split(2, 1)
        size, centre = high - low, (low + high) * 0.5
        centre = centre + size * shift
        size = size * growth.clamp(min=-most, max=most).exp()
        boxes = torch.cat([centre - size * 0.5, centre + size * 0.5], dim=-1)
        if self.clip_border and max_shape is not None:
            boxes[..., 0::2].clamp_(min=0, max=max_shape[1])
            boxes[..., 1::2].clamp_(min=0, max=max_shape[0])
        return boxes.reshape(count, -1)

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):  # what is made in inference mode can never be learned with
            self._constants = moved(self._constants, like.device)
        means, stds = self._constants
        return means.to(like.dtype), stds.to(like.dtype)


@TASK_UTILS.register_module()
class ResidentAnchorGenerator(AnchorGenerator):
    """AnchorGenerator with the same results."""

    base_anchors: list[Tensor]

    def grid_priors(
        self,
        featmap_sizes: Sequence[tuple[int, int]],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cuda",
    ) -> list[Tensor]:
        """As MMDetection."""
        self.base_anchors = moved(self.base_anchors, device)
        priors: list[Tensor] = super().grid_priors(featmap_sizes, dtype, device)
        return priors
