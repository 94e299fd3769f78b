"""The prediction network (paper 3.3, B.1): everything registered with MMDetection, its data, its losses and its
inference. Training is the stage's, `stages.prediction.mmdet_training`, on the loop of `wsis.engine`.

Importing this package installs the operators that mmdet needs, so that any module below may import mmdet.
"""

import warnings

from wsis.method.prediction.ops import install_ops

warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)  # mmengine 0.10.7 imports it
install_ops()
