"""Peak stimulation (Zhou et al., CVPR 2018, section 3.1): a class's score is the mean of its local maxima.

Suffix legend: B images, C classes, h w class-response-map cells, N peaks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.errors import InputError


def local_maxima(class_response_maps: Tensor, window: int = 3) -> Tensor:
    """Local maxima of each map: bool [B, C, h, w] of float maps [B, C, h, w].

    A cell is a maximum if no cell of the ``window`` x ``window`` around it is larger and no earlier one (row
    by row) is equal: of a plateau the first cell counts, a constant map has one maximum at (0, 0), and every
    map has at least one. Cells beyond the border do not count.

    Raises:
        InputError: not four-dimensional, no cells, or an even window.
    """
    if class_response_maps.ndim != 4 or 0 in class_response_maps.shape[2:]:
        raise InputError(
            f"class_response_maps: expected [B, C, h, w] with cells, got {tuple(class_response_maps.shape)}"
        )
    if window < 1 or window % 2 == 0:
        raise InputError(f"window: expected an odd number of cells, got {window}")
    height, width = class_response_maps.shape[2:]
    # max pooling pads with -inf and returns the first of equal values
    _, first = F.max_pool2d(
        class_response_maps.detach().contiguous(), window, 1, window // 2, return_indices=True
    )
    own = torch.arange(height * width, device=first.device).view(height, width)
    return first == own


def peak_stimulation(class_response_maps: Tensor, window: int = 3) -> Tensor:
    """Class scores [B, C]: the mean of each map's local maxima; the gradient goes to those cells alone."""
    peaks = local_maxima(class_response_maps, window)
    total = (class_response_maps * peaks).sum((2, 3))
    return total / peaks.sum((2, 3))


def classification_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft-margin loss, a scalar.

    Args:
        scores: logits [B, C].
        labels: multi-hot [B, C], index j - 1 for class j.
    """
    if scores.shape != labels.shape:
        raise InputError(f"labels: expected multi-hot {tuple(scores.shape)}, got {tuple(labels.shape)}")
    return F.multilabel_soft_margin_loss(scores, labels.to(scores.dtype))
