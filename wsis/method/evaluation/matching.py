"""Which detections of one class in one image are right: the two protocols of the literature.

`voc`: each detection, best score first, looks at the ground-truth instance with the highest IoU, whether
taken already or not; it is right if that IoU is >= t and the instance is free, else wrong (PASCAL VOC
devkit, `VOCevaldet`; ChainerCV `eval_instance_segmentation_voc`).
`sds`: each detection looks at the instances still free; it is right if the best IoU is > t (Hariharan et al.,
"Simultaneous Detection and Segmentation", ECCV 2014). COCO does the same with >=.

They differ where a detection prefers an instance that a better-scored one has taken: `voc` calls it a
duplicate, `sds` lets it have its second choice.

Suffixes: D detections, G ground-truth instances, T thresholds.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError

Matching = Literal["voc", "sds"]
RIGHT, WRONG, IGNORED = 1, 0, -1


def match(
    iou: NDArray[np.floating],
    thresholds: NDArray[np.floating],
    matching: Matching = "voc",
    crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.int8]:
    """Decide every detection of one class in one image.

    Args:
        iou: [D, G], rows in descending order of score. For a crowd column: intersection over the
            detection's own area. The first of several equal best instances is taken.
        thresholds: [T].
        crowd: bool [G] or None.

    Returns:
        int8 [D, T]: RIGHT, WRONG, or IGNORED (not right, and inside a crowd region).
    """
    if matching not in get_args(Matching):
        raise InputError(f"matching: expected one of {get_args(Matching)}, got {matching!r}")
    crowd = np.zeros(iou.shape[1], dtype=bool) if crowd is None else crowd
    reached = np.greater_equal if matching == "voc" else np.greater
    decisions = np.full((len(iou), len(thresholds)), WRONG, dtype=np.int8)
    if crowd.any():
        decisions[reached(iou[:, crowd].max(axis=1)[:, None], thresholds[None])] = IGNORED
    regular = iou[:, ~crowd]
    if regular.shape[1] == 0:
        return decisions
    taken = np.zeros((len(thresholds), regular.shape[1]), dtype=bool)
    every = np.arange(len(thresholds))
    for detection, row in enumerate(regular):
        seen = np.tile(row, (len(thresholds), 1))
        if matching == "sds":
            seen[taken] = -1.0
        best = seen.argmax(axis=1)
        right = reached(seen[every, best], thresholds) & ~taken[every, best]
        decisions[detection, right] = RIGHT
        taken[every[right], best[right]] = True
    return decisions
