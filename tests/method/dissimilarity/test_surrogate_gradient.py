"""Algorithm 2's gradient on problems small enough to enumerate, each diversity by itself (departure D8).

The reference knows neither inference nor the surrogate: every labelling is written down with its Delta against every
other one, the distribution over labelings is counted over many noise samples, and
DIV(p, c) = sum_y p(y) Delta(y_p, y), DIV(c, c) = sum_{y, y'} p(y) p(y') Delta(y', y) are differentiated numerically.
"""

import itertools

import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.method.conditional.graph import build_graph
from wsis.method.conditional.inference import Slots, infer
from wsis.method.dissimilarity.surrogate import SurrogateConfig, augmented_scores, surrogate_weights
from wsis.method.dissimilarity.targets import targets_from_labels
from wsis.method.dissimilarity.task_loss import (
    labelling_loss,
    loss_table,
    miss_cost,
    sample_loss_tables,
)


class Enumerated:
    """All labelings of a small problem that Algorithm 1 may return, and Delta between every two of them."""

    def __init__(self, membership, columns, target, seed=0):
        superpixels, _, boundary, _ = random_case(seed)
        graph = build_graph(superpixels, membership.numpy(), *boundary)
        suppress = graph.containment() > 0.5
        self.suppress, self.columns = suppress | suppress.T, columns
        self.slots = Slots(torch.tensor(columns), self.suppress)
        self.graph, self.width = graph, 1 + max(columns)
        every = itertools.product([0, *columns], repeat=len(membership))
        self.labelings = torch.tensor([y for y in every if self.allowed(y)])
        self.table, self.miss = self.against(torch.tensor(target))
        self.to_target = labelling_loss(self.table, self.labelings, self.miss)
        costs = [self.against(y) for y in self.labelings]
        self.between = torch.stack([labelling_loss(t, self.labelings, m) for t, m in costs])

    def allowed(self, labels):
        pairs = itertools.combinations(range(len(labels)), 2)
        together = any(labels[u] and labels[u] == labels[v] and self.suppress[u, v] for u, v in pairs)
        return not together and all(j in labels for j in self.columns)

    def against(self, labels):
        targets = targets_from_labels(labels, self.graph.membership, self.width - 1)
        return loss_table(self.graph, targets, torch.tensor(self.columns)), miss_cost(targets)

    def best(self, scores):
        """Index of argmax S over all labelings, by enumeration: scores [..., P, J]."""
        one_hot = torch.nn.functional.one_hot(self.labelings, self.width).flatten(1).to(scores.dtype)
        return (scores.flatten(-2) @ one_hot.T).argmax(-1)

    def diversities(self, theta, noise):
        """DIV(p, c) and DIV(c, c) of the distribution over labelings at theta, noise [R, P, J]."""
        share = torch.bincount(self.best(theta + noise), minlength=len(self.labelings)).double() / len(noise)
        return share @ self.to_target.double(), share @ self.between.double() @ share

    def numeric_gradients(self, theta, noise, step=0.1):
        """Central differences of both diversities with common noise, float64 [2, P, J]."""
        result = torch.zeros(2, *theta.shape, dtype=torch.float64)
        for u, j in itertools.product(*map(range, theta.shape)):
            moved = theta.clone()
            moved[u, j] += step
            up = self.diversities(moved, noise)
            moved[u, j] -= 2 * step
            down = self.diversities(moved, noise)
            result[:, u, j] = (torch.stack(up) - torch.stack(down)) / (2 * step)
        return result

    def surrogate_gradient(self, theta, groups, config):
        """The surrogate's gradient at theta, averaged over groups of K noise samples: [groups, K, P, J]."""
        scores = list(theta + groups)
        slots = [self.slots] * len(scores)
        labels = infer(scores, slots)
        problems = [
            augmented_scores(s, self.table, sample_loss_tables(y, self.graph, self.width), config)
            for s, y in zip(scores, labels, strict=True)
        ]
        solutions = infer(problems, slots)
        weights = [
            surrogate_weights(y, a, self.width, config).sum(0) for y, a in zip(labels, solutions, strict=True)
        ]
        return torch.stack(weights).mean(0)


def disjoint(columns, target):
    """Four disjoint proposals: Delta is symmetric, greedy is optimal for one class."""
    membership = torch.zeros(4, 20, dtype=torch.bool)
    for u in range(4):
        membership[u, 5 * u : 5 * u + 5] = True
    return Enumerated(membership, columns, target)


def overlapping(columns, target):
    """Two pairs of proposals that match each other at IoU 2/3, and one between them that matches none."""
    membership = torch.zeros(5, 20, dtype=torch.bool)
    for u, (start, stop) in enumerate([(0, 5), (0, 7), (10, 15), (10, 17), (6, 12)]):
        membership[u, start:stop] = True
    return Enumerated(membership, columns, target)


PROBLEMS = {
    "disjoint": lambda: disjoint([1], [1, 0, 1, 0]),
    "overlapping": lambda: overlapping([1], [1, 0, 0, 1, 0]),
    "two classes": lambda: overlapping([1, 2], [1, 0, 0, 2, 0]),
}


def cosine(first, second):
    return float(torch.nn.functional.cosine_similarity(first.double().flatten(), second.flatten(), dim=0))


@pytest.fixture(scope="module", params=PROBLEMS)
def enumerated(request):
    problem = PROBLEMS[request.param]()
    generator = torch.Generator().manual_seed(0)
    theta = 0.5 * torch.randn(len(problem.suppress), problem.width, generator=generator)
    noise = torch.randn(40_000, *theta.shape, generator=generator)
    groups = torch.randn(500, 4, *theta.shape, generator=generator)
    return problem, theta, groups, problem.numeric_gradients(theta, noise)


def test_inference_finds_the_enumerated_argmax(enumerated):
    """Otherwise the two gradients would be of different distributions."""
    problem, theta, groups, _ = enumerated
    scores = (theta + groups).flatten(0, 1)
    found = infer([scores], [problem.slots])[0]
    best = problem.labelings[problem.best(scores)]
    assert float((found == best).all(1).float().mean()) > (0.999 if len(problem.columns) == 1 else 0.8)


def asymmetry(problem):
    """Largest |Delta(y, y') - Delta(y', y)|: Algorithm 2 writes both halves of DIV(c, c)'s gradient as one, times 2."""
    return float((problem.between - problem.between.T).abs().max())


def test_delta_of_labelings_is_symmetric_unless_two_classes_share_an_object(enumerated):
    problem, *_ = enumerated
    torch.testing.assert_close(problem.between.diagonal(), torch.zeros(len(problem.labelings)))
    if len(problem.columns) == 1:
        assert asymmetry(problem) < 1e-5
    else:  # proposals of IoU 5/7 under two classes: each labelling's are both matched to one of the other
        assert asymmetry(problem) > 0.1


@pytest.mark.parametrize("direction", ["away", "towards"])
def test_each_diversity_descends_as_the_expected_loss(enumerated, direction):
    problem, theta, groups, numeric = enumerated
    cross = problem.surrogate_gradient(
        theta, groups, SurrogateConfig(gamma=0.0, epsilon=0.2, direction=direction)
    )
    both = problem.surrogate_gradient(
        theta, groups, SurrogateConfig(gamma=1.0, epsilon=0.2, direction=direction)
    )
    own = cross - both  # gamma = 1 subtracts DIV(c, c) once
    alike = [cosine(cross, numeric[0]), cosine(own, numeric[1])]
    sizes = [float(g.norm() / n.norm()) for g, n in zip((cross, own), numeric, strict=True)]
    print(direction, alike, sizes)
    # Measured: .95 and above for both, but .82 to .91 for DIV(c, c) where Delta is not symmetric.
    assert alike[0] > 0.93
    assert alike[1] > (0.97 if asymmetry(problem) < 1e-5 else 0.75)
    assert 0.8 < sizes[0] < 1.25
    assert 0.5 < sizes[1] < 1.6
