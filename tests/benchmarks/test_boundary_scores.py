"""Boundary evaluation: each step against a plain reference, the scores against values worked by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from boundary_matching import (
    Disc,
    match,
    match_numbers,
    normal_angle,
    thin,
    thin_binary,
)
from boundary_scores import boundary_counts, evaluate_boundaries, even_thresholds, summarise
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from wsis.errors import InputError
from wsis.method.proposals.contours.detectors import LabGradient


def smooth_map(seed: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


# --- non-maximum suppression -------------------------------------------------------------------------------


def plain_thin(strength: np.ndarray, angle: np.ndarray, border: int) -> np.ndarray:
    """edgesNms pixel by pixel: bilinear samples at one pixel to both sides, then the weaker border."""
    height, width = strength.shape
    kept = strength.astype(np.float64)

    def sample(x: float, y: float) -> float:
        x, y = min(max(x, 0), width - 1.001), min(max(y, 0), height - 1.001)
        left, top = int(x), int(y)
        fx, fy = x - left, y - top
        upper = strength[top, left] * (1 - fx) + strength[top, left + 1] * fx
        lower = strength[top + 1, left] * (1 - fx) + strength[top + 1, left + 1] * fx
        return float(upper * (1 - fy) + lower * fy)

    for row in range(height):
        for column in range(width):
            dx, dy = np.cos(angle[row, column]), np.sin(angle[row, column])
            for side in (-1, 1):
                if strength[row, column] * 1.01 < sample(column + side * dx, row + side * dy):
                    kept[row, column] = 0
            for distance in (row, height - 1 - row):
                kept[row, column] *= min(distance / border, 1)
            for distance in (column, width - 1 - column):
                kept[row, column] *= min(distance / border, 1)
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_suppression_equals_the_plain_reference(seed: int) -> None:
    strength = smooth_map(seed)
    result = thin(strength)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, plain_thin(strength, normal_angle(strength), 5), atol=1e-6)
    assert 0.02 < (result > 0).mean() < 0.6


@pytest.mark.parametrize("direction", ["vertical", "horizontal", "diagonal", "antidiagonal"])
def test_suppression_keeps_the_crest_of_a_ridge(direction: str) -> None:
    rows, columns = np.mgrid[:41, :41]
    distance = {
        "vertical": columns - 20,
        "horizontal": rows - 20,
        "diagonal": (rows - columns) / np.sqrt(2),
        "antidiagonal": (rows + columns - 40) / np.sqrt(2),
    }[direction]
    kept = thin(np.exp(-(distance**2) / 8))
    inner = np.zeros((41, 41), bool)
    inner[10:31, 10:31] = True
    np.testing.assert_array_equal((kept > 0) & inner, (distance == 0) & inner)
    np.testing.assert_array_equal(kept[inner & (distance == 0)], 1)


def test_suppression_weakens_the_border_linearly() -> None:
    flat = np.full((20, 30), 0.5, np.float32)
    kept = thin(flat)
    np.testing.assert_allclose(kept[10, :6], [0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-6)
    np.testing.assert_allclose(kept[-6:, 15], [0.5, 0.4, 0.3, 0.2, 0.1, 0], atol=1e-6)
    np.testing.assert_array_equal(thin(flat, border=0), flat)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 500)])
def test_suppression_of_narrow_maps_is_defined(shape: tuple[int, int]) -> None:
    kept = thin(np.full(shape, 0.25, np.float32))
    assert kept.shape == shape and 0 <= kept.min() <= kept.max() <= 0.25


@pytest.mark.parametrize(
    ("contour", "message"),
    [
        (np.full((4, 4), 1.5), r"values in \[0, 1\]"),
        (np.full((4, 4), np.nan), r"values in \[0, 1\]"),
        (np.zeros((4, 4), np.uint8), "expected floating"),
        (np.zeros((4, 4, 1)), "expected floating"),
        (np.zeros((0, 4)), "expected floating"),
    ],
)
def test_suppression_refuses_other_maps(contour: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        thin(contour)


# --- binary thinning ---------------------------------------------------------------------------------------


def plain_thin_binary(mask: np.ndarray) -> np.ndarray:
    """Conditions G1, G2 and G3 of bwmorph's documentation, pixel by pixel."""
    values = np.pad(mask, 1).astype(int)
    changed = True
    while changed:
        changed = False
        for half in (0, 1):
            gone = []
            for row, column in np.argwhere(values):
                around = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1)]
                x = [0, *(values[row + dy, column + dx] for dy, dx in around)]  # x[1] .. x[8], x[9] = x[1]
                g1 = sum(not x[2 * i - 1] and (x[2 * i] or x[2 * i + 1]) for i in range(1, 5)) == 1
                n1 = sum(x[2 * k - 1] or x[2 * k] for k in range(1, 5))
                n2 = sum(x[2 * k] or x[2 * k + 1] for k in range(1, 5))
                g3 = not ((x[2] or x[3] or not x[8]) and x[1])
                if half:
                    g3 = not ((x[6] or x[7] or not x[4]) and x[5])
                if g1 and 2 <= min(n1, n2) <= 3 and g3:
                    gone.append((row, column))
            for place in gone:
                values[place] = 0
                changed = True
    return values[1:-1, 1:-1].astype(bool)


@pytest.mark.parametrize("seed", range(6))
def test_thinning_equals_the_plain_reference(seed: int) -> None:
    mask = smooth_map(seed, (30, 36)) > (0.4, 0.5, 0.6)[seed % 3]
    thinned = thin_binary(mask)
    np.testing.assert_array_equal(thinned, plain_thin_binary(mask))
    assert not (thinned & ~mask).any()
    np.testing.assert_array_equal(thin_binary(thinned), thinned)
    for ours, theirs, connectivity in ((thinned, mask, 8), (~np.pad(thinned, 1), ~np.pad(mask, 1), 4)):
        parts = [
            cv2.connectedComponents(m.astype(np.uint8), connectivity=connectivity)[0] for m in (ours, theirs)
        ]
        assert parts[0] == parts[1]


def test_thinning_of_a_bar_and_of_a_line() -> None:
    bar = np.zeros((9, 20), bool)
    bar[3:6, 2:18] = True
    thinned = thin_binary(bar)
    np.testing.assert_array_equal(np.flatnonzero(thinned.any(axis=1)), [4])
    line = np.eye(12, dtype=bool)
    np.testing.assert_array_equal(thin_binary(line), line)
    assert not thin_binary(np.zeros((5, 5), bool)).any()


# --- matching ----------------------------------------------------------------------------------------------


def pair_distances(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    a, b = np.argwhere(annotated), np.argwhere(predicted)
    return np.linalg.norm(a[:, None] - b[None], axis=-1)


@pytest.mark.parametrize("seed", range(60))
def test_match_has_as_many_pairs_as_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 25)), int(rng.integers(1, 25)))
    predicted = rng.random(shape) < rng.uniform(0.02, 0.6)
    annotated = rng.random(shape) < rng.uniform(0.02, 0.6)
    distance = float(rng.choice([0, 0.5, 1, 1.5, 2.3, 4.33, 7]))
    allowed = pair_distances(predicted, annotated) <= distance
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    largest = int(allowed[rows, columns].sum())
    matched = match(predicted, annotated, distance)
    assert matched[0].sum() == matched[1].sum() == largest
    assert not (matched[0] & ~predicted).any() and not (matched[1] & ~annotated).any()

    disc = Disc.of(shape, distance)
    pixels = disc.flat(predicted)
    partner = match_numbers(disc.numbers(pixels), len(pixels), disc.flat(annotated), disc.steps)
    paired = np.flatnonzero(partner >= 0)
    assert len(np.unique(partner[paired])) == len(paired) == largest
    assert allowed[paired, partner[paired]].all()


def test_match_gives_up_a_near_pair_for_a_second_one() -> None:
    predicted, annotated = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    predicted[0, [0, 3]] = True
    annotated[0, [2, 5]] = True  # 2 is nearest to 3, but 5 has nobody else
    assert [part.sum() for part in match(predicted, annotated, 2)] == [2, 2]
    assert [part.sum() for part in match(predicted, annotated, 1)] == [1, 1]


def test_match_of_a_photograph_against_least_cost(bsds_root: Path) -> None:
    """As many matches as the benchmark's own problem, and a union of annotators within 1 %."""
    image, annotators = photograph(bsds_root, 0)
    predicted = thin_binary(thin(LabGradient()(image, 1.0)) >= 0.2)
    distance = 0.0075 * float(np.hypot(*annotators.shape))
    disc = Disc.of(annotators.shape, distance)
    pixels = disc.flat(predicted)
    numbers = disc.numbers(pixels)
    union, least_cost_union = np.zeros(len(pixels), bool), np.zeros(len(pixels), bool)
    row_of = np.stack([pixels // disc.padded[1], pixels % disc.padded[1]], axis=1)
    for bit in range(int(annotators.max()).bit_length()):
        drawn = disc.flat((annotators >> bit) & 1 == 1)
        partner = match_numbers(numbers, len(pixels), drawn, disc.steps)
        partner = partner[partner >= 0]
        union[partner] = True
        near = numbers[drawn[:, None] + disc.steps]
        row, step = np.nonzero(near >= 0)
        column = near[row, step]
        place = np.stack([drawn[row] // disc.padded[1], drawn[row] % disc.padded[1]], axis=1)
        # Each annotated pixel also has an outlier of its own, so that a full matching exists.
        costs = np.r_[1 + np.linalg.norm(place - row_of[column], axis=1), np.full(len(drawn), 1000.0)]
        others = np.arange(len(drawn))
        index = (np.r_[row, others], np.r_[column, len(pixels) + others])
        graph = csr_array((costs, index), shape=(len(drawn), len(pixels) + len(drawn)))
        chosen = min_weight_full_bipartite_matching(graph)[1]
        chosen = chosen[chosen < len(pixels)]
        least_cost_union[chosen] = True
        assert len(partner) == len(chosen) > 500
    assert union.sum() == pytest.approx(least_cost_union.sum(), rel=0.01)


@pytest.mark.parametrize("distance", [-1.0, np.inf, np.nan])
def test_match_refuses_distances(distance: float) -> None:
    with pytest.raises(InputError, match="max_distance"):
        match(np.zeros((3, 3), bool), np.zeros((3, 3), bool), distance)


def test_match_refuses_other_masks() -> None:
    with pytest.raises(InputError, match="annotated: expected bool"):
        match(np.zeros((3, 3), bool), np.zeros((3, 4), bool), 1)
    with pytest.raises(InputError, match="predicted: expected bool"):
        match(np.zeros((3, 3), np.uint8), np.zeros((3, 3), bool), 1)


# --- scores ------------------------------------------------------------------------------------------------


def lines(columns: dict[int, float], shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    """Vertical lines over rows 50..249: strength by column. The tolerance of this size is 3.75 pixels."""
    drawn = np.zeros(shape, np.float32)
    for column, strength in columns.items():
        drawn[50:250, column] = strength
    return drawn


def drawn_by(*annotators: np.ndarray) -> np.ndarray:
    return sum((mask > 0).astype(np.uint8) << bit for bit, mask in enumerate(annotators))


def test_a_perfect_prediction_scores_one() -> None:
    truth = lines({100: 1, 200: 1})
    scores = evaluate_boundaries([(truth, drawn_by(truth, truth))])
    assert (scores.ods.f_measure, scores.ois.f_measure, scores.num_images) == (1, 1, 1)
    np.testing.assert_array_equal(scores.precision, 1)
    np.testing.assert_array_equal(scores.recall, 1)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (3, 1.0), (4, 0.0)])
def test_the_tolerance_is_a_share_of_the_diagonal(shift: int, expected: float) -> None:
    annotators = drawn_by(lines({100: 1}))
    assert evaluate_boundaries([(lines({100 + shift: 1}), annotators)]).ods.f_measure == expected


def test_counts_of_two_annotators_worked_by_hand() -> None:
    # Annotator 0 drew lines at 100 and 200, annotator 1 those at 101 and 300. Predicted: a strong line at 100,
    # a weak one at 200 and a weaker one, drawn by nobody, at 350. Each line has 200 pixels.
    annotators = drawn_by(lines({100: 1, 200: 1}), lines({101: 1, 300: 1}))
    contour = lines({100: 0.9, 200: 0.5, 350: 0.3})
    counts = boundary_counts(contour, annotators, np.array([0.2, 0.4, 0.6, 0.95]))
    np.testing.assert_array_equal(
        counts, [[600, 800, 400, 600], [600, 800, 400, 400], [400, 800, 200, 200], [0, 800, 0, 0]]
    )


def test_an_annotator_who_drew_nothing_changes_nothing() -> None:
    truth = lines({100: 1})
    cuts = even_thresholds(3)
    alone = boundary_counts(truth, drawn_by(truth), cuts)
    np.testing.assert_array_equal(boundary_counts(truth, drawn_by(truth * 0, truth), cuts), alone)


def test_two_predictions_of_one_boundary_match_it_once() -> None:
    counts = boundary_counts(lines({99: 1, 102: 1}), drawn_by(lines({100: 1})), np.array([0.5]))
    np.testing.assert_array_equal(counts, [[200, 200, 200, 400]])


def test_summary_worked_by_hand() -> None:
    # Two images of 100 annotated pixels. At rising thresholds image 0 is best first, image 1 last.
    counts = np.array(
        [[[80, 100, 80, 100], [40, 100, 40, 50]], [[60, 100, 60, 300], [60, 100, 50, 50]]], np.int64
    )
    scores = summarise(counts, np.array([0.25, 0.75]))
    np.testing.assert_allclose(scores.recall, [140 / 200, 100 / 200])
    np.testing.assert_allclose(scores.precision, [140 / 400, 90 / 100])
    # Image 0 chooses threshold 0 (F .8 against .53), image 1 threshold 1 (F .75 against .3).
    assert scores.ois.recall == pytest.approx(140 / 200)
    assert scores.ois.precision == pytest.approx(130 / 150)
    assert scores.ois.f_measure == pytest.approx(2 * 0.7 * (130 / 150) / (0.7 + 130 / 150))
    assert scores.ois.threshold is None
    # Between the thresholds P = .35 + .55 a and R = .7 - .2 a, the best of a = 0, .01 .. 1.
    share = np.linspace(0, 1, 101)
    p, r = 0.35 + 0.55 * share, 0.7 - 0.2 * share
    f = 2 * p * r / (p + r)
    assert scores.ods.f_measure == pytest.approx(f.max())
    assert scores.ods.threshold == pytest.approx(0.25 + 0.5 * share[f.argmax()])
    # Recalls .50 .. .70: 21 samples of a straight line from .9 to .35.
    assert scores.ap == pytest.approx(0.01 * 21 * (0.9 + 0.35) / 2)


def test_an_empty_prediction_scores_zero() -> None:
    scores = evaluate_boundaries([(lines({}), drawn_by(lines({100: 1})))])
    assert (scores.ods.f_measure, scores.ois.f_measure, scores.ap) == (0, 0, 0)


def test_already_thin_leaves_out_the_suppression() -> None:
    # An arc from border to border: suppression weakens its ends, a UCM keeps them.
    arc = np.zeros((300, 400), np.float32)
    arc[:, 150] = 1
    drawn, cut = arc.astype(np.uint8), np.array([0.5])
    np.testing.assert_array_equal(boundary_counts(arc, drawn, cut), [[294, 300, 294, 294]])
    np.testing.assert_array_equal(boundary_counts(arc, drawn, cut, already_thin=True), [[300] * 4])


def test_errors_name_the_image() -> None:
    good = lines({100: 1})
    with pytest.raises(InputError, match="image 1: annotators: expected a boundary by at least one"):
        evaluate_boundaries([(good, drawn_by(good)), (good, np.zeros(good.shape, np.uint8))])
    with pytest.raises(InputError, match="image 0: annotators: expected uint8"):
        evaluate_boundaries([(good, good)])
    with pytest.raises(InputError, match=r"image 0: expected a contour map \(300, 400\), got \(299, 400\)"):
        evaluate_boundaries([(good[1:], drawn_by(good))])
    with pytest.raises(InputError, match="image 0: contour: expected values"):
        evaluate_boundaries([(2 * good, drawn_by(good))])
    with pytest.raises(InputError, match="at least one image"):
        evaluate_boundaries([])
    with pytest.raises(InputError, match="thresholds: expected at least 1"):
        evaluate_boundaries([(good, drawn_by(good))], thresholds=0)
    with pytest.raises(InputError, match="thresholds: expected one or more"):
        boundary_counts(good, drawn_by(good), np.array([0.0, 0.5]))
    with pytest.raises(InputError, match="max_distance"):
        evaluate_boundaries([(good, drawn_by(good))], max_distance=-1)
    with pytest.raises(InputError, match="counts: expected"):
        summarise(np.zeros((0, 2, 4), np.int64), even_thresholds(2))


# --- real photographs --------------------------------------------------------------------------------------


def photograph(root: Path, index: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB [H, W, 3] and annotators [H, W] of a validation photograph."""
    path = sorted((root / "images" / "val").glob("*.jpg"))[index]
    annotators = np.asarray(Image.open(root / "boundaries" / "val" / f"{path.stem}.png"))
    return np.asarray(Image.open(path).convert("RGB")), annotators


def each_against_the_others(annotators: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    bits = [1 << bit for bit in range(int(annotators.max()).bit_length())]
    return [((annotators & bit > 0).astype(np.float32), annotators & np.uint8(255 - bit)) for bit in bits]


@pytest.mark.parametrize("index", [0, 5])
def test_annotators_agree_as_people_do(bsds_root: Path, index: int) -> None:
    pairs = each_against_the_others(photograph(bsds_root, index)[1])
    for pair in pairs:
        assert 0.6 < evaluate_boundaries([pair], thresholds=1, already_thin=True).ods.f_measure <= 0.96
    together = evaluate_boundaries(pairs, thresholds=1, already_thin=True)
    assert 0.7 < together.ods.f_measure < 0.95
    assert together.ods.precision > together.ods.recall  # one person's lines against everybody's


def test_a_detector_is_better_than_noise_and_worse_than_people(bsds_root: Path) -> None:
    image, annotators = photograph(bsds_root, 0)
    noise = np.random.default_rng(0).random(annotators.shape)
    gradient = evaluate_boundaries([(LabGradient()(image, 1.0), annotators)], thresholds=9)
    random = evaluate_boundaries([(noise, annotators)], thresholds=9)
    people = evaluate_boundaries(each_against_the_others(annotators), thresholds=1, already_thin=True)
    assert random.ods.f_measure + 0.1 < gradient.ods.f_measure < people.ods.f_measure
    assert (np.diff(gradient.recall) <= 0).all()
