"""How many samples loss-augmented inference still moves, and the value on held-back images."""

import pytest
import torch

from tests.method.conditional.conditional_cases import noise_maps, random_case
from wsis.method.backbones.lite_unet import FeatureExtractor
from wsis.method.conditional.inference import Slots
from wsis.method.conditional.network import ConditionalNetwork, HeadConfig
from wsis.method.conditional.noise import Noise
from wsis.method.conditional.pooling import pool_matrix
from wsis.method.dissimilarity.objective import (
    ImageProblem,
    LearningConfig,
    dissimilarity_loss,
    estimate_dissimilarity,
    reached,
    surrogate_of_scores,
)
from wsis.method.dissimilarity.surrogate import SurrogateConfig, reach_penalty
from wsis.method.dissimilarity.task_loss import CLAMP


class Given(FeatureExtractor):
    """An extractor that passes its input on."""

    channels, stride = 3, 1

    def forward(self, images):
        return images


@pytest.mark.parametrize(
    ("direction", "changed", "expected"),
    [
        # K = 3: three problems against the targets, then the pairs 01 02 10 12 20 21
        ("away", [], 0.0),
        ("away", [1], 1 / 3),
        ("away", [1, 5, 6], 1 / 3),  # all of sample 1
        ("away", [0, 8], 2 / 3),
        ("towards", [0, 4, 6, 2], 1.0),
    ],
)
def test_hand_worked_reach(direction, changed, expected):
    labels = torch.tensor([[1, 0], [0, 1], [0, 0]])
    own = [0, 1, 2, 0, 0, 1, 1, 2, 2]
    augmented = labels[own].clone()
    augmented[changed, 0] += 2
    changed = reached(labels, augmented, SurrogateConfig(direction=direction))
    assert float(changed.float().mean()) == pytest.approx(expected)


def test_reach_without_self_diversity():
    labels = torch.tensor([[1, 0], [0, 1]])
    augmented = torch.tensor([[1, 0], [2, 1]])
    assert reached(labels, augmented, SurrogateConfig(gamma=0.0)).tolist() == [False, True]
    assert reached(labels[:1], augmented[1:], SurrogateConfig()).tolist() == [True]


def problem_of(seed):
    superpixels, membership, _, graph = random_case(seed)
    generator = torch.Generator().manual_seed(seed)
    return ImageProblem(
        graph,
        pool_matrix(superpixels, (8, 10), membership.shape[1]),
        (8, 10),
        torch.tensor([1, 3]),
        Slots(torch.tensor([1, 2]), graph.containment() > 0.5),
        3 * torch.rand(len(membership), 3, generator=generator),
        miss=3.0,
    )


def test_the_held_back_estimate_is_what_training_logs():
    torch.manual_seed(0)
    network = ConditionalNetwork(Given(), 3, HeadConfig(temperature=100.0))
    network.noise_weight.data *= 30
    problems = [problem_of(0), problem_of(1)]
    images = torch.randn(2, 3, 8, 10)
    noises = [Noise(noise_maps(4, (8, 10), grid=2)) for _ in problems]
    config = LearningConfig(gamma=0.5, reach_weight=0)
    _, logs = dissimilarity_loss(network, images, problems, noises, [False, False], config)
    estimate = estimate_dissimilarity(network, images, problems, noises, config)
    assert estimate == {name: logs[name] for name in estimate}
    assert set(logs) - set(estimate) == {"surrogate", "reach"}
    assert logs["dissimilarity"] == pytest.approx(logs["div_pc"] - 0.5 * logs["div_cc"])
    assert logs["div_cc"] > 0


def test_scores_far_apart_are_out_of_reach():
    """The trap: the task loss is bounded, so no loss-augmented inference changes a sample."""
    torch.manual_seed(0)
    network = ConditionalNetwork(Given(), 3, HeadConfig(temperature=10.0))
    images, problems, noises = (
        torch.randn(1, 3, 8, 10),
        [problem_of(0)],
        [Noise(noise_maps(4, (8, 10), grid=2))],
    )
    reaches = []
    for scale in (1.0, 1e6):
        network.log_temperature.data.fill_(torch.tensor(10 * scale).log())
        loss, logs = dissimilarity_loss(
            network, images, problems, noises, [False], LearningConfig(reach_weight=0)
        )
        network.zero_grad()
        loss.backward()
        reaches.append((logs["reach"], float(network.classify.weight.grad.abs().max())))
    assert reaches[0][0] > 0.5 and reaches[0][1] > 0
    assert reaches[1] == (0.0, 0.0)


def test_hand_worked_reach_penalty():
    scores = torch.tensor([[[1.0, 5.0, 3.5], [0.0, -9.0, 3.0]], [[2.0, 2.0, 9.0], [4.0, 0.0, 0.0]]])
    # margins 4, 2.5, -9, 3 and 0, 7, -4, -4; over a reach of 3: 1 and 4
    assert float(reach_penalty(scores, 3.0)) == pytest.approx((1 + 16) / 2)
    assert float(reach_penalty(scores[:, :0], 3.0)) == 0.0


def test_the_penalty_leads_back_into_reach():
    """Margins that no loss-augmented inference overcomes shrink until one does."""
    config, problem = LearningConfig(), problem_of(0)
    scores = torch.zeros(4, *problem.target_table.shape)
    scores[..., 1:] = 50 + 20 * torch.arange(scores[0, :, 1:].numel()).square().reshape(-1, 2)
    scores.requires_grad_()
    limit = config.epsilon * CLAMP
    margins = (scores[..., 1:] - scores[..., :1]).detach()
    before = surrogate_of_scores([scores.detach()], [problem], config)[1]["reach"]
    for _ in range(50):
        (gradient,) = torch.autograd.grad(reach_penalty(scores, limit), scores)
        scores.data -= 0.5 * gradient
    after = surrogate_of_scores([scores.detach()], [problem], config)[1]["reach"]
    assert before == 0 and after == 1
    assert margins.max() > 1e3 and reach_penalty(scores.detach(), limit + 1e-3) == 0
