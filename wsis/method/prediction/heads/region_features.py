"""Features of regions out of the levels of a feature pyramid: regions in float32, and no waiting for a device."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor

from wsis.method.transfers import host_waits


@MODELS.register_module()
class LevelRoIExtractor(SingleRoIExtractor):
    """MMDetection's SingleRoIExtractor with the same result in float32.

    MMDetection gives regions the features' type. bfloat16 has 8 bits: corners of regions move by two thirds of a pixel
    on average at 1067 x 800, and by 4 at most. Here regions and what is pooled are float32, the result is of the
    features' type.

    On a device every level pools all regions, those of other levels as a single pixel: how many a level has is not
    asked, for which the host would wait.
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pooled features [R, C, h, w] of rois float [R, 5]."""
        exact, rois = [level.float() for level in feats], rois.float()
        if host_waits(rois) and len(exact) > 1:
            pooled = self._pooled(exact, rois, roi_scale_factor)
        else:
            pooled = super().forward(exact, rois, roi_scale_factor)
        return pooled.to(feats[0].dtype)

    def _pooled(self, feats: Sequence[Tensor], rois: Tensor, scale: float | None) -> Tensor:
        levels = self.map_roi_levels(rois, len(feats))
        rois = rois if scale is None else self.roi_rescale(rois, scale)
        pooled = rois.new_zeros(len(rois), self.out_channels, *self.roi_layers[0].output_size)
        for index, (layer, features) in enumerate(zip(self.roi_layers, feats, strict=False)):
            own = (levels == index)[:, None]
            shown = rois * own
            shown[:, 3:] += ~own
            pooled = torch.where(own[..., None, None], layer(features, shown), pooled)
        return pooled
