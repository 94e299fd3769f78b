"""What RoI heads say of regions, one way for those with one stage and for cascades."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from torch import Tensor, nn

from wsis.errors import InputError


class RegionOutputs(NamedTuple):
    """Per image, what the last box head turns into boxes and class probabilities.

    Attributes:
        bbox_head: that head.
        rois: [R, 5], refined by the stages before.
        scores: class logits [R, C + 1], of a cascade the mean over its stages.
        deltas: box predictions.
    """

    bbox_head: Any
    rois: Sequence[Tensor]
    scores: Sequence[Tensor]
    deltas: Sequence[Tensor]


def require_known_head(head: nn.Module) -> None:
    """InputError unless the RoI head is one that detections can be taken from."""
    # Other cascades (HTC, SCNet, QueryInst) pass more from stage to stage.
    if not isinstance(head, StandardRoIHead) and type(head) is not CascadeRoIHead:
        raise InputError(
            "roi_head: expected a StandardRoIHead (Mask R-CNN, Mask Scoring R-CNN) or a CascadeRoIHead "
            f"(Cascade Mask R-CNN), got {type(head).__name__}"
        )


def region_outputs(
    head: Any, features: Any, rois: Tensor, counts: list[int], metas: list[dict[str, Any]]
) -> RegionOutputs:
    """Boxes and classes of rois [R, 5], `counts` of each image."""
    if isinstance(head, CascadeRoIHead):
        # It gives its regions already by image, whatever its docstring says.
        refined, scores, deltas = head._refine_roi(features, rois, metas, counts)
        return RegionOutputs(head.bbox_head[-1], refined, scores, deltas)
    scored = head._bbox_forward(features, rois)
    scores, deltas = scored["cls_score"].split(counts), scored["bbox_pred"].split(counts)
    return RegionOutputs(head.bbox_head, rois.split(counts), scores, deltas)


def soft_masks(head: Any, features: Any, rois: Tensor, labels: Tensor) -> Tensor:
    """Mask probabilities [R, M, M] of rois [R, 5] for their labels int64 [R], of a cascade the mean over its stages."""
    if isinstance(head, CascadeRoIHead):
        stages = [head._mask_forward(s, features, rois)["mask_preds"] for s in range(head.num_stages)]
    else:
        stages = [head._mask_forward(features, rois)["mask_preds"]]
    channel = labels if stages[0].shape[1] > 1 else torch.zeros_like(labels)
    rows = torch.arange(len(labels), device=labels.device)
    return torch.stack([logits[rows, channel].sigmoid() for logits in stages]).mean(0)
