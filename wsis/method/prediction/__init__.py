"""The prediction network (paper 3.3, B.1): everything registered with MMDetection, its training and inference.

Importing this package installs the operators that mmdet needs, so that any module below may import mmdet.
"""

from wsis.method.prediction.ops import install_ops

install_ops()
