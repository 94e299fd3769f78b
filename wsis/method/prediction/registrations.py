"""Everything this project registers with MMDetection; importing the module registers it.

Name it in a config's `custom_imports` to use the parts in MMDetection projects of one's own.
"""

import mmdet.datasets
import mmdet.models
from mmdet.registry import MODELS

from wsis.method.backbones import BACKBONES
from wsis.method.prediction.data import dataset, preprocessor
from wsis.method.prediction.heads import (
    constants,
    label_set_regions,
    mask_targets,
    region_features,
    roi_heads,
    rpn,
)

for _row in BACKBONES.values():  # MMDetection has ResNets of its own
    if _row.mmdet and _row.mmdet["type"] not in MODELS.module_dict:
        MODELS.register_module(_row.mmdet["type"], module=_row.build)

__all__ = [
    "constants",
    "dataset",
    "label_set_regions",
    "mask_targets",
    "mmdet",
    "preprocessor",
    "region_features",
    "roi_heads",
    "rpn",
]
