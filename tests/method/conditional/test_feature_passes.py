"""Ways to run the feature extractor: checkpointed, in lower precision."""

import pytest
import torch

from wsis.errors import InputError
from wsis.method.backbones.lite_unet import LiteUNet
from wsis.method.conditional.architectures import NetworkConfig, build_network, save_activations

UNET = NetworkConfig(architecture="unet", widths=(4, 8, 8))
LITE = NetworkConfig(pretrained=None, channels=8)
PRETRAINED = NetworkConfig(channels=8)


def loss_and_gradients(network, images):
    network.zero_grad()
    loss = network.features(images).square().mean()
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


class Kept:
    """Bytes of all tensors that a forward pass keeps for its backward pass."""

    def __init__(self):
        self.bytes = 0

    def __call__(self, tensor):
        self.bytes += tensor.nbytes
        return tensor


@pytest.mark.parametrize("config", [UNET, LITE], ids=lambda c: c.architecture)
def test_checkpointing_gives_the_same_loss_and_gradients_and_keeps_less(config):
    torch.manual_seed(0)
    network = build_network(config, 3).train()
    images = 255 * torch.rand(2, 3, 64, 96)
    results, kept = [], []
    for checkpointed in (False, True):
        if checkpointed:
            save_activations(network)
        count = Kept()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            network.features(images)
        kept.append(count.bytes)
        results.append(loss_and_gradients(network, images))
    assert kept[1] < 0.5 * kept[0]
    assert torch.equal(results[0][0], results[1][0])
    assert list(results[0][1]) == list(results[1][1])
    for name, gradient in results[0][1].items():
        assert torch.equal(gradient, results[1][1][name]), name


def test_checkpointing_counts_no_batch_twice():
    """A BatchNorm that learns its statistics must see every batch once."""
    torch.manual_seed(0)
    networks = [LiteUNet(None, batch_norm="train").train() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    networks[1].checkpointing = True
    images = 255 * torch.rand(2, 3, 64, 64)
    for network in networks:
        network(images).mean().backward()
    state = networks[1].state_dict()
    for name, value in networks[0].state_dict().items():
        assert torch.equal(value, state[name]), name


def test_checkpointing_of_a_resnet_is_refused():
    with pytest.raises(InputError, match="checkpointing: unet and lite_unet"):
        save_activations(build_network(NetworkConfig(architecture="resnet18", pretrained=None, stride=16), 2))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("config", [UNET, PRETRAINED], ids=lambda c: c.architecture)
def test_lower_precision_rounds_the_features_and_gives_float32(config, precision):
    torch.manual_seed(0)
    network = build_network(config, 3)
    images = 255 * torch.rand(1, 3, 64, 96)
    full, gradients = loss_and_gradients(network, images)
    features = network.features(images).detach()
    network.precision = precision
    rounded = network.features(images).detach()
    assert rounded.dtype == torch.float32
    error = float((rounded - features).abs().max() / features.abs().max())
    assert 0 < error < 0.1
    loss, rounded_gradients = loss_and_gradients(network, images)
    torch.testing.assert_close(loss, full, rtol=0.05, atol=0)
    assert list(gradients) == list(rounded_gradients)
    assert all(gradient.dtype == torch.float32 for gradient in rounded_gradients.values())
