"""Sizes of the training objects, and which anchors reach them."""

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.structures.bbox import bbox_overlaps

from tests.method.prediction.synthetic_source import SyntheticSource
from wsis.errors import InputError
from wsis.method.prediction.config import anchors_of
from wsis.method.prediction.object_sizes import REACHED, Anchors, ObjectSizes, object_sizes, reached_share


def _objects(sides: list[tuple[float, float]], weights: list[float] | None = None) -> ObjectSizes:
    width, height = np.array(sides, np.float64).reshape(-1, 2).T
    return ObjectSizes(width, height, np.array(weights or [1.0] * len(width)), 1.0)


def test_sizes_are_those_at_the_networks_scale() -> None:
    """Images of 64 x 96: a rectangle of 28 x 30 in three samples of four, moved in one, 20 x 20 in one."""
    found = object_sizes(SyntheticSource(), (192, 192))
    assert found.width.tolist() == [56, 56, 40] * 6 and found.height.tolist() == [60, 60, 40] * 6
    assert found.weights.tolist() == [0.75, 0.25, 0.25] * 6 and found.most == 1.25
    assert found.median == pytest.approx((56 * 60) ** 0.5)
    assert object_sizes(SyntheticSource(), (192, 64)).width[0] == 28  # the shorter side decides


def test_a_share_counts_objects_as_often_as_samples_have_them() -> None:
    anchors = Anchors((8, 16), (4,), (1.0,))
    assert reached_share(_objects([(32, 32), (9, 9)], [0.25, 0.75]), anchors) == 0.25
    with pytest.raises(InputError, match="at least one object"):
        reached_share(_objects([]), anchors)


@pytest.mark.parametrize("side", [(11.0, 14.0), (20.0, 20.0), (30.0, 66.0), (150.0, 90.0)])
def test_the_overlap_is_mmdetections_at_a_quarter_of_the_stride(side: tuple[float, float]) -> None:
    anchors = Anchors((8, 16, 32), (4, 5.6), (0.5, 1.0, 2.0))
    generator = AnchorGenerator(strides=list(anchors.strides), scales=[4, 5.6], ratios=list(anchors.ratios))
    best = 0.0
    for level, stride in enumerate(anchors.strides):
        centre = stride / 4
        width, height = side
        box = torch.tensor(
            [[centre - width / 2, centre - height / 2, centre + width / 2, centre + height / 2]]
        )
        best = max(best, float(bbox_overlaps(generator.base_anchors[level], box).max()))
    for scale, reached in ((best - 1e-4, 1.0), (best + 1e-4, 0.0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("wsis.method.prediction.object_sizes.REACHED", scale)
            assert reached_share(_objects([side]), anchors) == reached
    assert REACHED == 0.3


def test_anchors_are_read_from_the_config(tiny_plain: Any) -> None:
    assert anchors_of(tiny_plain) == Anchors((8, 16, 32, 64), (3,), (0.5, 1.0, 2.0))
    tiny_plain.model.rpn_head.anchor_generator.type = "YOLOAnchorGenerator"
    with pytest.raises(InputError, match="expected an AnchorGenerator"):
        anchors_of(tiny_plain)
