"""The prediction network's own diversity, DIV(Pr_p, Pr_p) of eq. 11c and 21.

Pr_p is fully factorised over the regions (eq. 6), so the expectation is exact: the entropy of each region's
class distribution plus the mean binary entropy of its mask; the box is a point, its term is 0. Averaged over
regions as the losses it stands against: class entropy over all sampled regions, mask entropy over the
positive ones.

Suffix legend: R regions, C classes, M mask cells a side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def class_entropy(cls_score: Tensor) -> Tensor:
    """Mean entropy (nats, >= 0) of softmax(cls_score) over R regions; 0 (with a gradient) for none.

    Args:
        cls_score: logits [R, C + 1].
    """
    if not len(cls_score):
        return cls_score.sum()
    log_p = F.log_softmax(cls_score.float(), dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


def mask_entropy(mask_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over regions and cells of the binary entropy (nats, 0..log 2) of each region's own class's mask.

    Args:
        mask_logits: [R, C, M, M], or [R, 1, M, M] of a class-agnostic head.
        labels: int64 [R], 0..C-1.
    """
    if not len(mask_logits):
        return mask_logits.sum()
    channel = labels if mask_logits.shape[1] > 1 else torch.zeros_like(labels)
    x = mask_logits[torch.arange(len(labels), device=labels.device), channel].float()
    # H(sigmoid(x)) = softplus(x) - x * sigmoid(x): finite for every logit
    return (F.softplus(x) - x * torch.sigmoid(x)).mean()
