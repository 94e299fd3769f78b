"""`wsis ...` on the CPU without what is done there for speed alone, and not on a GPU: BatchNorms stay apart from their
convolutions, and torch chooses the kernels of convolutions by one pixel. A script."""

import torch

from wsis.cli.main import main
from wsis.method import placement
from wsis.method.backbones import layers
from wsis.method.backbones.efficientnet_lite import ConvNorm


def _apart(layer: ConvNorm, x: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = layer.norm(layer.conv(x))
    return normed


def _torchs_choice(_: torch.Tensor) -> tuple[int, int]:
    return 1, 1


ConvNorm.forward = _apart  # type: ignore[method-assign]
placement.pointwise_dilation = layers.pointwise_dilation = _torchs_choice
main()
