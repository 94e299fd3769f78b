"""mask_rcnn_lite0_fpn on EfficientNet-Lite2, deeper and wider; the notebook of 2026-11-29 has what it costs."""

_base_ = ["./mask_rcnn_lite0_fpn.py"]

model = dict(backbone=dict(type="EfficientNetLite2", frozen_blocks=4), neck=dict(in_channels=[48, 120, 352]))
