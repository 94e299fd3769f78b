"""Peak back-propagation (Zhou et al., CVPR 2018, section 3.2): which pixels made this peak respond.

Suffix legend: B images, C classes, N peaks, D channels, H W pixels, h w cells.

A peak's probability flows from a cell to the cells below in proportion to their contribution through
non-negative weights (eq. 4-6 there): for a convolution with weights V, inputs x >= 0 and V+ = max(V, 0)

    P(below) = x * convT(V+, P(above) / conv(V+, x)).

- BatchNorm is folded into the convolution first: the sign that counts is that of the whole linear map.
- Inputs that can be negative (linear bottlenecks, the image) are shifted by their minimum over the image.
- ReLU stops what comes to a cell that it cut to 0; the upper limit of ReLU6 passes everything.
- At a sum (residual), both sides receive the whole probability; maps are normalised at the end.

The backward is written out rather than left to autograd. The activations of an image are kept once, and the
peaks of all images go down together as one batch [N, D, h, w], each multiplied with its own image's
activations: no graph a peak, no expanded forward. It equals one peak at a time (tested). The whole is linear in the
start, so peaks may also share a pass, and a map, where it does not matter which of them a pixel answers to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.backbones.layers import ConvStep, MaxPoolStep, ResidualStep, Step, Steps
from wsis.method.prm.classifier import PeakResponseClassifier
from wsis.method.prm.excitation import ImageOfPeak, Tape, backward, fold, forward
from wsis.method.transfers import moved


def _split_at_stride(steps: Steps, stop_stride: int) -> int:
    """Index of the first step that leaves ``stop_stride``: all before it works at that stride or finer."""
    if stop_stride == 1:
        return 0
    stride = 1
    for index, step in enumerate(steps):
        stride *= _stride_of(step)
        if stride > stop_stride:
            return index
    raise InputError(f"stop_stride: expected a stride below the network's {stride}, got {stop_stride}")


def _stride_of(step: Step) -> int:
    if isinstance(step, ConvStep):
        return step.conv.stride[0]
    if isinstance(step, MaxPoolStep):
        stride = step.pool.stride
        return stride if isinstance(stride, int) else stride[0]
    if isinstance(step, ResidualStep):
        result = 1
        for inner in step.branch:
            result *= _stride_of(inner)
        return result
    return 1


class PeakBackpropagation:
    """Peak response maps of a trained classifier; its weights are folded once, here.

    Args:
        model: in evaluation or training mode; running BatchNorm statistics are used in any case.
        stop_stride: grid of the maps: 1 is the image (the paper), 2, 4, 8 stop at the last activations of
            that stride: the same probability, summed there over fewer, larger cells, for less time.
        chunk_size: maps that are made at once; bounds the memory, and few stay in the cache: 4 take two thirds of the
            time of 16.
    """

    def __init__(self, model: PeakResponseClassifier, stop_stride: int = 1, chunk_size: int = 4) -> None:
        if stop_stride not in (1, 2, 4, 8) or chunk_size < 1:
            raise InputError(
                "stop_stride, chunk_size: expected a stride of 1, 2, 4 or 8 and at least one peak, "
                f"got {stop_stride}, {chunk_size}"
            )
        steps = (*model.backbone.head_steps(), ConvStep(model.classifier))
        cut = _split_at_stride(steps, stop_stride)
        self._below, self._above = fold(steps[:cut]), fold(steps[cut:])
        self._model = model
        self.num_classes, self.window = model.num_classes, model.window
        self.chunk_size = chunk_size

    @torch.no_grad()
    def forward(self, images: Tensor) -> "ForwardPass":
        """RGB images [B, 3, H, W] in 0..255 -> class response maps, and what the backward needs."""
        x = self._model.backbone.normalise(images)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        tape = Tape()
        x = forward(self._below, x, None)
        return ForwardPass(forward(self._above, x, tape), tape, (x.shape[2], x.shape[3]))

    def scores(self, passed: "ForwardPass") -> Tensor:
        """Class logits [B, C] of a forward pass, by the model's peak stimulation."""
        return self._model.scores(passed.class_response_maps)

    @torch.no_grad()
    def backward(self, passed: "ForwardPass", peaks: Tensor, shared: Tensor | None = None) -> Tensor:
        """Peak response maps float32 [M, H / stop_stride, W / stop_stride]; each sums to 1.

        Args:
            peaks: int64 [N, 4] on the CPU: image, class (1..C), row, column in cells of the class response maps.
            shared: int64 [N] on the CPU, 0..M-1: peaks of one number, in one image, go down in one pass and share a
                map, to which each brings the probability that reaches the bottom from it. Default: a map a peak, M = N.

        A peak that no positive input contributes to has a map of zeros. N = 0 gives [0, H, W].

        Raises:
            InputError: a peak outside the maps; a shared map over two images.
        """
        maps = passed.class_response_maps
        _check_peaks(peaks, maps)
        shared = torch.arange(len(peaks)) if shared is None else shared
        images = peaks.new_zeros(int(shared.max()) + 1 if len(peaks) else 0)
        images[shared] = peaks[:, 0]
        if not torch.equal(images[shared], peaks[:, 0]):
            raise InputError("peaks: expected those that share a map in one image, got some in two")
        # all peaks as places in maps [M, C, h, w]; then those of a chunk from its first map on
        classes, height, width = maps.shape[1:]
        starts = ((shared * classes + peaks[:, 1] - 1) * height + peaks[:, 2]) * width + peaks[:, 3]
        chunks = []
        for first in range(0, len(images), self.chunk_size):
            members = (shared >= first) & (shared < first + self.chunk_size)
            place = starts[members] - first * classes * height * width
            chunks.append((images[first : first + self.chunk_size], place))
        found = [self._backward_chunk(passed, *chunk) for chunk in moved(chunks, maps.device)]
        return torch.cat(found) if found else maps.new_zeros(0, *passed.grid)

    def _backward_chunk(self, passed: "ForwardPass", images: Tensor, starts: Tensor) -> Tensor:
        """Maps of M' images [M']; peaks start at these places of [M', C, h, w]."""
        maps = passed.class_response_maps
        start = maps.new_zeros(len(images), *maps.shape[1:])
        start.view(-1).index_fill_(0, starts, 1)
        below = backward(self._above, start, passed.tape, ImageOfPeak.of_peaks(images, len(maps)))
        summed = below.sum(1)
        total = summed.sum((1, 2), keepdim=True)
        return torch.where(total > 0, summed / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


@dataclass(frozen=True)
class ForwardPass:
    """Class response maps [B, C, h, w], the activations behind them, and the (h, w) of peak response maps."""

    class_response_maps: Tensor
    tape: Tape
    grid: tuple[int, int]


def peak_response_maps(
    model: PeakResponseClassifier, images: Tensor, peaks: Tensor, stop_stride: int = 1, chunk_size: int = 4
) -> Tensor:
    """Peak response maps [N, H, W] of ``peaks`` [N, 4], on the CPU, in ``images`` [B, 3, H, W]; see
    PeakBackpropagation."""
    network = PeakBackpropagation(model, stop_stride, chunk_size)
    return network.backward(network.forward(images), peaks)


def _check_peaks(peaks: Tensor, maps: Tensor) -> None:
    if peaks.ndim != 2 or peaks.shape[1] != 4 or peaks.is_floating_point():
        raise InputError(f"peaks: expected integers [N, 4], got {peaks.dtype} {tuple(peaks.shape)}")
    low = peaks.new_tensor([0, 1, 0, 0])
    high = peaks.new_tensor([maps.shape[0] - 1, maps.shape[1], maps.shape[2] - 1, maps.shape[3] - 1])
    outside = ((peaks < low) | (peaks > high)).any(1)
    if outside.any():
        first = peaks[outside][0].tolist()
        raise InputError(
            f"peaks: expected (image, class, row, column) from {low.tolist()} to {high.tolist()}, got {first}"
        )
