"""Excitation backward: hand-worked, against autograd written as in the authors' description, against a loop."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.backbones import EfficientNetLite0, ResNet
from wsis.method.backbones.layers import (
    Backbone,
    ConvStep,
    MaxPoolStep,
    ReluStep,
    ResidualStep,
    SameConv2d,
    Steps,
    padded_conv,
    padding_of,
)
from wsis.method.prm.classifier import PeakResponseClassifier
from wsis.method.prm.excitation import ImageOfPeak, backward
from wsis.method.prm.peak_backprop import PeakBackpropagation, peak_response_maps


class TinyBackbone(Backbone):
    """Two convolutions, a residual with a projection, a max pool: every kind of step, at little cost."""

    channels = (8, 8, 8, 8, 8)
    head_channels = 8
    mean, std = (127.0,) * 3, (128.0,) * 3

    def __init__(self) -> None:
        super().__init__((4,), "frozen")
        self.stem = SameConv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.inner = SameConv2d(8, 8, 5, groups=8)
        self.project = nn.Conv2d(8, 8, 1, bias=True)

    def head_steps(self) -> Steps:
        branch: Steps = (ConvStep(self.inner), ReluStep(6.0), ConvStep(self.project))
        return (
            ConvStep(self.stem, self.norm),
            ReluStep(),
            MaxPoolStep(self.pool),
            ResidualStep(branch, (ConvStep(self.project),)),
            ReluStep(),
            ResidualStep(branch),
        )

    def head(self, images: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.stem(images))))
        y = F.relu(self.project(F.relu6(self.inner(x))) + self.project(x))
        return self.project(F.relu6(self.inner(y))) + y


def randomise_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)  # a negative scale turns the sign of weights
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)


def make(kind: str, classes: int = 4) -> PeakResponseClassifier:
    backbones = {
        "tiny": TinyBackbone,
        "lite0": lambda: EfficientNetLite0((4,), with_head=True),
        "lite0/16": lambda: EfficientNetLite0((4,), with_head=True, output_stride=16),
        "resnet18": lambda: ResNet(18, (4,)),
    }
    model = PeakResponseClassifier(backbones[kind](), classes)
    nn.init.normal_(model.classifier.weight)
    randomise_batch_norm(model)
    return model.eval()


class Excite(torch.autograd.Function):
    """y = conv(x); backward: x+ * grad of conv(x+, V+) at (g / conv(x+, V+)), x+ = x - min x."""

    @staticmethod
    def forward(ctx, x, weight, bias, conv):
        ctx.save_for_backward(x, weight)
        ctx.conv = conv
        return ctx_conv(conv, x, weight, bias)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        with torch.enable_grad():
            shifted = (x - x.amin((1, 2, 3), keepdim=True)).detach().requires_grad_()
            response = ctx_conv(ctx.conv, shifted, weight.clamp(min=0), None)
        seed = torch.where(response < 1e-10, 0.0, g / (response + 1e-10)).detach()
        (below,) = torch.autograd.grad(response, shifted, seed)
        return shifted.detach() * below, None, None, None


def ctx_conv(conv, x, weight, bias):
    padding = padding_of(conv, (x.shape[-2], x.shape[-1]))
    return padded_conv(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)


class PassRelu(torch.autograd.Function):
    """min(max(x, 0), limit); backward: everything that was above 0, saturated or not."""

    @staticmethod
    def forward(ctx, x, limit):
        y = x.clamp(0, limit)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0] > 0), None


def reference(model: PeakResponseClassifier, image: Tensor, peak: tuple[int, int, int]) -> Tensor:
    """One image, one peak, by autograd with the rules above; [H, W]."""

    def run(steps: Steps, x: Tensor) -> Tensor:
        for step in steps:
            if isinstance(step, ConvStep):
                weight, bias = step.conv.weight, step.conv.bias
                if step.norm is not None:
                    scale = step.norm.weight / (step.norm.running_var + step.norm.eps).sqrt()
                    shift = step.norm.bias - step.norm.running_mean * scale
                    weight = weight * scale.view(-1, 1, 1, 1)
                    bias = shift if bias is None else bias * scale + shift
                x = Excite.apply(x, weight.detach(), None if bias is None else bias.detach(), step.conv)
            elif isinstance(step, ReluStep):
                x = PassRelu.apply(x, step.limit)
            elif isinstance(step, MaxPoolStep):
                x = step.pool(x)
            else:
                x = run(step.branch, x) + run(step.shortcut, x)
        return x

    x = model.backbone.normalise(image[None]).requires_grad_()
    maps = run((*model.backbone.head_steps(), ConvStep(model.classifier)), x)
    (below,) = torch.autograd.grad(maps[0, peak[0] - 1, peak[1], peak[2]], x)
    summed = below.sum((0, 1))
    return summed / summed.sum()


def images(count: int, size: tuple[int, int] = (64, 96)) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)


PEAKS = torch.tensor([[1, 1, 0, 2], [0, 4, 1, 1], [1, 1, 1, 0], [1, 3, 0, 2], [0, 4, 0, 0]])


@pytest.mark.parametrize("kind", ["tiny", "lite0", "lite0/16", "resnet18"])
def test_batched_equals_autograd_one_peak_at_a_time(kind):
    model, photos = make(kind), images(2)
    together = peak_response_maps(model, photos, PEAKS)
    assert together.shape == (5, 64, 96)
    for row, (b, c, i, j) in zip(together, PEAKS.tolist(), strict=True):
        expected = reference(model, photos[b], (c, i, j))
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("stop_stride", [1, 2, 4, 8])
def test_batched_equals_the_loop_for_any_chunk(stop_stride):
    model, photos = make("lite0"), images(2)
    network = PeakBackpropagation(model, stop_stride, chunk_size=16)
    together = network.backward(network.forward(photos), PEAKS)
    assert together.shape == (5, 64 // stop_stride, 96 // stop_stride)
    torch.testing.assert_close(together.sum((1, 2)), torch.ones(5))
    assert bool((together >= 0).all())
    network.chunk_size = 2
    torch.testing.assert_close(
        network.backward(network.forward(photos), PEAKS),
        together,
        rtol=1e-5,
        atol=1e-6 * float(together.max()),
    )
    for row, peak in zip(together, PEAKS, strict=True):
        alone = peak.clone()
        alone[0] = 0
        single = network.backward(network.forward(photos[peak[0], None]), alone[None])[0]
        torch.testing.assert_close(single, row, rtol=1e-5, atol=1e-5 * float(row.max()))


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_peaks_that_share_a_pass_give_the_sum_of_their_flows(chunk_size):
    network, photos = PeakBackpropagation(make("lite0"), 4, chunk_size), images(2)
    passed, shared = network.forward(photos), torch.tensor([2, 0, 1, 2, 0])
    together = network.backward(passed, PEAKS, shared)
    assert together.shape == (3, 16, 24)
    for number in range(3):
        flows = torch.zeros(16, 24)
        for image, cls, row, column in PEAKS[shared == number].tolist():
            start = torch.zeros(1, *passed.class_response_maps.shape[1:])
            start[0, cls - 1, row, column] = 1
            of_image = ImageOfPeak.of_peaks(torch.tensor([image]), 2)
            flows += backward(network._above, start, passed.tape, of_image)[0].sum(0)
        torch.testing.assert_close(
            together[number], flows / flows.sum(), rtol=1e-4, atol=1e-5 * float(together[number].max())
        )
    with pytest.raises(InputError, match="share a map in one image"):
        network.backward(passed, PEAKS, torch.tensor([0, 0, 1, 1, 1]))


@pytest.mark.parametrize("kind", ["tiny", "lite0", "resnet18"])
def test_forward_is_the_models(kind):
    model, photos = make(kind), images(2)
    with torch.no_grad():
        expected = model(photos)
    maps = PeakBackpropagation(model).forward(photos).class_response_maps
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


class OnePixel(Backbone):
    """1x1 convolutions only: each pixel is a network of its own that can be worked by hand."""

    channels = (2, 2, 2, 2, 2)
    head_channels = 2
    mean, std = (0.0,) * 3, (1.0,) * 3

    def __init__(self) -> None:
        super().__init__((4,), "frozen")
        self.one = nn.Conv2d(3, 2, 1, bias=False)
        self.one.weight.data = torch.tensor([[1.0, 2.0, -4.0], [3.0, -1.0, 1.0]])[..., None, None]

    def head_steps(self) -> Steps:
        return ConvStep(self.one), ReluStep(6.0)


def test_hand_worked_network():
    model = PeakResponseClassifier(OnePixel(), 1)
    model.classifier.weight.data = torch.tensor([2.0, -5.0]).view(1, 2, 1, 1)
    # Pixels (r, g, b): (2, 4, 0) -> hidden (10 -> 6, 2), and (0, 0, 1) -> (-4 -> 0, 1). Image minimum 0.
    photo = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0]]).view(1, 3, 1, 2)
    network = PeakBackpropagation(model)
    passed = network.forward(photo)
    torch.testing.assert_close(passed.class_response_maps, torch.tensor([12.0 - 10, -5.0]).view(1, 1, 1, 2))
    # From the first pixel: all of it goes to hidden unit 0 (unit 1 has a negative weight), then in the ratio
    # 1 * 2 : 2 * 4 = 1 : 4 to red and green; blue's weight is negative. Saturation at 6 does not stop it.
    start = torch.zeros(1, 1, 1, 2)
    start[0, 0, 0, 0] = 1
    below = backward(network._above, start, passed.tape, ImageOfPeak(torch.zeros(1, dtype=torch.int64), True))
    torch.testing.assert_close(below[0, :, 0], torch.tensor([[0.2, 0.0], [0.8, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(
        network.backward(passed, torch.tensor([[0, 1, 0, 0]])), torch.tensor([[[1.0, 0.0]]])
    )


def test_peak_without_source_and_no_peaks():
    model = PeakResponseClassifier(OnePixel(), 2)
    model.classifier.weight.data.fill_(-1)
    photo = torch.ones(1, 3, 2, 3)
    assert torch.equal(peak_response_maps(model, photo, torch.tensor([[0, 2, 1, 1]])), torch.zeros(1, 2, 3))
    empty = torch.zeros(0, 4, dtype=torch.int64)
    assert peak_response_maps(model, photo, empty).shape == (0, 2, 3)
    assert peak_response_maps(make("lite0"), images(1), empty, stop_stride=4).shape == (0, 16, 24)
    assert peak_response_maps(make("resnet18"), images(1), empty, stop_stride=8).shape == (0, 8, 12)


@pytest.mark.parametrize("peak", [[0, 0, 0, 0], [0, 5, 0, 0], [2, 1, 0, 0], [0, 1, 2, 0], [0, 1, 0, -1]])
def test_peak_outside_is_named(peak):
    with pytest.raises(
        InputError, match=rf"from \[0, 1, 0, 0\] to \[1, 4, 1, 2\], got \[{peak[0]}, {peak[1]}"
    ):
        peak_response_maps(make("lite0"), images(2), torch.tensor([peak]))


def test_bad_arguments():
    model = make("tiny")
    with pytest.raises(InputError, match=r"integers \[N, 4\]"):
        peak_response_maps(model, images(1), torch.zeros(2, 4))
    with pytest.raises(InputError, match="stride of 1, 2, 4 or 8"):
        PeakBackpropagation(model, stop_stride=3)
    with pytest.raises(InputError, match="a stride below the network's 4"):
        PeakBackpropagation(model, stop_stride=4)
