"""A detector small enough for tests, and a source of synthetic images with pseudo labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from numpy.typing import NDArray

from wsis.method.prediction.config import PredictionSpec, plain_config, training_config
from wsis.method.prediction.data.training_images import ImageInstances

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "mmdet"
CLASSES = ("square", "disc", "bar")

_TINY = f"""
_base_ = ["{CONFIGS / "mask_rcnn_lite0_fpn.py"}"]
model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=18, base_channels=8, out_indices=(1, 2, 3),
                  norm_eval=True, style="pytorch"),
    neck=dict(in_channels=[16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(scales=[3])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16),
    ),
)
"""


class SyntheticSource:
    """Noise with coloured rectangles; the sets of an image are given by `make(index) -> ImageInstances`."""

    def __init__(
        self,
        make: Callable[[int], ImageInstances] | None = None,
        count: int = 6,
        classes: tuple[str, ...] = CLASSES,
    ) -> None:
        self.classes, self.count = classes, count
        self._make = make or rectangles

    def __len__(self) -> int:
        return self.count

    def image_id(self, index: int) -> str:
        return f"image-{index}"

    def image_size(self, index: int) -> tuple[int, int]:
        return (64, 96) if index % 3 else (96, 64)

    def image(self, index: int) -> NDArray[np.uint8]:
        size = self.image_size(index)
        image = np.random.default_rng(index).integers(0, 80, (*size, 3), dtype=np.uint8)
        image[rectangle(index, size)] += np.array([120, 60, 0], np.uint8)
        return image

    def instances(self, index: int) -> ImageInstances:
        return self._make(index)


def rectangle(index: int, size: tuple[int, int], shift: int = 0) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    top, left = 6 + 3 * (index % 4) + shift, 4 + 5 * (index % 5) + shift
    mask[top : top + 30, left : left + 28] = True
    return mask


def rectangles(index: int) -> ImageInstances:
    """Two unique sets out of K = 4: (3x) a rectangle; (1x) it moved, and a second object."""
    size = (64, 96) if index % 3 else (96, 64)
    corner = np.zeros(size, bool)
    corner[40:60, 40:60] = True
    masks = np.stack([rectangle(index, size), rectangle(index, size, 5), corner])
    weights = np.array([[0.75, 0], [0, 0.25], [0, 0.25]], np.float32)
    return ImageInstances(masks, np.array([1 + index % 3, 1 + index % 3, 2]), weights)


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """File of a MMDetection config on top of configs/mmdet, with a small ResNet."""
    path = tmp_path / "tiny_mask_rcnn.py"
    path.write_text(_TINY)
    return path


@pytest.fixture
def tiny_spec() -> PredictionSpec:
    return PredictionSpec(CLASSES, (96, 96), self_diversity=0.5)


@pytest.fixture
def tiny_plain(tiny_config: Path, tiny_spec: PredictionSpec) -> Config:
    return plain_config(tiny_config, tiny_spec)


@pytest.fixture
def tiny_training(tiny_plain: Config, tiny_spec: PredictionSpec) -> Config:
    return training_config(tiny_plain, tiny_spec)


@pytest.fixture
def synthetic_source() -> SyntheticSource:
    return SyntheticSource()


@pytest.fixture
def make_source() -> type[SyntheticSource]:
    return SyntheticSource
