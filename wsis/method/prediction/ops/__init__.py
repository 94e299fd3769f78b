"""The two compiled operators that Mask R-CNN needs from mmcv (nms, roi_align), on whichever backend is there."""

from wsis.method.prediction.ops.backend import Backend, OpsModule, install_ops

__all__ = ["Backend", "OpsModule", "install_ops"]
