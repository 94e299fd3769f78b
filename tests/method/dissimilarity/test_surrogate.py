import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.errors import InputError
from wsis.method.conditional.energy import labelling_score
from wsis.method.conditional.inference import Slots, infer
from wsis.method.dissimilarity.surrogate import (
    SurrogateConfig,
    augmented_scores,
    sample_pairs,
    surrogate_weights,
)
from wsis.method.dissimilarity.targets import targets_from_labels
from wsis.method.dissimilarity.task_loss import (
    CLAMP,
    labelling_loss,
    loss_table,
    miss_cost,
    sample_loss_tables,
)


def problem(seed=0, proposals=5, columns=(1, 2)):
    """A problem small enough to enumerate: its graph, slots, and the table of one labelling as targets."""
    _, _, _, graph = random_case(seed, proposals=proposals)
    slots = Slots(torch.tensor(columns), graph.containment() > 0.5)
    labels = torch.zeros(proposals, dtype=torch.int64)
    labels[1], labels[3] = 1, len(columns)
    targets = targets_from_labels(labels, graph.membership, 2)
    return graph, slots, loss_table(graph, targets, torch.tensor(columns)), miss_cost(targets)


def solve(scores, slots):
    return infer([scores], [slots])[0]


@pytest.mark.parametrize("direction", ["away", "towards"])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_weights_are_the_gradient_of_algorithm_2_written_out(direction, gamma):
    graph, slots, table, _ = problem()
    epsilon, samples = 0.7, 4
    config = SurrogateConfig(gamma=gamma, epsilon=epsilon, direction=direction)
    scores = torch.randn(samples, 5, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = solve(scores.detach(), slots)
    tables = sample_loss_tables(labels, graph, 3)
    solutions = solve(augmented_scores(scores.detach(), table, tables, config), slots)
    weights = surrogate_weights(labels, solutions, 3, config)

    def value(k, y):
        return labelling_score(scores[k], y)

    total, sign = torch.zeros(()), {"away": 1, "towards": -1}[direction]
    for k in range(samples):
        y_a = solve((scores[k] + sign * epsilon * table)[None].detach(), slots)[0]
        total = total + (value(k, y_a) - value(k, labels[k])) / samples
    for k in range(samples):
        for other in range(samples):
            if other != k:
                y_b = solve((scores[k] + sign * epsilon * tables[other])[None].detach(), slots)[0]
                difference = value(k, y_b) - value(other, labels[other])
                total = total - gamma * 2 / (samples * (samples - 1)) * difference
    total = sign * total / epsilon
    total.backward()
    torch.testing.assert_close(weights, scores.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((weights * scores).sum(), total, rtol=1e-4, atol=1e-4)


def estimate(theta, noise, config, graph, slots, table):
    """The surrogate's gradient at theta, averaged over groups of K noise samples: noise [groups, K, P, J]."""
    gradient = torch.zeros_like(theta)
    for group in noise:
        scores = theta + group
        labels = solve(scores, slots)
        tables = sample_loss_tables(labels, graph, theta.shape[1])
        solutions = solve(augmented_scores(scores, table, tables, config), slots)
        gradient += surrogate_weights(labels, solutions, theta.shape[1], config).sum(0)
    return gradient / len(noise)


def expected_dissimilarity(theta, noise, gamma, graph, slots, table, misses):
    """DIV(p,c) - gamma DIV(c,c) at theta from the samples themselves (eq. 11a, 11b), no surrogate involved."""
    groups, samples = noise.shape[:2]
    labels = solve((theta + noise).flatten(0, 1), slots)
    value = labelling_loss(table, labels, misses).mean()
    if gamma == 0:
        return float(value)
    tables = sample_loss_tables(labels, graph, theta.shape[1]).reshape(groups, samples, *theta.shape)
    labels = labels.reshape(groups, samples, -1)
    first, second = sample_pairs(samples)
    costs = (labels > 0).sum(2) * CLAMP
    diversity = labelling_loss(tables[:, second], labels[:, first], costs[:, second]).mean()
    return float(value - gamma * diversity)


@pytest.mark.parametrize("direction", ["away", "towards"])
@pytest.mark.parametrize(("gamma", "bound"), [(0.0, 0.9), (0.5, 0.7)])
def test_gradient_agrees_with_finite_differences_of_the_expected_loss(direction, gamma, bound):
    graph, slots, table, misses = problem(seed=3, proposals=4, columns=(1,))
    generator = torch.Generator().manual_seed(0)
    theta = 0.5 * torch.randn(4, 2, generator=generator)
    noise = torch.randn(1500, 4, 4, 2, generator=generator)
    config = SurrogateConfig(gamma=gamma, epsilon=0.1, direction=direction)
    gradient = estimate(theta, noise[:600], config, graph, slots, table)
    numeric = torch.zeros_like(theta)
    step = 0.25
    for index in range(theta.numel()):
        shift = torch.zeros(theta.numel())
        shift[index] = step
        shift = shift.reshape(theta.shape)
        up = expected_dissimilarity(theta + shift, noise, gamma, graph, slots, table, misses)
        down = expected_dissimilarity(theta - shift, noise, gamma, graph, slots, table, misses)
        numeric.flatten()[index] = (up - down) / (2 * step)
    cosine = float(torch.nn.functional.cosine_similarity(gradient.flatten(), numeric.flatten(), dim=0))
    assert cosine > bound, (cosine, gradient, numeric)


def test_descent_moves_the_argmax_to_the_targets():
    graph, slots, table, misses = problem(seed=3, proposals=6, columns=(1, 2))
    config = SurrogateConfig(gamma=0.0)
    scores = torch.zeros(6, 3)
    scores[0, 1], scores[2, 2] = 2.0, 2.0  # starts on wrong proposals
    first = float(labelling_loss(table, solve(scores[None], slots), misses)[0])
    for _ in range(60):
        labels = solve(scores[None], slots)
        tables = sample_loss_tables(labels, graph, 3)
        solutions = solve(augmented_scores(scores[None], table, tables, config), slots)
        scores = scores - 0.2 * surrogate_weights(labels, solutions, 3, config)[0]
    last = float(labelling_loss(table, solve(scores[None], slots), misses)[0])
    assert last == pytest.approx(0.0, abs=0.05) and first > 2.0


def test_one_sample_has_no_self_diversity():
    graph, slots, table, _ = problem()
    config = SurrogateConfig(gamma=0.5, direction="away")
    scores = torch.randn(1, 5, 3)
    tables = sample_loss_tables(solve(scores, slots), graph, 3)
    assert len(augmented_scores(scores, table, tables, config)) == 1


def test_solutions_of_other_problems_are_named():
    with pytest.raises(InputError, match="augmented: expected 1 solutions"):
        surrogate_weights(
            torch.zeros(1, 3, dtype=torch.int64),
            torch.zeros(2, 3, dtype=torch.int64),
            2,
            SurrogateConfig(direction="away"),
        )
