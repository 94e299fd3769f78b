"""Peak stimulation against a plain loop, by hand, and by finite differences."""

import math

import pytest
import torch
from torch import Tensor

from wsis.errors import InputError
from wsis.method.prm.peak_stimulation import classification_loss, local_maxima, peak_stimulation


def loop(maps: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The definition, cell by cell: larger than every earlier neighbour, at least every later one."""
    reach = window // 2
    peaks = torch.zeros(maps.shape, dtype=torch.bool)
    scores = torch.zeros(maps.shape[:2], dtype=maps.dtype)
    height, width = maps.shape[2:]
    for b in range(maps.shape[0]):
        for c in range(maps.shape[1]):
            found = []
            for i in range(height):
                for j in range(width):
                    value, best = maps[b, c, i, j], True
                    for y in range(max(0, i - reach), min(height, i + reach + 1)):
                        for x in range(max(0, j - reach), min(width, j + reach + 1)):
                            other = maps[b, c, y, x]
                            earlier = (y, x) < (i, j)
                            best &= bool(value > other if earlier else value >= other)
                    if best:
                        peaks[b, c, i, j] = True
                        found.append(value)
            scores[b, c] = sum(found) / len(found)
    return peaks, scores


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 9), (1, 6), (2, 2), (1, 1)])
@pytest.mark.parametrize("levels", [None, 3])  # three grey levels: plateaus everywhere
def test_equals_the_loop(window, size, levels):
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    if levels:
        maps = (maps * levels / 3).round()
    peaks, scores = loop(maps, window)
    assert torch.equal(local_maxima(maps, window), peaks)
    torch.testing.assert_close(peak_stimulation(maps, window), scores)


def test_hand_worked_borders_plateau_and_constant():
    maps = torch.tensor(
        [
            [
                [-9.0, -9, -9, 5],
                [-9, -9, -9, -9],
                [-7, -9, -9, -9],
            ],  # peaks in two corners, all negative else
            [[0.0, 2, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]],  # a plateau counts once
            [[1.5, 1.5, 1.5, 1.5], [1.5, 1.5, 1.5, 1.5], [1.5, 1.5, 1.5, 1.5]],
        ]
    )[None]
    # Of equal values in a window the first counts: (0, 0) in the first map, no second cell of the plateau.
    expected = [{(0, 0), (0, 3), (2, 0)}, {(0, 1)}, {(0, 0)}]
    found = [{tuple(cell) for cell in mask.nonzero().tolist()} for mask in local_maxima(maps)[0]]
    assert found == expected
    torch.testing.assert_close(peak_stimulation(maps)[0], torch.tensor([(-9.0 + 5 - 7) / 3, 2.0, 1.5]))


def test_gradient_is_one_over_the_count_at_the_maxima():
    maps = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    peak_stimulation(maps)[1, 2].backward()
    peaks = local_maxima(maps)
    expected = torch.zeros_like(maps)
    expected[1, 2][peaks[1, 2]] = 1 / peaks[1, 2].sum().double()
    torch.testing.assert_close(maps.grad, expected)
    assert torch.autograd.gradcheck(peak_stimulation, (maps.detach().requires_grad_(),))


def test_loss_is_the_multi_label_soft_margin():
    scores, labels = torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([[1, 0], [1, 1]])

    def logistic(x: float) -> float:
        return math.log1p(math.exp(-x))

    expected = (logistic(2) + logistic(1) + logistic(0) + logistic(3)) / 4
    assert float(classification_loss(scores, labels)) == pytest.approx(expected, rel=1e-6)


def test_bad_input():
    with pytest.raises(InputError, match=r"expected \[B, C, h, w\] with cells, got \(2, 0, 3\)"):
        local_maxima(torch.zeros(2, 0, 3))
    with pytest.raises(InputError, match="odd number of cells, got 2"):
        peak_stimulation(torch.zeros(1, 1, 3, 3), window=2)
    with pytest.raises(InputError, match=r"multi-hot \(2, 3\), got \(2, 4\)"):
        classification_loss(torch.zeros(2, 3), torch.zeros(2, 4))
