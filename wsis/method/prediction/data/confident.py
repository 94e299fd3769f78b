"""Which pseudo labels may stand for a whole object: those that the K samples agree on and that lie inside the image.

Agreement alone says little where labels join things: they agree on these as well. Labels that reach two borders of the
image are mostly such, or ground, or objects of which a part is seen.

Suffix legend: N distinct instances of all samples, U unique samples, S superpixels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsis.method.prediction.data.training_images import (
    ImageInstances,
    PseudoLabelSource,
    SuperpixelMasks,
    boxes_of,
)

AGREED = 0.75  # least agreement of an instance that may be pasted elsewhere
_SAME = 0.3  # IoU from which two instances of an image are one object


class Donor(NamedTuple):
    """One instance that may be pasted: its image, its row in that image's instances, its class 1..C."""

    image: int
    row: int
    label: int


def donors_of(source: PseudoLabelSource) -> list[Donor]:
    """The instances of all images that the samples agree on, each object once."""
    found = []
    for image in range(len(source)):
        instances = source.instances(image)
        found += [Donor(image, row, int(instances.labels[row])) for row in agreed_rows(instances)]
    return found


def agreed_rows(instances: ImageInstances) -> list[int]:
    """Rows with an agreement of `AGREED` that reach one border at most, the best first, none of them over another."""
    overlaps = mask_overlaps(instances.masks)
    worth = np.where(_borders(instances) <= 1, agreement(overlaps, instances), 0.0)
    rows: list[int] = []
    for row in np.argsort(-worth, kind="stable").tolist():
        if worth[row] >= AGREED and not (overlaps[row, rows] >= _SAME).any():
            rows.append(row)
    return rows


def agreement(overlaps: NDArray[np.float64], instances: ImageInstances) -> NDArray[np.float64]:
    """The IoU that a sample's best instance of the same class is expected to have with each instance, [N] in 0..1.

    Args:
        overlaps: IoU of every pair of masks [N, N].
    """
    labels, weights = instances.labels, instances.set_weights
    alike = np.where(labels[:, None] == labels[None], overlaps, 0.0)
    expected = np.zeros(len(labels))
    for column in weights.T.astype(np.float64):
        if (members := column > 0).any():
            expected += column.max() * alike[:, members].max(axis=1)
    return expected


def _borders(instances: ImageInstances) -> NDArray[np.int64]:
    """How many of the image's four borders each instance reaches, [N]."""
    _, height, width = instances.masks.shape
    boxes = boxes_of(instances.masks)
    reached = np.concatenate([boxes[:, :2] < 1, boxes[:, 2:] > np.array([width, height]) - 1], axis=1)
    return np.asarray(reached.sum(axis=1))


def mask_overlaps(masks: NDArray[np.bool_] | SuperpixelMasks) -> NDArray[np.float64]:
    """IoU of every pair of N masks, float64 [N, N]; of sets of superpixels on their own grid."""
    if isinstance(masks, SuperpixelMasks):
        sizes = np.bincount(masks.superpixels.ravel(), minlength=masks.membership.shape[1])
        members = masks.membership.astype(np.float64)
        common = (members * sizes) @ members.T
    else:
        flat = masks.reshape(len(masks), -1).astype(np.float32)
        common = (flat @ flat.T).astype(np.float64)
    area = common.diagonal()
    union = area[:, None] + area[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
