"""What every backbone offers: features by index, normalisation, frozen parts, and its layers as plain steps.

Suffix legend: B images, C channels, H W pixels.

Feature index i has stride 2^(i+1): indices 0..4 are strides 2, 4, 8, 16, 32, for every backbone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.placement import pointwise_dilation

BatchNormMode = Literal["train", "frozen_statistics", "frozen"]
Padding = tuple[int, int, int, int]  # left, right, top, bottom, as torch.nn.functional.pad takes it


class SameConv2d(nn.Conv2d):
    """Bias-free convolution with TensorFlow's SAME padding: output = ceil(input / stride).

    At stride 2 and even input the padding is asymmetric (less on the left and top). With ``dense=True`` a
    strided convolution is evaluated at every position (stride 1) with the same alignment, so that its even
    positions equal the strided result: the à-trous way to a finer output stride.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, 0, groups=groups, bias=False)
        self.dense = False

    def make_dense(self) -> None:
        """Evaluate at stride 1, aligned with the strided result on even input sizes."""
        self.dense, self.stride = True, (1, 1)

    def padding_of(self, size: tuple[int, int]) -> Padding:
        """Padding for an input of (H, W)."""
        top, bottom = self._pad_axis(size[0], 0)
        left, right = self._pad_axis(size[1], 1)
        return left, right, top, bottom

    def _pad_axis(self, length: int, axis: int) -> tuple[int, int]:
        reach = (self.kernel_size[axis] - 1) * self.dilation[axis]
        if self.dense:  # a stride-2 SAME convolution pads reach - 1 on an even length
            before = (reach - 1) // 2
            return before, reach - before
        stride = self.stride[axis]
        total = max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)
        return total // 2, total - total // 2

    def forward(self, input: Tensor) -> Tensor:
        return self.by(self.weight, self.bias, input)  # no bias, but after `fold_batch_norms`

    def by(self, weight: Tensor, bias: Tensor | None, input: Tensor) -> Tensor:
        """What it gives with another weight and bias than its own."""
        padding = self.padding_of((input.shape[-2], input.shape[-1]))
        return padded_conv(input, weight, bias, self.stride, padding, self.dilation, self.groups)


def padding_of(conv: nn.Conv2d, size: tuple[int, int]) -> Padding:
    """Padding (left, right, top, bottom) that ``conv`` applies to an input of (H, W)."""
    if isinstance(conv, SameConv2d):
        return conv.padding_of(size)
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise InputError(
            f"convolution: expected integer zero padding, got {conv.padding}, {conv.padding_mode}"
        )
    return conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0]


def padded_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Convolution with any padding; copies the input only when the padding is asymmetric."""
    left, right, top, bottom = padding
    if weight.shape[2:] == (1, 1):
        dilation = pointwise_dilation(x)
    if left == right and top == bottom:
        return F.conv2d(x, weight, bias, tuple(stride), (top, left), tuple(dilation), groups)
    return F.conv2d(F.pad(x, padding), weight, bias, tuple(stride), 0, tuple(dilation), groups)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that gives what this one and its BatchNorm give in evaluation mode.

    Raises:
        InputError: the BatchNorm has no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise InputError("BatchNorm without running statistics cannot be folded into a convolution")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    bias = shift if conv.bias is None else conv.bias * scale + shift
    return conv.weight * scale.view(-1, 1, 1, 1), bias


@dataclass(frozen=True)
class ConvStep:
    """A convolution, followed by its BatchNorm if it has one."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None = None


@dataclass(frozen=True)
class ReluStep:
    """max(0, x), cut at ``limit`` if given (ReLU6)."""

    limit: float | None = None


@dataclass(frozen=True)
class MaxPoolStep:
    """Max pooling."""

    pool: nn.MaxPool2d


@dataclass(frozen=True)
class ResidualStep:
    """branch(x) + shortcut(x); an empty shortcut is the identity."""

    branch: "Steps"
    shortcut: "Steps" = ()


Step = ConvStep | ReluStep | MaxPoolStep | ResidualStep
Steps = tuple[Step, ...]


class Backbone(nn.Module):
    """Base of the feature extractors: what the networks of the method need of one.

    Its class takes `out_indices`, `batch_norm`, `frozen_blocks` (0 freezes nothing, n the stem and n blocks),
    `output_stride` (32; 16 by dilation) and `with_head` (whether :meth:`head` will be called).
    Peak response maps (wsis.method.prm) walk back through :meth:`head_steps` and fold each BatchNorm into the
    convolution before it. So a backbone is made of convolution + BatchNorm, ReLU or ReLU6, max pooling and residual
    sums of these, and of nothing else: no other norm, no attention, no other activation.

    Attributes:
        channels: channels of the features at strides 2, 4, 8, 16, 32.
        out_indices: which of them :meth:`forward` returns.
        head_channels: channels of :meth:`head`, the features that ImageNet's classifier saw.
    """

    channels: tuple[int, int, int, int, int]
    head_channels: int
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    input_mean: Tensor
    input_std: Tensor

    def __init__(self, out_indices: Sequence[int], batch_norm: BatchNormMode) -> None:
        super().__init__()
        indices = tuple(out_indices)
        if not indices or list(indices) != sorted(set(indices)) or not set(indices) <= set(range(5)):
            raise InputError(f"out_indices: expected increasing indices out of 0..4, got {indices}")
        if batch_norm not in ("train", "frozen_statistics", "frozen"):
            raise InputError(f"batch_norm: expected train, frozen_statistics or frozen, got {batch_norm!r}")
        self.out_indices = indices
        self.batch_norm: BatchNormMode = batch_norm
        # on the device once, and no part of the weights
        self.register_buffer("input_mean", torch.tensor(self.mean), persistent=False)
        self.register_buffer("input_std", torch.tensor(self.std), persistent=False)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each returned feature."""
        return tuple(self.channels[i] for i in self.out_indices)

    def normalise(self, images: Tensor) -> Tensor:
        """RGB images [B, 3, H, W] in 0..255 (uint8 or float) -> float32, as the weights were trained."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images: expected [B, 3, H, W], got {tuple(images.shape)}")
        return (images.float() - self.input_mean.view(1, 3, 1, 1)) / self.input_std.view(1, 3, 1, 1)

    def head(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> the last features [B, head_channels, H/32, W/32]."""
        raise NotImplementedError

    def head_steps(self) -> Steps:
        """The layers of :meth:`head` in order, for methods that walk through the network themselves."""
        raise NotImplementedError

    def freeze(self, parts: Iterable[nn.Module]) -> None:
        """Stop the gradient of these parts, and of every BatchNorm's affine under ``batch_norm='frozen'``."""
        for part in parts:
            part.requires_grad_(False)
        if self.batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode, with the frozen BatchNorms kept in evaluation mode."""
        super().train(mode)
        if self.batch_norm != "train":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self
