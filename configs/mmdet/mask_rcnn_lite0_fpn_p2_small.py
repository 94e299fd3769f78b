"""mask_rcnn_lite0_fpn_p2 with anchors from 8 pixels, as many as there: cells, things far away."""

_base_ = ["./mask_rcnn_lite0_fpn_p2.py"]

model = dict(rpn_head=dict(anchor_generator=dict(scales=[2, 4])))
