"""Everything this project registers with MMDetection; importing the module registers it.

Name it in a config's `custom_imports` to use the parts in MMDetection projects of one's own.
"""

import mmdet.datasets
import mmdet.models
from mmdet.registry import MODELS

from wsis.backbones import EfficientNetLite0
from wsis.mmdet_ext import dataset, roi_heads, runtime, set_sampling

if "EfficientNetLite0" not in MODELS.module_dict:
    MODELS.register_module(module=EfficientNetLite0)

__all__ = ["EfficientNetLite0", "dataset", "mmdet", "roi_heads", "runtime", "set_sampling"]
