"""One pass of the network an image, K samples after it; and its scores differentiated in float64."""

import math

import pytest
import torch

from tests.method.conditional.conditional_cases import noise_maps, random_case
from wsis.errors import NonFiniteError
from wsis.method.backbones.lite_unet import FeatureExtractor
from wsis.method.conditional.architectures import NetworkConfig, build_network
from wsis.method.conditional.energy import EnergyConfig, refine_scores
from wsis.method.conditional.inference import Slots
from wsis.method.conditional.network import ConditionalNetwork, HeadConfig
from wsis.method.conditional.noise import Noise
from wsis.method.conditional.pooling import pool_matrix
from wsis.method.dissimilarity.objective import (
    ImageProblem,
    LearningConfig,
    conditional_scores,
    dissimilarity_loss,
    sample_labels,
)

SIZE = (16, 20)


class Counting(FeatureExtractor):
    """An extractor that counts the images it sees; one 3x3 convolution."""

    channels, stride = 4, 1

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.seen = []

    def forward(self, images):
        self.seen.append(len(images))
        return torch.tanh(self.convolution(images / 255))


def a_network(seed=0, pooling="image", classes=4):
    torch.manual_seed(seed)
    network = ConditionalNetwork(Counting(), classes, HeadConfig(pooling=pooling, temperature=10.0))
    torch.nn.init.normal_(network.classify.weight)
    return network


def a_problem(seed=0, classes=(1, 3), proposals=8):
    superpixels, membership, _, graph = random_case(seed, proposals=proposals, max_neighbours=3)
    slots = Slots(torch.arange(1, len(classes) + 1), graph.containment() > 0.5)
    table = torch.rand(proposals, 1 + len(classes))
    matrix = pool_matrix(superpixels, SIZE, membership.shape[1])
    return ImageProblem(graph, matrix, SIZE, torch.tensor(classes), slots, table, miss=3.0)


def images_of(count):
    return 255 * torch.rand(count, 3, *SIZE)


@pytest.mark.parametrize("samples", [1, 5])
def test_features_are_computed_once_an_image_whatever_k(samples):
    network, problems = a_network(), [a_problem(0), a_problem(1), a_problem(2)]
    noises = [Noise(noise_maps(samples, SIZE)) for _ in problems]
    loss, _ = dissimilarity_loss(network, images_of(3), problems, noises, [False] * 3, LearningConfig())
    loss.backward()
    assert network.extractor.seen == [3]  # one call with the batch, none in the backward pass
    sample_labels(network, images_of(3), problems, noises, EnergyConfig())
    assert network.extractor.seen == [3, 3]


@pytest.mark.parametrize("pooling", ["image", "root"])
def test_k_branches_equal_k_passes(pooling):
    """Scores, labels and gradients of K samples after one pass = K whole passes with one noise sample each."""
    network, problem, images = a_network(pooling=pooling), a_problem(), images_of(1)
    noise = noise_maps(6, SIZE, grid=2)
    weight = torch.randn(6, 8, 3)

    def scores_of(z):
        return conditional_scores(network, network.features(images), [problem], [Noise(z)], EnergyConfig())[0]

    together = scores_of(noise)
    gradient = torch.autograd.grad((weight * together).sum(), list(network.parameters()))
    passes = torch.cat([scores_of(z[None]) for z in noise])
    one_by_one = torch.autograd.grad((weight * passes).sum(), list(network.parameters()))
    torch.testing.assert_close(together, passes, rtol=1e-5, atol=1e-5)
    for branch, separate in zip(gradient, one_by_one, strict=True):
        torch.testing.assert_close(branch, separate, rtol=1e-4, atol=1e-4)
    labels = sample_labels(network, images, [problem], [Noise(noise)], EnergyConfig())[0][0]
    for k, z in enumerate(noise):
        alone = sample_labels(network, images, [problem], [Noise(z[None])], EnergyConfig())[0][0]
        assert torch.equal(labels[k], alone[0])


def test_the_unet_too_runs_once_and_its_branches_are_passes():
    network, problem = build_network(NetworkConfig(architecture="unet", widths=(8, 8, 8)), 4), a_problem()
    images, noise = images_of(1), noise_maps(4, SIZE, grid=2)
    calls = []
    network.extractor.register_forward_hook(lambda *_: calls.append(1))
    labels, scores = sample_labels(network, images, [problem], [Noise(noise)], EnergyConfig())
    assert len(calls) == 1
    for k, z in enumerate(noise):
        alone, value = sample_labels(network, images, [problem], [Noise(z[None])], EnergyConfig())
        assert torch.equal(labels[0][k], alone[0][0])
        torch.testing.assert_close(scores[0][k], value[0][0], rtol=1e-5, atol=1e-5)


def test_scores_of_an_image_do_not_depend_on_padding_or_mirroring():
    network, problem, images = a_network(), a_problem(), images_of(1)
    noise = noise_maps(3, SIZE, grid=2)
    features = network.features(images)

    def scores_of(features, flipped=False):
        return conditional_scores(network, features, [problem], [Noise(noise)], EnergyConfig(), [flipped])[0]

    expected = scores_of(features)
    padded = torch.nn.functional.pad(features, (0, 7, 0, 5), value=9.0)
    torch.testing.assert_close(scores_of(padded), expected)
    mirrored = torch.nn.functional.pad(features.flip(-1), (0, 7), value=9.0)[..., : SIZE[1]]
    torch.testing.assert_close(scores_of(mirrored, flipped=True), expected)


@pytest.mark.parametrize("pooling", ["image", "root"])
@pytest.mark.parametrize("pairwise", ["literal", "diffuse"])
def test_gradcheck_of_whole_proposal_scores(pooling, pairwise):
    """Features, noise weights, class weights and temperature -> refined scores, in float64."""
    network = a_network(pooling=pooling).double()
    problem = a_problem(proposals=4)
    size = (3, 4)
    superpixels, membership, _, _ = random_case(0, proposals=4, max_neighbours=3)
    matrix = pool_matrix(superpixels, size, membership.shape[1]).double()
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    noise = torch.rand(2, *size, dtype=torch.float64, generator=generator)
    config = EnergyConfig(pairwise=pairwise)
    parameters = (
        network.noise_weight,
        network.classify.weight,
        network.classify.bias,
        network.log_temperature,
    )
    network.log_temperature.data.fill_(math.log(2.0))

    def scores(x, *_):
        unary = network.proposal_scores(x, noise, matrix, problem.graph, problem.classes)
        return refine_scores(unary, problem.graph, config)

    assert torch.autograd.gradcheck(scores, (features, *parameters), fast_mode=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_stop_sampling_and_learning(value):
    network, problems, images = a_network(), [a_problem(0), a_problem(1)], images_of(2)
    noises = [Noise(noise_maps(2, SIZE)) for _ in problems]
    with torch.no_grad():
        network.mix.bias[0] = value
    with pytest.raises(NonFiniteError, match="a feature is NaN or infinite"):
        sample_labels(network, images, problems, noises, EnergyConfig())
    with pytest.raises(NonFiniteError, match="a feature is NaN or infinite"):
        dissimilarity_loss(network, images, problems, noises, [False] * 2, LearningConfig())
