from functools import partial

import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import random_case
from wsis.errors import InputError
from wsis.method.conditional.noise import upsampled
from wsis.method.dissimilarity.image_problem import ImageArrays, ProblemConfig, build_problem, network_size
from wsis.method.dissimilarity.network_inputs import (
    SamplingConfig,
    image_batch,
    image_key,
    image_noise,
    resized,
)
from wsis.method.dissimilarity.targets import targets_from_labels


def arrays(labels=(2, 5), boxes=(), box_labels=()):
    superpixels, membership, (edges, contours, lengths), _ = random_case(0)
    proposal_boxes = np.stack([[i, 0, i + 8, 8] for i in range(12)]).astype(np.float32)
    return ImageArrays(
        superpixels,
        membership,
        proposal_boxes,
        np.linspace(1, 0.1, len(membership), dtype=np.float32),
        edges,
        contours,
        lengths,
        np.array(labels),
        np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(box_labels),
    )


def test_image_level_slots_are_the_annotated_classes():
    problem = build_problem(arrays(), (4, 5), ProblemConfig())
    assert problem.classes.tolist() == [2, 5] and problem.slots.columns.tolist() == [1, 2]
    assert problem.slots.box_iou is None and problem.target_table is None
    assert torch.equal(problem.slots.suppress, problem.graph.containment() > 0.5)
    assert problem.matrix.shape == (20, 20)


def test_box_slots_are_the_boxes():
    problem = build_problem(
        arrays(boxes=[[0, 0, 8, 8], [4, 0, 12, 8]], box_labels=[5, 2]), (4, 5), ProblemConfig()
    )
    assert problem.slots.columns.tolist() == [2, 1]
    assert problem.slots.box_iou.shape == (12, 2)
    assert float(problem.slots.box_iou[0, 0]) == 1.0 and float(problem.slots.box_iou[4, 1]) == 1.0


def test_targets_become_a_table():
    def make(graph):
        labels = torch.zeros(12, dtype=torch.int64)
        labels[3] = 5
        return targets_from_labels(labels, graph.membership, 6)

    problem = build_problem(arrays(), (4, 5), ProblemConfig(), make)
    assert problem.target_table.shape == (12, 3)
    assert problem.target_table[3].tolist() == pytest.approx([2.9957, 2.9957, 0.0], abs=1e-3)
    assert problem.miss == pytest.approx(2.9957, abs=1e-3)


def test_bad_problems_are_named():
    with pytest.raises(InputError, match="at least one annotated class"):
        build_problem(arrays(labels=()), (4, 5), ProblemConfig())
    with pytest.raises(InputError, match=r"box_labels: classes \[3\]"):
        build_problem(arrays(boxes=[[0, 0, 8, 8]], box_labels=[3]), (4, 5), ProblemConfig())


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((375, 500), 256, (192, 256)),
        ((500, 375), 256, (256, 192)),
        ((32, 4000), 256, (32, 256)),
        ((32, 32), 64, (64, 64)),
    ],
)
def test_network_size_keeps_the_aspect_in_multiples_of_32(size, side, expected):
    assert network_size(size, side) == expected
    assert resized(np.zeros((*size, 3), dtype=np.uint8), side).shape == (3, *expected)


def test_batches_are_mirrored_and_padded():
    first = torch.arange(6, dtype=torch.uint8).reshape(1, 2, 3).repeat(3, 1, 1)
    second = torch.ones(3, 1, 4, dtype=torch.uint8)
    batch = image_batch([first, second], [True, False])
    assert batch.shape == (2, 3, 2, 4)
    assert batch[0, 0].tolist() == [[2, 1, 0, 0], [5, 4, 3, 0]]
    assert batch[1, 0].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_noise_is_a_function_of_its_key():
    config = SamplingConfig(k=3, score_noise=0.5)
    key = (0, 1, image_key("2007_000001"))
    problem = build_problem(arrays(), (4, 5), ProblemConfig())
    drawn, again = (image_noise(problem, config, key) for _ in range(2))
    maps = partial(upsampled, size=(4, 5))
    assert torch.equal(maps(drawn.cells), maps(again.cells)) and torch.equal(drawn.scores, again.scores)
    assert maps(drawn.cells).shape == (3, 4, 5) and drawn.scores.shape == (3, problem.graph.num_proposals, 3)
    other = image_noise(problem, config, (0, 1, image_key("2007_000002")))
    assert not torch.equal(maps(drawn.cells), maps(other.cells)) and not torch.equal(
        drawn.scores, other.scores
    )
    without = image_noise(problem, SamplingConfig(k=3, score_noise=0.0), key)
    assert torch.equal(maps(without.cells), maps(drawn.cells)) and without.scores is None
    pointwise = image_noise(problem, SamplingConfig(k=1, score_noise=0.5), key)
    assert not maps(pointwise.cells).any() and pointwise.scores is None


@pytest.mark.parametrize(("terms", "listed"), [("U", 0), ("U+P", 11), ("U+P+H", 11)])
def test_neighbours_are_listed_only_where_a_term_reads_them(terms, listed):
    assert arrays().graph(ProblemConfig(terms=terms)).neighbours.shape == (12, listed)
