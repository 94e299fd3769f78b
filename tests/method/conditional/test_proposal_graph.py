import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import dense_masks, random_case
from wsis.errors import InputError
from wsis.method.conditional.graph import build_graph, perimeter_strength


def plain_separation(membership, edges, values, u, v):
    """I_uv by the definition: edges inside u | v whose ends differ in (in u, in v)."""
    total = 0.0
    for (a, b), value in zip(edges.tolist(), values.tolist(), strict=True):
        first = (membership[u, a], membership[v, a])
        second = (membership[u, b], membership[v, b])
        if any(first) and any(second) and first != second:
            total += value
    return total


@pytest.mark.parametrize("seed", range(5))
def test_areas_and_overlaps_equal_dense_masks(seed):
    superpixels, membership, _, graph = random_case(seed)
    masks = dense_masks(superpixels, membership).flatten(1)
    common = masks @ masks.T
    torch.testing.assert_close(graph.iou(), common / (masks.sum(1)[:, None] + masks.sum(1)[None] - common))
    torch.testing.assert_close(graph.containment(), common / masks.sum(1)[None])


@pytest.mark.parametrize("seed", range(5))
def test_separations_equal_their_definition(seed):
    _, membership, (edges, contours, _), graph = random_case(seed)
    for u in range(graph.num_proposals):
        for slot in range(graph.neighbours.shape[1]):
            if not graph.neighbour_mask[u, slot]:
                continue
            v = int(graph.neighbours[u, slot])
            expected = plain_separation(membership, edges, contours, u, v)
            assert float(graph.separations[u, slot]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_overlap_or_touch_nearest_first(seed):
    _, membership, (edges, _, _), graph = random_case(seed, proposals=10, max_neighbours=4)
    iou = graph.iou()
    for u in range(10):
        related = []
        for v in range(10):
            touches = any(
                (membership[u, a] and membership[v, b]) or (membership[u, b] and membership[v, a])
                for a, b in edges
            )
            if v != u and (float(iou[u, v]) > 0 or touches):
                related.append(v)
        best = sorted(related, key=lambda v: (-float(iou[u, v]), v))[:4]
        assert graph.neighbours[u][graph.neighbour_mask[u]].tolist() == best


def test_hand_worked_separations():
    # Superpixels 0 | 1 | 2 | 3 in a row; strengths of the boundaries 0-1: 2, 1-2: 5, 2-3: 11.
    superpixels = np.repeat(np.arange(4, dtype=np.int32), 3)[None].repeat(3, 0)
    membership = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    contours, lengths = np.array([2.0, 5.0, 11.0]), np.array([3.0, 3.0, 3.0])
    graph = build_graph(superpixels, membership, edges, contours, lengths, 4)
    table = {}
    for u in range(5):
        for slot in range(4):
            if graph.neighbour_mask[u, slot]:
                table[u, int(graph.neighbours[u, slot])] = float(graph.separations[u, slot])
    assert table[0, 1] == 5.0  # disjoint and touching: the common boundary
    assert table[0, 2] == table[2, 0] == 5.0  # nested: the inner one's boundary inside the outer one
    assert table[0, 3] == 7.0  # overlapping: both boundaries
    assert table[0, 4] == 0.0  # equal
    assert perimeter_strength(membership, edges, contours, lengths).tolist() == pytest.approx(
        [5 / 3, 16 / 6, 11 / 3, 13 / 6, 5 / 3]
    )


def test_one_or_no_proposal_has_no_neighbour():
    for count in (0, 1):
        superpixels, membership, boundary, _ = random_case(0)
        graph = build_graph(superpixels, membership[:count], *boundary)
        assert graph.neighbours.shape == (count, 0)
        assert graph.iou().shape == (count, count)


def test_bad_inputs_are_named():
    superpixels, membership, (edges, contours, lengths), _ = random_case(0)
    with pytest.raises(InputError, match=r"superpixels: expected ids 0\.\.9"):
        build_graph(superpixels, membership[:, :10], edges, contours, lengths)
    with pytest.raises(InputError, match="edge_contours"):
        build_graph(superpixels, membership, edges, contours[:-1], lengths)
    membership[3] = False
    with pytest.raises(InputError, match="proposal 3 covers no pixel"):
        build_graph(superpixels, membership, edges, contours, lengths)
