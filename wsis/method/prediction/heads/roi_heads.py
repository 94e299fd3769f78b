"""RoI head of the dissimilarity objective (eq. 21): MMDetection's losses minus weighted self-diversity."""

from typing import Any

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor, cat

from wsis.errors import InputError
from wsis.method.prediction.heads.self_diversity import class_entropy, mask_entropy


@MODELS.register_module()
class DissimilarityRoIHead(StandardRoIHead):
    """StandardRoIHead whose loss rewards its own diversity. Logs each term.

    With :class:`~.label_set_regions.PseudoLabelSampler` in its train_cfg, the ordinary losses are
    the average over the K pseudo-label sets (DIV(Pr_p, Pr_c)); this class adds the second term.

    Args:
        self_diversity: weight of DIV(Pr_p, Pr_p); eq. 21: 1 - gamma; 0: none, PW_p of Table 3.

    Raises:
        InputError: the weight is negative.
    """

    def __init__(self, self_diversity: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self_diversity >= 0.0:
            raise InputError(f"self_diversity: expected >= 0, got {self_diversity}")
        self.self_diversity = self_diversity

    def bbox_loss(self, x: tuple[Tensor], sampling_results: list[SamplingResult]) -> dict[str, Any]:
        """MMDetection's box losses, `self_diversity_class` (nats) and its part of the loss."""
        results = super().bbox_loss(x, sampling_results)
        self._add(results["loss_bbox"], "class", class_entropy(results["cls_score"]))
        return results

    def mask_loss(
        self,
        x: tuple[Tensor],
        sampling_results: list[SamplingResult],
        bbox_feats: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict[str, Any]:
        """MMDetection's mask loss, `self_diversity_mask` (nats) and its part of the loss."""
        results = super().mask_loss(x, sampling_results, bbox_feats, batch_gt_instances)
        labels = cat([sample.pos_gt_labels for sample in sampling_results])
        self._add(results["loss_mask"], "mask", mask_entropy(results["mask_preds"], labels))
        return results

    def _add(self, losses: dict[str, Tensor], part: str, entropy: Tensor) -> None:
        losses[f"self_diversity_{part}"] = entropy.detach()
        if self.self_diversity:
            losses[f"loss_self_diversity_{part}"] = -self.self_diversity * entropy
