"""Boundary evaluation of the Berkeley segmentation benchmark: ODS, OIS and AP.

Arbeláez, Maire, Fowlkes and Malik, "Contour detection and hierarchical image segmentation", PAMI 2011.
Suffix legend: H W image, I images, T thresholds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from boundary_matching import Disc, check_contour, match_numbers, thin, thin_binary
from numpy.typing import NDArray

from wsis.errors import InputError

MAX_DISTANCE = 0.0075


@dataclass(frozen=True)
class OperatingPoint:
    """F-measure 2PR / (P + R) with its precision and recall; threshold is None where each image has its own."""

    f_measure: float
    precision: float
    recall: float
    threshold: float | None


@dataclass(frozen=True)
class BoundaryScores:
    """Result over a set of images, all in [0, 1].

    Attributes:
        ods: best point at one threshold for all images, between thresholds by linear interpolation.
        ois: counts summed over images, each at the threshold where its own F-measure is largest.
        ap: area under precision over recall, at recalls 0, .01 .. 1, with 0 beyond the curve's ends, hence 0
            for a binary prediction, whose curve is one point.
        thresholds, precision, recall: float64 [T], the curve at rising thresholds.
        num_images: I.
    """

    ods: OperatingPoint
    ois: OperatingPoint
    ap: float
    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    num_images: int


def even_thresholds(count: int) -> NDArray[np.float64]:
    """The benchmark's thresholds 1/(T+1) .. T/(T+1), float64 [T]. Raises InputError below one."""
    if count < 1:
        raise InputError(f"thresholds: expected at least 1, got {count}")
    return np.linspace(1 / (count + 1), count / (count + 1), count)


def split_annotators(annotators: NDArray[np.uint8], where: str = "annotators") -> list[NDArray[np.bool_]]:
    """One bool [H, W] for each annotator of a bit map, bit i being annotator i's, up to the highest bit used.

    Raises:
        InputError: not uint8 [H, W], or nobody drew anything.
    """
    if annotators.ndim != 2 or annotators.dtype != np.uint8:
        raise InputError(f"{where}: expected uint8 [H, W], got {annotators.dtype} {annotators.shape}")
    if not annotators.any():
        raise InputError(f"{where}: expected a boundary by at least one annotator, got none")
    bits = int(annotators.max()).bit_length()
    return [(annotators >> bit) & 1 == 1 for bit in range(bits)]


def boundary_counts(
    contour: NDArray[np.floating],
    annotators: NDArray[np.uint8],
    thresholds: NDArray[np.float64],
    max_distance: float = MAX_DISTANCE,
    already_thin: bool = False,
    where: str = "image",
) -> NDArray[np.int64]:
    """Counts of one image at each threshold, int64 [T, 4].

    Columns: annotated pixels matched, summed over annotators; annotated pixels, summed over annotators;
    predicted pixels matched to any annotator; predicted pixels. Recall is the ratio of the first two,
    precision that of the others. At each threshold the pixels at or above it are thinned once more
    (`boundary_matching.thin_binary`) and matched to each annotator in turn.

    Args:
        contour: strength in [0, 1], floating [H, W].
        annotators: uint8 [H, W], see :func:`split_annotators`.
        thresholds: float64 [T] in (0, 1].
        max_distance: tolerance as a share of the image diagonal.
        already_thin: leave out the non-maximum suppression, as for contours of regions (UCM).
        where: name of the image in errors.
    Raises:
        InputError: an argument of another type, size or range, or nothing drawn.
    """
    drawn = split_annotators(annotators, f"{where}: annotators")
    if contour.shape != annotators.shape:
        raise InputError(f"{where}: expected a contour map {annotators.shape}, got {contour.shape}")
    if thresholds.ndim != 1 or not len(thresholds) or not (thresholds.min() > 0 and thresholds.max() <= 1):
        raise InputError(f"thresholds: expected one or more in (0, 1], got {thresholds}")
    strength = check_contour(contour, f"{where}: contour")
    if not already_thin:
        strength = thin(strength)
    height, width = strength.shape
    disc = Disc.of((height, width), max_distance * float(np.hypot(height, width)))
    boundaries = [disc.flat(mask) for mask in drawn]
    counts = np.zeros((len(thresholds), 4), np.int64)
    counts[:, 1] = sum(len(boundary) for boundary in boundaries)
    for row, threshold in zip(counts, thresholds, strict=True):
        pixels = disc.flat(thin_binary(strength >= threshold))
        if not len(pixels):
            continue
        numbers, matched = disc.numbers(pixels), np.zeros(len(pixels), np.bool_)
        for boundary in boundaries:
            partner = match_numbers(numbers, len(pixels), boundary, disc.steps)
            partner = partner[partner >= 0]
            row[0] += len(partner)
            matched[partner] = True
        row[2:] = matched.sum(), len(pixels)
    return counts


def _ratios(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall [...] of counts [..., 4]; 0 where nothing is predicted."""
    matched_drawn, drawn, matched, predicted = np.moveaxis(counts, -1, 0)
    return matched / np.maximum(predicted, 1), matched_drawn / np.maximum(drawn, 1)


def _f_measure(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """2PR / (P + R), 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / np.where(total > 0, total, 1)


def _best_point(
    thresholds: NDArray[np.float64], precision: NDArray[np.float64], recall: NDArray[np.float64]
) -> OperatingPoint:
    """Largest F-measure along the polyline between neighbouring thresholds, at 100 points a segment."""
    position = np.linspace(0, len(thresholds) - 1, 100 * (len(thresholds) - 1) + 1)
    index = np.arange(len(thresholds))
    cut, p, r = (np.interp(position, index, values) for values in (thresholds, precision, recall))
    f_measure = _f_measure(p, r)
    best = int(f_measure.argmax())
    return OperatingPoint(float(f_measure[best]), float(p[best]), float(r[best]), float(cut[best]))


def _average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Sum of precision interpolated at recalls 0, .01 .. 1, times .01; nothing outside the curve's ends."""
    steps, first = np.unique(recall, return_index=True)
    if len(steps) < 2:
        return 0.0
    at = np.arange(101) / 100  # not linspace, whose rounding loses ends such as .7
    return float(0.01 * np.interp(at, steps, precision[first], left=0, right=0).sum())


def summarise(counts: NDArray[np.int64], thresholds: NDArray[np.float64]) -> BoundaryScores:
    """Scores of a set of images.

    Args: counts int64 [I, T, 4] of :func:`boundary_counts`; thresholds float64 [T], rising.
    Raises:
        InputError: no images, or shapes that do not fit.
    """
    if counts.ndim != 3 or not len(counts) or counts.shape[1:] != (len(thresholds), 4):
        raise InputError(f"counts: expected [I >= 1, {len(thresholds)}, 4], got {counts.shape}")
    precision, recall = _ratios(counts.sum(axis=0))
    own_best = _f_measure(*_ratios(counts)).argmax(axis=1)
    chosen = counts[np.arange(len(counts)), own_best].sum(axis=0)
    own_precision, own_recall = _ratios(chosen)
    own_f = _f_measure(own_precision, own_recall)
    return BoundaryScores(
        ods=_best_point(thresholds, precision, recall),
        ois=OperatingPoint(float(own_f), float(own_precision), float(own_recall), None),
        ap=_average_precision(precision, recall),
        thresholds=thresholds,
        precision=precision,
        recall=recall,
        num_images=len(counts),
    )


def evaluate_boundaries(
    predictions: Iterable[tuple[NDArray[np.floating], NDArray[np.uint8]]],
    thresholds: int = 30,
    max_distance: float = MAX_DISTANCE,
    already_thin: bool = False,
) -> BoundaryScores:
    """ODS, OIS and AP of contour maps against what several people drew.

    Args:
        predictions: (contour, annotators) of each image, see :func:`boundary_counts`; read one by one.
        thresholds: how many; the benchmark's own figures take 99.
        max_distance: tolerance as a share of the image diagonal.
        already_thin: leave out the non-maximum suppression, as for contours of regions (UCM).
    Raises:
        InputError: an image breaks its contract (named by its position), or there is none.
    """
    cuts = even_thresholds(thresholds)
    counts = [
        boundary_counts(contour, annotators, cuts, max_distance, already_thin, f"image {position}")
        for position, (contour, annotators) in enumerate(predictions)
    ]
    if not counts:
        raise InputError("predictions: expected at least one image, got none")
    return summarise(np.stack(counts), cuts)
