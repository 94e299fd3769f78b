import math

import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import dense_masks, random_case
from wsis.errors import InputError
from wsis.method.conditional.graph import build_graph
from wsis.method.conditional.inference import Slots
from wsis.method.dissimilarity.targets import FLOOR, Targets, one_hot_targets, targets_from_labels
from wsis.method.dissimilarity.task_loss import (
    CLAMP,
    instance_iou,
    labelling_loss,
    loss_table,
    mask_cross_entropy,
    miss_cost,
    sample_loss_tables,
)


def random_targets(seed, superpixels, count=4, classes=3):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(count, classes + 1, generator=generator)
    masks = torch.rand(count, superpixels, generator=generator)
    masks[0] = (masks[0] > 0.5).float()
    return Targets(probabilities / probabilities.sum(1, keepdim=True), masks)


@pytest.mark.parametrize("seed", range(4))
def test_iou_and_cross_entropy_equal_the_sums_over_pixels(seed):
    superpixels, membership, _, graph = random_case(seed)
    targets = random_targets(seed, membership.shape[1])
    proposals = dense_masks(superpixels, membership)[:, None].double()
    soft = targets.masks[:, superpixels][None].double()
    union = (proposals + soft - proposals * soft).sum((2, 3))
    torch.testing.assert_close(
        instance_iou(graph, targets.masks).double(),
        (proposals * soft).sum((2, 3)) / union,
        rtol=1e-5,
        atol=1e-5,
    )
    pixel = -proposals * soft.clamp(min=FLOOR).log() - (1 - proposals) * (1 - soft).clamp(min=FLOOR).log()
    expected = (pixel.sum((2, 3)) / union).clamp(max=CLAMP)
    computed = mask_cross_entropy(graph, targets).double()
    torch.testing.assert_close(computed, expected, rtol=1e-5, atol=1e-5)


def test_cross_entropy_of_a_hard_mask_is_the_clamp_times_one_minus_iou():
    _, membership, _, graph = random_case(0)
    hard = torch.from_numpy(membership[:3]).float()
    torch.testing.assert_close(
        mask_cross_entropy(graph, Targets(torch.ones(3, 1), hard)),
        CLAMP * (1 - instance_iou(graph, hard)),
    )


def test_loss_table_equals_a_plain_reading():
    _, membership, _, graph = random_case(1, proposals=20)
    targets = random_targets(1, membership.shape[1])
    targets = Targets(
        targets.probabilities, torch.cat([torch.from_numpy(membership[:3]).float(), targets.masks[3:]])
    )
    columns = torch.tensor([1, 3])
    table = loss_table(graph, targets, columns)
    overlaps, shapes = (
        instance_iou(graph, targets.masks),
        mask_cross_entropy(graph, targets),
    )
    matched = 0
    for u in range(20):
        n = int(overlaps[u].argmax())
        p = targets.probabilities[n]
        if overlaps[u, n] >= 0.5:
            matched += 1
            expected = [-math.log(max(p[0], FLOOR))]
            expected += [-math.log(max(p[j], FLOOR)) + float(shapes[u, n]) for j in (1, 3)]
        else:
            expected = [0.0, CLAMP, CLAMP]
        assert table[u].tolist() == pytest.approx(expected, abs=1e-5)
    assert 3 <= matched < 20


def test_no_target_makes_every_label_cost_the_clamp():
    *_, graph = random_case(1)
    table = loss_table(
        graph,
        one_hot_targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 20), 3),
        torch.tensor([2]),
    )
    assert table[:, 0].eq(0).all()
    torch.testing.assert_close(table[:, 1], torch.full((12,), CLAMP))


@pytest.mark.parametrize("seed", range(4))
def test_sample_tables_equal_the_general_table(seed):
    *_, graph = random_case(seed, proposals=15)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (5, 15), generator=generator) * (
        torch.rand(5, 15, generator=generator) < 0.3
    )
    labels[2] = 0
    tables = sample_loss_tables(labels, graph, 3)
    for k in range(5):
        targets = targets_from_labels(labels[k], graph.membership, 2)
        expected = loss_table(graph, targets, torch.tensor([1, 2]))
        torch.testing.assert_close(tables[k], expected, rtol=1e-5, atol=1e-5)


def test_loss_of_one_labelling_against_another_is_symmetric_and_zero_on_itself():
    superpixels, _, boundary, _ = random_case(0)
    disjoint = np.zeros((4, 20), dtype=bool)
    for index in range(4):
        disjoint[index, 5 * index : 5 * index + 5] = True
    graph = build_graph(superpixels, disjoint, *boundary)
    labels = torch.tensor([[1, 0, 2, 0], [1, 2, 0, 0], [0, 0, 0, 0], [2, 0, 2, 0]])
    tables = sample_loss_tables(labels, graph, 3)
    misses = (labels > 0).sum(1) * CLAMP
    loss = labelling_loss(tables[:, None], labels[None], misses[:, None])
    torch.testing.assert_close(loss, loss.T)
    torch.testing.assert_close(loss.diagonal(), torch.zeros(4))
    assert float(loss[0, 1]) == pytest.approx(2 * CLAMP, rel=1e-5)  # one missed, one invented
    assert float(loss[0, 3]) == pytest.approx(CLAMP, rel=1e-5)  # one of the wrong class


def test_miss_cost_and_bad_inputs():
    targets = Targets(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.zeros(2, 20))
    assert miss_cost(targets) == pytest.approx(-math.log(0.5) - math.log(0.05), rel=1e-5)
    with pytest.raises(InputError, match="targets"):
        Targets(torch.zeros(2, 2), torch.zeros(3, 20))
    with pytest.raises(InputError, match="columns: classes"):
        *_, graph = random_case(0)
        loss_table(graph, targets, torch.tensor([2]))
    with pytest.raises(InputError, match=r"classes: expected 1\.\.2"):
        one_hot_targets(torch.tensor([3]), torch.zeros(1, 20), 2)
    with pytest.raises(InputError, match="columns"):
        Slots(torch.tensor([0]), torch.zeros(1, 1, dtype=torch.bool))
