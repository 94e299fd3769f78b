"""mask_rcnn_lite0_fpn on EfficientNet-Lite1, which is deeper; the notebook of 2026-11-29 has what it costs."""

_base_ = ["./mask_rcnn_lite0_fpn.py"]

model = dict(backbone=dict(type="EfficientNetLite1", frozen_blocks=4))
