import pytest
import torch

from tests.method.conditional.conditional_cases import dense_masks, noise_maps, random_case
from wsis.errors import InputError
from wsis.method.backbones.lite_unet import FeatureExtractor, LiteUNet
from wsis.method.conditional.architectures import NetworkConfig, build_network
from wsis.method.conditional.network import ConditionalNetwork, HeadConfig
from wsis.method.conditional.pooling import pool_matrix
from wsis.method.conditional.unet import UNet


class Given(FeatureExtractor):
    """An extractor that passes its input on."""

    channels, stride = 3, 1

    def forward(self, images):
        return images


def paper_scores(network, features, noise, superpixels, membership, classes, pooling):
    """The paper's words: concatenate noise, 1x1 conv, ReLU, multiply by each mask, 1x1 conv, average over the image."""
    depth = features.shape[0]
    weight = torch.cat([network.mix.weight[:, :, 0, 0], network.noise_weight[:, None]], 1)
    mixing = torch.nn.Conv2d(depth + 1, depth, 1)
    mixing.weight.data, mixing.bias.data = weight[:, :, None, None].clone(), network.mix.bias.data.clone()
    masks = dense_masks(superpixels, membership)
    columns = torch.tensor([0, *classes])
    result = []
    for z in noise:
        hidden = torch.relu(mixing(torch.cat([features, z[None]])[None]))
        upsampled = torch.nn.functional.interpolate(
            hidden, superpixels.shape, mode="bilinear", align_corners=False
        )[0]
        masked = upsampled[None] * masks[:, None]
        maps = torch.einsum("jd,pdhw->pjhw", network.classify.weight[columns], masked)
        share = masks.mean((1, 2)).sqrt()[:, None] if pooling == "root" else 1.0
        pooled = maps.mean((2, 3)) / share
        result.append(pooled * network.log_temperature.exp() + network.classify.bias[columns])
    return torch.stack(result)


@pytest.mark.parametrize("pooling", ["image", "root"])
@pytest.mark.parametrize("size", [(16, 20), (4, 5)])
def test_scores_equal_the_paper_word_for_word(pooling, size):
    torch.manual_seed(0)
    superpixels, membership, _, graph = random_case(0)
    network = ConditionalNetwork(Given(), 4, HeadConfig(pooling=pooling))
    images = torch.randn(1, 3, *size)
    noise = noise_maps(3, size, grid=2)
    matrix = pool_matrix(superpixels, size, membership.shape[1])
    scores = network.proposal_scores(network.features(images)[0], noise, matrix, graph, torch.tensor([2, 4]))
    with torch.no_grad():
        expected = paper_scores(network, images[0], noise, superpixels, membership, [2, 4], pooling)
        torch.testing.assert_close(scores.detach(), expected, rtol=1e-4, atol=1e-4)


def test_noise_moves_scores_and_equal_noise_does_not():
    torch.manual_seed(0)
    superpixels, membership, _, graph = random_case(0)
    network = ConditionalNetwork(Given(), 2, HeadConfig())
    features = network.features(torch.randn(1, 3, 8, 10))[0]
    matrix = pool_matrix(superpixels, (8, 10), membership.shape[1])
    zero = network.proposal_scores(
        features, noise_maps(3, (8, 10), zero=True), matrix, graph, torch.tensor([1])
    )
    assert torch.equal(zero[0], zero[1]) and torch.equal(zero[0], zero[2])
    drawn = network.proposal_scores(
        features, noise_maps(3, (8, 10), grid=2), matrix, graph, torch.tensor([1])
    )
    gain = (drawn[..., 1] - drawn[..., 0]).detach()
    assert float(gain.std(0).min()) > 1e-4


def test_unet_has_kohls_widths_and_full_resolution():
    network = UNet()
    assert [block[0].out_channels for block in network.encoder] == [32, 64, 128, 192, 192, 192]
    assert [block[0].out_channels for block in network.decoder] == [192, 192, 128, 64, 32]
    assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 32, 64, 96)
    assert UNet((4, 8, 8))(torch.zeros(1, 3, 33, 45)).shape == (1, 4, 33, 45)


@pytest.mark.parametrize("stride", [2, 4])
def test_lite_unet_shapes_and_frozen_parts(stride):
    network = LiteUNet(None, stride=stride)
    features = network(torch.zeros(2, 3, 64, 96))
    assert features.shape == (2, 32, 64 // stride, 96 // stride)
    features.sum().backward()
    assert network.encoder.blocks[0].depthwise.conv.weight.grad is None
    assert network.encoder.blocks[-1].project.conv.weight.grad is not None


def test_features_do_not_depend_on_the_rest_of_the_batch():
    torch.manual_seed(0)
    network = LiteUNet(None).train()
    images = 255 * torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["unet", "lite_unet", "lite2_unet", "resnet18"])
def test_every_architecture_gives_scores(architecture):
    superpixels, membership, _, graph = random_case(0)
    stride = {"unet": 1, "lite_unet": 4, "lite2_unet": 4, "resnet18": 16}[architecture]
    config = NetworkConfig(
        architecture=architecture, pretrained=None, widths=(8, 8, 16), stride=stride, channels=16
    )
    network = build_network(config, 3)
    features = network.features(255 * torch.rand(1, 3, 64, 96))[0]
    assert network.extractor.stride == stride
    size = (64 // stride, 96 // stride)
    assert features.shape[1:] == size
    matrix = pool_matrix(superpixels, size, membership.shape[1])
    scores = network.proposal_scores(features, noise_maps(2, size), matrix, graph, torch.tensor([1, 2, 3]))
    assert scores.shape == (2, 12, 4)


def test_resnet_50_keeps_its_2048_channels_by_the_letter():
    network = build_network(NetworkConfig(architecture="resnet50", pretrained=None, stride=32, channels=0), 3)
    assert network.extractor.channels == 2048


def test_parameter_groups_cover_every_trained_parameter_once():
    network = build_network(NetworkConfig(pretrained=None), 3)
    groups = network.parameter_groups(1e-3)
    grouped = [id(p) for group in groups for p in group["params"]]
    trained = [id(p) for p in network.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trained)
    assert [group["lr"] for group in groups] == [1e-3, pytest.approx(1e-4)]


def test_bad_descriptions_are_named():
    with pytest.raises(InputError, match="stride: expected 2 or 4"):
        LiteUNet(None, stride=8)
    with pytest.raises(InputError, match="num_classes"):
        ConditionalNetwork(Given(), 0, HeadConfig())
    with pytest.raises(InputError, match="stride: expected 16 or 32"):
        build_network(NetworkConfig(architecture="resnet18", pretrained=None, stride=4), 2)


def test_weights_of_before_with_a_margin_of_zero_are_loaded():
    network = ConditionalNetwork(Given(), 2, HeadConfig())
    stored = {name: value + 1 for name, value in network.state_dict().items()}
    network.load_state_dict(stored | {"margin": torch.zeros(3)})
    assert all(torch.equal(value, stored[name]) for name, value in network.state_dict().items())
