"""A detector small enough for tests."""

from pathlib import Path

import pytest
from mmengine.config import Config

from tests.method.prediction.synthetic_source import CLASSES, SyntheticSource
from wsis.method.prediction.config import PredictionSpec, plain_config, training_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "mmdet"

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
