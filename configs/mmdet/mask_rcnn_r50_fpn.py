"""Mask R-CNN R-50-FPN as the paper's prediction network for image-level labels: MMDetection's own defaults.

The run fills in the class count and the image size; wsis adds the K pseudo-label sets and the dissimilarity
objective around it (wsis/method/prediction/config.py). Backbone weights come from the run's `pretrained`.
"""

_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py"]

model = dict(backbone=dict(init_cfg=None))
