"""Mask R-CNN R-101-FPN: the paper's prediction network for bounding-box labels."""

_base_ = ["./mask_rcnn_r50_fpn.py"]

model = dict(backbone=dict(depth=101))
