"""EfficientNet-Lite0, -Lite1 and -Lite2 (Tan & Le, ICML 2019; the Lite variant of TensorFlow: ReLU6, no
squeeze-excitation).

Suffix legend: B images, C channels, H W pixels.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch.nn.functional as F
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.backbones.layers import (
    Backbone,
    BatchNormMode,
    ConvStep,
    ReluStep,
    ResidualStep,
    SameConv2d,
    Step,
    Steps,
    folded,
)

# repeats, kernel, stride of the first, expansion, channels out, of Lite0
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_FEATURE_STAGES = (0, 1, 2, 4, 6)  # after which each feature (strides 2, 4, 8, 16, 32) is taken
_STAGE_AT_32 = 5  # the first one
_HEAD_CHANNELS = 1280
_CHANNEL_STEP = 8


class ConvNorm(nn.Module):
    """SAME convolution and BatchNorm (TensorFlow's epsilon and momentum)."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(channels_in, channels_out, kernel, stride, groups)
        self.norm = nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and isinstance(self.norm, nn.BatchNorm2d) and not self.norm.training:
            # one pass over the activations less in both directions; a GPU would wait for the small steps of folding
            return self.conv.by(*folded(self.conv, self.norm), x)
        normed: Tensor = self.norm(self.conv(x))
        return normed

    def step(self) -> ConvStep:
        return ConvStep(self.conv, self.norm)

    def fold(self) -> None:
        """Put the BatchNorm's running statistics and affine into the convolution."""
        weight, bias = folded(self.conv, self.norm)
        self.conv.weight, self.conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        self.norm = nn.Identity()  # type: ignore[assignment]


class InvertedBottleneck(nn.Module):
    """Expansion 1x1 - depthwise kxk - linear projection 1x1, with a skip where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.expand = ConvNorm(channels_in, inner, 1) if expansion != 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, channels_out, 1)
        self.skip = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        out: Tensor = self.project(F.relu6(self.depthwise(inner), inplace=True))
        return out + x if self.skip else out

    def steps(self) -> Steps:
        inner: tuple[Step, ...] = () if self.expand is None else (self.expand.step(), ReluStep(6.0))
        branch = (*inner, self.depthwise.step(), ReluStep(6.0), self.project.step())
        return (ResidualStep(branch),) if self.skip else branch


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 without its classifier; its subclasses are wider or deeper.

    Class attributes: `width` and `depth` scale the channels and the repeats of every stage (not of the stem, the head,
    nor the repeats of the first and last stage); `feature_rms` is the root mean square of the features over 24 VOC
    photographs with the ImageNet weights, see `unit_rms`.

    Args:
        out_indices: features to return, 0..4 for strides 2, 4, 8, 16, 32 (`channels`).
        batch_norm: "train"; "frozen_statistics" (evaluation mode, affine learns); "frozen" (neither).
        frozen_blocks: 0 freezes nothing; n >= 1 the stem and the first n of the blocks (16 of Lite0).
        unit_rms: divide the features by `feature_rms`. They are linear bottlenecks with rms up to ten, which
            disturbs layers initialised for unit variance (trial: first detector losses 8.1 -> 3.9).
        with_head: keep the 1280-channel convolution before ImageNet's classifier, for :meth:`head`.
        output_stride: 32, or 16 for a dense last stage (à trous; same weights).
    """

    width, depth = 1.0, 1.0
    feature_rms: tuple[float, ...] = (6.5, 8.1, 6.7, 5.9, 2.6)
    channels = (16, 24, 40, 112, 320)
    head_channels = _HEAD_CHANNELS
    mean = (127.0, 127.0, 127.0)
    std = (128.0, 128.0, 128.0)

    def __init__(
        self,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        batch_norm: BatchNormMode = "frozen",
        frozen_blocks: int = 0,
        unit_rms: bool = False,
        with_head: bool = False,
        output_stride: int = 32,
    ) -> None:
        super().__init__(out_indices, batch_norm)
        self.unit_rms = unit_rms
        self.stem = ConvNorm(3, 32, 3, 2)
        stages = _stages(self.width, self.depth)
        ends = list(accumulate(repeats for repeats, *_ in stages))
        self.feature_blocks = tuple(ends[stage] - 1 for stage in _FEATURE_STAGES)
        self._first_block_at_32 = ends[_STAGE_AT_32 - 1]
        self.blocks = nn.ModuleList(_make_blocks(stages))
        self.head_conv = ConvNorm(self.channels[-1], _HEAD_CHANNELS, 1) if with_head else None
        self._set_output_stride(output_stride)
        if not 0 <= frozen_blocks <= len(self.blocks):
            raise InputError(f"frozen_blocks: expected 0..{len(self.blocks)}, got {frozen_blocks}")
        self.freeze([self.stem, *self.blocks[:frozen_blocks]] if frozen_blocks else [])
        self.train(self.training)

    def _set_output_stride(self, output_stride: int) -> None:
        if output_stride not in (16, 32):
            raise InputError(f"output_stride: expected 16 or 32, got {output_stride}")
        self.output_stride = output_stride
        if output_stride == 32:
            return
        first, *rest = self._blocks()[self._first_block_at_32 :]
        first.depthwise.conv.make_dense()
        for block in rest:
            block.depthwise.conv.dilation = (2, 2)

    def _blocks(self) -> list["InvertedBottleneck"]:
        return [block for block in self.blocks if isinstance(block, InvertedBottleneck)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [B, 3, H, W] -> features at the strides of ``out_indices``, finest first."""
        x = F.relu6(self.stem(images), inplace=True)
        features: list[Tensor] = []
        taken = self.feature_blocks
        for index, block in enumerate(self.blocks[: taken[self.out_indices[-1]] + 1]):
            x = block(x)
            if index in taken and (level := taken.index(index)) in self.out_indices:
                features.append(x / self.feature_rms[level] if self.unit_rms else x)
        return features

    def head(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> [B, 1280, H/32, W/32] (ceil; /16 at output_stride 16)."""
        if self.head_conv is None:
            raise InputError(f"head: this {type(self).__name__} was built with with_head=False")
        x = F.relu6(self.stem(images), inplace=True)
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head_conv(x))

    def head_steps(self) -> Steps:
        """The layers of :meth:`head`."""
        if self.head_conv is None:
            raise InputError(f"head_steps: this {type(self).__name__} was built with with_head=False")
        inner = [step for block in self._blocks() for step in block.steps()]
        return (self.stem.step(), ReluStep(6.0), *inner, self.head_conv.step(), ReluStep(6.0))


class EfficientNetLite1(EfficientNetLite0):
    """Deeper: 21 blocks."""

    depth = 1.1
    feature_rms = (6.1, 9.6, 8.1, 6.7, 2.5)


class EfficientNetLite2(EfficientNetLite0):
    """Deeper and wider: 21 blocks."""

    width, depth = 1.1, 1.2
    feature_rms = (6.1, 9.5, 7.8, 6.7, 2.4)
    channels = (16, 24, 48, 120, 352)


def fold_batch_norms(network: nn.Module) -> None:
    """Fold every BatchNorm of an EfficientNet-Lite0 inside ``network`` into the convolution before it: the same
    features in evaluation mode, faster. For networks that are only applied: weights no longer load into it."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    network.requires_grad_(False)


Stages = tuple[tuple[int, int, int, int, int], ...]


def _stages(width: float, depth: float) -> Stages:
    """`_STAGES` with scaled channels (multiples of 8, none a tenth too small) and repeats."""
    found = []
    for index, (repeats, *middle, channels) in enumerate(_STAGES):
        wanted = channels * width
        out = max(_CHANNEL_STEP, int(wanted + _CHANNEL_STEP / 2) // _CHANNEL_STEP * _CHANNEL_STEP)
        out += _CHANNEL_STEP if out < 0.9 * wanted else 0
        fixed = index in (0, len(_STAGES) - 1)
        kernel, stride, expansion = middle
        found.append((repeats if fixed else math.ceil(repeats * depth), kernel, stride, expansion, out))
    return tuple(found)


def _make_blocks(stages: Stages) -> list[InvertedBottleneck]:
    blocks, channels = [], 32
    for repeats, kernel, stride, expansion, out in stages:
        for repeat in range(repeats):
            blocks.append(InvertedBottleneck(channels, out, kernel, stride if repeat == 0 else 1, expansion))
            channels = out
    return blocks


_BLOCK_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_OUTER_PARTS = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head_conv.conv",
    "_bn1": "head_conv.norm",
}


def rename_lite(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the efficientnet-lite-pytorch package (names with underscores) -> our names.

    The classifier (``_fc``) is dropped. A state dict in our names is returned as it is.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks" and len(parts) == 4 and parts[2] in _BLOCK_PARTS:
            renamed[f"blocks.{parts[1]}.{_BLOCK_PARTS[parts[2]]}.{parts[3]}"] = value
        elif parts[0] in _OUTER_PARTS:
            renamed[f"{_OUTER_PARTS[parts[0]]}.{parts[1]}"] = value
        elif parts[0] != "_fc":
            renamed[key] = value
    return renamed
