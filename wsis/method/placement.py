"""Where a network computes, and how it lies in memory there."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)
_ENOUGH_OF_ONE_IMAGE = 20480  # numbers, from which on torch takes oneDNN for a single image


def gpus_beside(name: str) -> int | None:
    """How many GPUs there are, where a name as `cuda` or `cuda:N` means none of them; None of any other name. torch
    itself takes cuda:255 for cuda, and cuda:200 for a negative number."""
    if not name.startswith("cuda"):
        return None
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return there if int(name.partition(":")[2] or 0) >= there else None


def placed(network: N, device: torch.device | str) -> N:
    """The network on a device, laid out as its convolutions are fastest: `channels_last`, and on the CPU with
    `pointwise_dilation`."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.device(device).type == "cpu":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
                layer.register_forward_pre_hook(_with_dilation)
    return network


def pointwise_dilation(x: Tensor) -> tuple[int, int]:
    """What a convolution by one pixel of x [B, C, H, W] is to say of its dilation, which changes nothing that it
    computes, so that torch has oneDNN compute it.

    On one thread torch does so only where a convolution is dilated or strided, or a batch has 16 images; else it takes
    kernels of its own, and for twice to three times as long in `channels_last`. (`ConvParams::use_mkldnn` in torch's
    aten/src/ATen/native/Convolution.cpp.)
    """
    worth = x.device.type == "cpu" and (len(x) > 1 or x.numel() > _ENOUGH_OF_ONE_IMAGE)
    return (2, 2) if worth else (1, 1)


def _with_dilation(layer: nn.Conv2d, inputs: tuple[Any, ...]) -> None:
    layer.dilation = pointwise_dilation(inputs[0])
