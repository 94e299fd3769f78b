"""The linearised network behind peak back-propagation: folded convolutions, a forward that keeps what the
backward needs, and the backward of many peaks at once.

Suffix legend: B images, N peaks, D channels, H W pixels, h w cells. The rules are in wsis.method.prm.peak_backprop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.method.backbones.layers import (
    ConvStep,
    MaxPoolStep,
    Padding,
    ReluStep,
    ResidualStep,
    Step,
    Steps,
    folded,
    padded_conv,
    padding_of,
)

_TINY = 1e-10  # a response below this has no source: its probability is dropped, as in the authors' code


@dataclass
class FoldedConvolution:
    """A convolution with its BatchNorm folded in."""

    source: nn.Conv2d
    weight: Tensor
    positive: Tensor
    bias: Tensor | None

    @classmethod
    @torch.no_grad()
    def fold(cls, step: ConvStep) -> "FoldedConvolution":
        weight, bias = step.conv.weight.detach(), step.conv.bias
        if step.norm is not None:
            weight, bias = folded(step.conv, step.norm)
        bias = None if bias is None else bias.detach()
        layout = torch.channels_last if weight.device.type == "cpu" else torch.contiguous_format
        weight = weight.contiguous(memory_format=layout)
        return cls(step.conv, weight, weight.clamp(min=0), bias)

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = self.source
        padding = padding_of(conv, (x.shape[-2], x.shape[-1]))
        return padded_conv(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)

    def transposed(self, g: Tensor, size: tuple[int, int]) -> Tensor:
        """Gradient of ``conv(V+, x).backward(g)`` at x, for inputs of ``size`` (h, w)."""
        conv = self.source
        if self.positive.shape[2:] == (1, 1) and conv.stride == (1, 1):
            return padded_conv(g, self.positive.transpose(0, 1), None, (1, 1), (0, 0, 0, 0), (1, 1), 1)
        left, right, top, bottom = padding_of(conv, size)
        if conv.stride == (1, 1):
            # A stride-1 transpose is a convolution with the flipped kernel, which has the faster code.
            return self._flipped(g, (left, right, top, bottom))
        padded = (size[0] + top + bottom, size[1] + left + right)
        shape = (len(g), self.positive.shape[1] * conv.groups, *padded)
        below = torch.ops.aten.convolution_backward(
            g,
            g.new_empty(()).expand(shape),
            self.positive,
            None,
            conv.stride,
            (0, 0),
            conv.dilation,
            False,
            (0, 0),
            conv.groups,
            (True, False, False),
        )[0]
        return below[:, :, top : top + size[0], left : left + size[1]]

    def _flipped(self, g: Tensor, padding: Padding) -> Tensor:
        conv = self.source
        left, right, top, bottom = padding
        reach_h = (conv.kernel_size[0] - 1) * conv.dilation[0]
        reach_w = (conv.kernel_size[1] - 1) * conv.dilation[1]
        around = (reach_w - left, reach_w - right, reach_h - top, reach_h - bottom)
        out, per_group, *kernel = self.positive.shape
        groups = conv.groups
        # [out, in/groups] -> [in, out/groups], group by group
        weight = self.positive.view(groups, out // groups, per_group, *kernel).transpose(1, 2)
        weight = weight.reshape(groups * per_group, out // groups, *kernel).flip(2, 3)
        return padded_conv(g, weight, None, (1, 1), around, conv.dilation, groups)


@dataclass
class Residual:
    """A residual block: the signal passes down both sides and is summed."""

    branch: "list[Layer]"
    shortcut: "list[Layer]"


Layer = FoldedConvolution | Residual | ReluStep | MaxPoolStep


@dataclass
class Tape:
    """What the forward leaves for the backward: one entry a layer, all [B, ...]."""

    entries: list[Any] = field(default_factory=list)


def fold(steps: Steps) -> list[Layer]:
    """The steps with every BatchNorm folded into its convolution, as constants."""
    return [_fold_one(step) for step in steps]


def _fold_one(step: Step) -> Layer:
    if isinstance(step, ConvStep):
        return FoldedConvolution.fold(step)
    if isinstance(step, ResidualStep):
        return Residual(fold(step.branch), fold(step.shortcut))
    return step


def forward(layers: Sequence[Layer], x: Tensor, tape: Tape | None) -> Tensor:
    """Output of the layers for x [B, D, h, w], leaving in ``tape`` (if given) what :func:`backward` needs."""
    for layer in layers:
        if isinstance(layer, FoldedConvolution):
            if tape is not None:
                tape.entries.append(_excite(layer, x))
            x = layer.apply(x, layer.weight, layer.bias)
        elif isinstance(layer, Residual):
            inner = None if tape is None else Tape(), None if tape is None else Tape()
            x = forward(layer.branch, x, inner[0]) + forward(layer.shortcut, x, inner[1])
            if tape is not None:
                tape.entries.append(inner)
        elif isinstance(layer, MaxPoolStep):
            size = x.shape[2:]
            pool = layer.pool
            x, chosen = F.max_pool2d(
                x, pool.kernel_size, pool.stride, pool.padding, pool.dilation, return_indices=True
            )
            if tape is not None:
                tape.entries.append((chosen, size))
        else:
            x = F.relu(x) if layer.limit is None else x.clamp(0, layer.limit)
            if tape is not None:
                tape.entries.append(x)
    return x


def _excite(layer: FoldedConvolution, x: Tensor) -> tuple[Tensor, Tensor]:
    """Non-negative inputs, and one over the responses they give through V+ (0 where there is none)."""
    excited = x - x.amin((1, 2, 3), keepdim=True)
    response = layer.apply(excited, layer.positive, None)
    return excited, torch.where(response < _TINY, 0.0, 1 / (response + _TINY))


def backward(layers: Sequence[Layer], g: Tensor, tape: Tape, images: "ImageOfPeak") -> Tensor:
    """Probabilities g [N, D, h, w] of N peaks at the layers' output -> at their input, each times its x."""
    for position in range(len(layers) - 1, -1, -1):
        layer, entry = layers[position], tape.entries[position]
        if isinstance(layer, FoldedConvolution):
            excited, inverse = entry
            g = layer.transposed(images.times(g, inverse), (excited.shape[2], excited.shape[3]))
            g = images.times(g, excited)
        elif isinstance(layer, Residual):
            below = backward(layer.branch, g, entry[0], images)
            g = below + backward(layer.shortcut, g, entry[1], images)
        elif isinstance(layer, MaxPoolStep):
            chosen, (height, width) = entry
            flat = g.new_zeros(*g.shape[:2], height * width)
            g = flat.scatter_add_(2, images.of(chosen).flatten(2), g.flatten(2)).unflatten(2, (height, width))
        elif position + 1 == len(layers) or not isinstance(layers[position + 1], FoldedConvolution):
            g = images.times(g, entry > 0)
        # A ReLU that feeds a convolution needs nothing: the convolution's factor x is 0 wherever it cut.
    return g


@dataclass(frozen=True)
class ImageOfPeak:
    """The image of each peak; activations of a single image broadcast instead of being copied N times."""

    index: Tensor
    single: bool

    @classmethod
    def of_peaks(cls, index: Tensor, num_images: int) -> "ImageOfPeak":
        return cls(index, num_images == 1)

    def of(self, per_image: Tensor) -> Tensor:
        return (
            per_image.expand(len(self.index), *per_image.shape[1:]) if self.single else per_image[self.index]
        )

    def times(self, g: Tensor, per_image: Tensor) -> Tensor:
        return g * (per_image if self.single else per_image[self.index])
