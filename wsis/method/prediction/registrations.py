"""Everything this project registers with MMDetection; importing the module registers it.

Name it in a config's `custom_imports` to use the parts in MMDetection projects of one's own.
"""

import mmdet.datasets
import mmdet.models
from mmdet.registry import MODELS

from wsis.method.backbones import EfficientNetLite0
from wsis.method.prediction.data import dataset
from wsis.method.prediction.heads import label_set_regions, roi_heads
from wsis.method.prediction.loop import train_loop

if "EfficientNetLite0" not in MODELS.module_dict:
    MODELS.register_module(module=EfficientNetLite0)

__all__ = ["EfficientNetLite0", "dataset", "label_set_regions", "mmdet", "roi_heads", "train_loop"]
