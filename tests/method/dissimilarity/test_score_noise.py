"""Noise of the scores: what it draws, and why the surrogate needs it."""

import numpy as np
import pytest
import torch

from wsis.errors import InputError
from wsis.method.conditional.graph import build_graph
from wsis.method.conditional.inference import Slots
from wsis.method.conditional.noise import Noise, score_noise
from wsis.method.conditional.pooling import pool_matrix
from wsis.method.dissimilarity.objective import ImageProblem, LearningConfig, surrogate_of_scores
from wsis.method.dissimilarity.targets import one_hot_targets
from wsis.method.dissimilarity.task_loss import loss_table, miss_cost

PROPOSALS, TARGET, SCALE = 6, 2, 0.05
LEARNING = LearningConfig(gamma=0.0)


def test_the_argmax_of_noisy_scores_is_a_draw_from_the_softmax():
    scores = torch.tensor([0.1, 0.0, -0.05, 0.08])
    noise = score_noise((40_000, 4, 2), 0.1, torch.Generator().manual_seed(0))
    drawn = (scores + noise[..., 1]).argmax(1)
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(share, torch.softmax(scores / 0.1, 0), rtol=0, atol=0.01)
    assert abs(float(noise[..., 1].mean())) < 1e-3 and torch.isfinite(noise).all()
    assert not noise[..., 0].any()  # the background stays what it is


def test_noise_of_no_size_and_a_bad_size():
    assert not score_noise((2, 3, 2), 0.0).any()
    with pytest.raises(InputError, match="scale >= 0"):
        score_noise((2, 3, 2), -0.1)
    noise = Noise(torch.zeros(2, 4, 4))
    assert noise.scores is None


@pytest.fixture(scope="module")
def problem():
    """Six proposals beside each other and one class; the third is the target."""
    superpixels = np.repeat(np.arange(PROPOSALS)[None], 4, 0).repeat(4, 1)
    edges = np.stack([np.arange(PROPOSALS - 1), np.arange(1, PROPOSALS)], 1)
    ones = np.ones(PROPOSALS - 1, np.float32)
    graph = build_graph(superpixels, np.eye(PROPOSALS, dtype=bool), edges, ones, ones)
    targets = one_hot_targets(torch.tensor([1]), graph.membership[TARGET : TARGET + 1].float(), 1)
    return ImageProblem(
        graph,
        pool_matrix(superpixels, (4, 4), PROPOSALS),
        (4, 4),
        torch.tensor([1]),
        Slots(torch.tensor([1]), graph.contains(0.5)),
        loss_table(graph, targets, torch.tensor([1])),
        miss_cost(targets),
    )


def scores_of(samples, values):
    """The same class scores in every sample, below a background of 2."""
    scores = torch.zeros(samples, PROPOSALS, 2)
    scores[..., 0], scores[..., 1] = 2.0, values
    return scores


def test_the_expected_gradient_is_that_of_cross_entropy(problem):
    """Where scores differ by less than the task loss: softmax minus the target."""
    values = SCALE * torch.randn(PROPOSALS, generator=torch.Generator().manual_seed(1))
    scores, generator = scores_of(100, values), torch.Generator().manual_seed(2)
    noisy = [scores + score_noise((100, PROPOSALS, 2), SCALE, generator) for _ in range(100)]
    weights = torch.stack(surrogate_of_scores(noisy, [problem] * 100, LEARNING)[0]).mean(0)
    expected = torch.softmax(values / SCALE, 0)
    expected[TARGET] -= 1
    torch.testing.assert_close(weights[..., 1].sum(0), expected, rtol=0, atol=0.015)


def test_without_it_smaller_scores_are_never_worse_and_with_it_right_ones_grow(problem):
    """d surrogate / d scale of all scores: the perceptron's loss is least where all are equal."""

    def slope(values, noise):
        scores = scores_of(100, values)
        (weights,), _ = surrogate_of_scores([scores + noise], [problem], LEARNING)
        return float((weights[..., 1] * scores[..., 1]).sum())

    generator = torch.Generator().manual_seed(3)
    nothing = torch.zeros(100, PROPOSALS, 2)
    right = torch.zeros(PROPOSALS)
    right[TARGET] = SCALE
    for _ in range(50):
        assert slope(SCALE * torch.randn(PROPOSALS, generator=generator), nothing) >= 0
    assert slope(right, nothing) == 0
    assert slope(right, score_noise((100, PROPOSALS, 2), SCALE, generator)) < -0.3 * SCALE
