"""Instances of overlapping tiles merged to one list, against a plain reference on dense masks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.paste import paste_masks
from wsis.method.prediction.merging import merge_tiles
from wsis.method.prediction.tiles import Tiling, Window

SIZE, SCALE = (60, 200), 0.5
TILES: tuple[Window, ...] = ((0, 0, 60, 80), (0, 40, 60, 120), (0, 80, 60, 160), (0, 120, 60, 200))
WHOLE: Window = (0, 0, 60, 200)
TILING = Tiling(SIZE, SCALE, TILES, 40)


def detections(size: tuple[int, int], rows: list[tuple[list[float], int, float]]) -> NetworkDetections:
    """Of boxes, labels and scores; every mask fills its box."""
    n = len(rows)
    boxes = np.array([box for box, *_ in rows], np.float32).reshape(n, 4)
    labels = np.array([label for _, label, _ in rows], np.int32)
    scores = np.array([score for *_, score in rows], np.float32)
    probabilities = np.zeros((n, 3), np.float32)
    probabilities[np.arange(n), labels] = scores
    return NetworkDetections(probabilities, boxes, np.full((n, 28, 28), 255, np.uint8), labels, scores, size)


def of_objects(
    objects: list[tuple[list[float], int, float]], windows: tuple[Window, ...]
) -> list[NetworkDetections]:
    """What a perfect network sees of objects in each window, a little less sure in later ones."""
    found = []
    for number, (top, left, bottom, right) in enumerate(windows):
        rows = []
        for (x1, y1, x2, y2), label, score in objects:
            box = [max(x1, left) - left, max(y1, top) - top, min(x2, right) - left, min(y2, bottom) - top]
            if box[0] < box[2] and box[1] < box[3]:
                rows.append((box, label, score - 0.01 * number))
        found.append(detections((bottom - top, right - left), rows))
    return found


def merged(found: list[NetworkDetections], windows: tuple[Window, ...] = TILES) -> NetworkDetections:
    return merge_tiles(found, windows, TILING, 0.5)


def test_each_object_is_found_once_and_whole() -> None:
    objects = [
        ([50.0, 10, 70, 50], 1, 0.9),  # whole in two tiles, cut by a third
        ([90.0, 5, 112, 55], 1, 0.8),
        ([114.0, 5, 134, 55], 1, 0.7),  # beside it
        ([90.0, 5, 112, 55], 2, 0.6),  # of another class at the same place
        ([2.0, 2, 20, 20], 1, 0.5),  # in one tile alone
    ]
    found = merged(of_objects(objects, TILES))
    assert found.labels.tolist() == [1, 1, 1, 2, 1]
    np.testing.assert_allclose(found.boxes, [box for box, *_ in objects], atol=1e-4)
    assert found.scores == pytest.approx([0.9, 0.79, 0.68, 0.59, 0.5])  # where first seen whole
    assert found.size == SIZE and (found.class_probabilities.max(1) == found.scores).all()


def test_what_is_longer_than_a_tile_is_joined_or_taken_from_the_whole() -> None:
    long = [([10.0, 20, 190, 40], 1, 0.9)]
    pieces = of_objects(long, TILES)
    assert len(merged(pieces)) == 1
    np.testing.assert_allclose(merged(pieces).boxes, [long[0][0]], atol=1e-4)
    assert merged(pieces).pasted()[0, 22:38, 14:186].all() and not merged(pieces).pasted()[0, :18].any()
    with_whole = merged([*pieces, *of_objects(long, (WHOLE,))], (*TILES, WHOLE))
    assert len(with_whole) == 1 and with_whole.boxes.tolist() == [long[0][0]]
    assert (with_whole.masks == 255).all()  # the network's own, not one that was put together


def test_neighbours_that_touch_at_a_seam_stay_two() -> None:
    two = [([20.0, 5, 60, 30], 1, 0.9), ([20.0, 30, 62, 58], 1, 0.8), ([60.0, 5, 118, 30], 1, 0.7)]
    found = merged(of_objects(two, TILES))
    assert sorted(found.boxes.tolist()) == sorted(box for box, *_ in two)


def test_a_part_whose_mask_is_poor_loses_to_the_whole_one() -> None:
    whole = detections((60, 80), [([10, 10, 70, 50], 1, 0.6)])  # 50..110 of the photograph
    part = detections((60, 80), [([55, 20, 80, 40], 1, 0.9)])  # a middle part, cut at 80, sure of itself
    nothing = detections((60, 80), [])
    found = merged([part, whole, nothing, nothing])
    assert found.boxes.tolist() == [[50, 10, 110, 50]] and found.scores == pytest.approx([0.6])


def test_nothing_and_one_tile_without_anything() -> None:
    nothing = [detections((60, 80), [])] * 4
    assert len(merged(nothing)) == 0 and merged(nothing).class_probabilities.shape == (0, 3)
    one = [*nothing[:3], detections((60, 80), [([5, 5, 30, 30], 2, 0.4)])]
    assert merged(one).boxes.tolist() == [[125, 5, 150, 30]]
    wide = [NetworkDetections.none((60, 80)), *one[1:]]  # rows of another width where nothing is known
    assert merged(wide).boxes.tolist() == [[125, 5, 150, 30]]


# -- the plain reference ----------------------------------------------------------------------------------
class Plain:
    """Dense masks and loops; the text of `merging` word by word."""

    def __init__(self, found: list[NetworkDetections], windows: tuple[Window, ...]) -> None:
        self.canvas = (round(SIZE[0] * SCALE), round(SIZE[1] * SCALE))
        self.items = []
        for detections_, window in zip(found, windows, strict=True):
            tile = [round(at * SCALE) for at in window]
            inside = np.zeros(self.canvas, bool)
            inside[tile[0] : tile[2], tile[1] : tile[3]] = True
            for i in range(len(detections_)):
                box = (detections_.boxes[i] + np.array([window[1], window[0]] * 2, np.float32)) * np.float32(
                    SCALE
                )
                mask = paste_masks(detections_.masks[i : i + 1], box[None], self.canvas)[0] & inside
                self.items.append(
                    [int(detections_.labels[i]), float(detections_.scores[i]), mask, tile, inside, box]
                )
        self.cuts = [self.cut(*item[3:]) for item in self.items]

    def cut(self, tile: list[int], inside: NDArray[np.bool_], box: NDArray[np.float32]) -> list[bool]:
        margin = 0.03 * max(tile[2] - tile[0], tile[3] - tile[1])
        return [
            tile[1] > 0 and box[0] - tile[1] <= margin,
            tile[0] > 0 and box[1] - tile[0] <= margin,
            tile[3] < self.canvas[1] and tile[3] - box[2] <= margin,
            tile[2] < self.canvas[0] and tile[2] - box[3] <= margin,
        ]

    def towards(self, a: int, b: int) -> bool:
        (top, left, bottom, right), other = self.items[a][3], self.items[b][3]
        cut = self.cuts[a]
        return (
            (cut[0] and other[1] < left < other[3])
            or (cut[1] and other[0] < top < other[2])
            or (cut[2] and other[1] < right < other[3])
            or (cut[3] and other[0] < bottom < other[2])
        )

    def linked(self, a: int, b: int) -> bool:
        (label_a, _, mask_a, tile_a, inside_a, _), (label_b, _, mask_b, tile_b, inside_b, _) = (
            self.items[a],
            self.items[b],
        )
        if label_a != label_b or tile_a == tile_b:
            return False
        common = inside_a & inside_b
        union = ((mask_a | mask_b) & common).sum()
        return bool((mask_a & mask_b & common).sum() > 0.5 * union)

    def result(self) -> list[tuple[int, float, tuple[int, ...], NDArray[np.bool_]]]:
        """Label, score, members and mask of each instance, best first."""
        n = len(self.items)
        area = [int(item[2].sum()) for item in self.items]
        links = [(a, b) for a in range(n) for b in range(n) if a != b and self.linked(a, b)]
        lost = {a for a, b in links if self.towards(a, b) and not self.towards(b, a) and area[b] > area[a]}
        groups = [{i} for i in range(n) if i not in lost]
        for a, b in links:
            if a not in lost and b not in lost and self.towards(a, b) and self.towards(b, a):
                one = next(g for g in groups if a in g)
                other = next(g for g in groups if b in g)
                if one is not other:
                    groups.remove(other)
                    one |= other
        instances = []
        for group in groups:
            members = sorted(group, key=lambda i: (-self.items[i][1], i))
            mask = np.any([self.items[i][2] for i in group], axis=0)
            instances.append(
                (
                    self.items[members[0]][0],
                    self.items[members[0]][1],
                    tuple(members),
                    mask,
                    self.is_cut(group),
                )
            )
        kept: list = []
        for one in sorted(instances, key=lambda i: (i[4], -i[1], i[2])):
            for other in kept:
                shared, union = (one[3] & other[3]).sum(), (one[3] | other[3]).sum()
                if (
                    one[0] == other[0]
                    and shared
                    and (shared >= 0.5 * union or (one[4] and shared > 0.5 * one[3].sum()))
                ):
                    break
            else:
                kept.append(one)
        return [one[:4] for one in sorted(kept, key=lambda i: (-i[1], i[2]))]

    def is_cut(self, group: set[int]) -> bool:
        """By a border beyond which no tile of the group sees."""
        for side, (edge, outer) in enumerate(((1, min), (0, min), (3, max), (2, max))):
            last = outer(self.items[i][3][edge] for i in group)
            if any(self.cuts[i][side] and self.items[i][3][edge] == last for i in group):
                return True
        return False


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    objects = []
    for _ in range(int(rng.integers(5, 25))):
        x, y = rng.uniform(0, 170), rng.uniform(0, 40)
        w, h = rng.uniform(8, 130), rng.uniform(8, 40)
        objects.append(
            ([x, y, min(x + w, 200), min(y + h, 60)], int(rng.integers(1, 3)), float(rng.uniform(0.2, 1)))
        )
    windows = TILES if seed % 2 else (*TILES, WHOLE)
    found = []
    for one in of_objects(objects, windows):
        noisy = one.boxes + rng.normal(0, 1.5, one.boxes.shape).astype(np.float32)
        limits = np.array([one.size[1], one.size[0]] * 2, np.float32)
        noisy = np.clip(noisy, 0, limits)
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2])
        masks = (rng.uniform(0, 1, one.masks.shape) > 0.1).astype(np.uint8) * 255
        scores = rng.uniform(0.1, 1, len(one)).round(2).astype(np.float32)  # some are equal
        order = np.argsort(-scores, kind="stable")
        changed = NetworkDetections(one.class_probabilities, noisy, masks, one.labels, scores, one.size)
        found.append(changed.take(order))
    expected, got = Plain(found, windows).result(), merge_tiles(found, windows, TILING, 0.5)
    assert len(got) == len(expected) and any(len(members) > 1 for *_, members, _ in expected) == seed % 2
    assert got.labels.tolist() == [label for label, *_ in expected]
    assert got.scores == pytest.approx([score for _, score, *_ in expected])
    boxes = np.concatenate(
        [o.boxes + np.array([w[1], w[0]] * 2, np.float32) for o, w in zip(found, windows, strict=True)]
    )
    stacked = np.concatenate([one.masks for one in found])
    for row, (*_, members, mask) in enumerate(expected):
        parts = boxes[list(members)]
        assert got.boxes[row].tolist() == [*parts[:, :2].min(0), *parts[:, 2:].max(0)]
        if len(members) == 1:
            assert (got.masks[row] == stacked[members[0]]).all()
        else:
            pasted = paste_masks(got.masks[row : row + 1], got.boxes[row : row + 1] * SCALE, (30, 100))[0]
            assert (pasted & mask).sum() > 0.75 * (pasted | mask).sum()  # 28 cells a side


def test_the_order_of_detections_decides_nothing_but_ties() -> None:
    objects = [([50.0, 10, 70, 50], 1, 0.9), ([90.0, 5, 145, 55], 1, 0.8), ([30.0, 5, 140, 9], 2, 0.7)]
    found = of_objects(objects, TILES)
    turned = [one.take(np.arange(len(one))[::-1]) for one in found]
    assert merged(found).boxes.tolist() == merged(turned).boxes.tolist()
