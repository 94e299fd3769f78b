"""VOC mAP^r: mean average precision of instance masks, image by image, in bounded memory.

Per class: detections of all images in one order of descending score, precision and recall after each, AP =
area under the monotone envelope of precision over recall (VOC 2010 and later, no 11-point sampling); mAP =
mean over the classes that have ground truth. Void pixels are removed from the ground truth.

Conventions where the literature is silent:
- Equal scores stand in the order in which they were added: images in the order of `add_image`, detections
  in the order of their arrays. (Within an image that decides who takes an instance.)
- A class without a regular ground-truth instance in all images has AP NaN and is left out of the mean;
  its detections count nowhere. A class with ground truth and no detections has AP 0.
- Void is cut out of the true masks alone: a detection's void pixels still count in its union.

Suffixes: C classes, T thresholds, D detections, G ground-truth instances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.matching import IGNORED, RIGHT, Matching, match
from wsis.method.masks import rle

THRESHOLDS = (0.25, 0.50, 0.70, 0.75)


@dataclass(frozen=True)
class MapResult:
    """Average precisions of one evaluated thing.

    Attributes:
        classes: C names; thresholds: T IoU thresholds.
        average_precision: float64 [C, T] in [0, 1]; NaN rows for classes without ground truth.
        ground_truth: int64 [C], regular instances per class; detections: int64 [C].
        images: number of images added.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    average_precision: NDArray[np.float64]
    ground_truth: NDArray[np.int64]
    detections: NDArray[np.int64]
    images: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """mAP per threshold, float64 [T]; NaN if no class has ground truth."""
        present = ~np.isnan(self.average_precision).any(axis=1)
        if not present.any():
            return np.full(len(self.thresholds), np.nan)
        return self.average_precision[present].mean(axis=0)

    def as_row(
        self, kind: str, outer_iteration: int | None, split: str, supervision: Sequence[str] | str
    ) -> dict[str, Any]:
        """One row of results, ready for JSON: NaN becomes null, thresholds become keys such as "0.25"."""
        keys = [f"{threshold:.2f}" for threshold in self.thresholds]
        return {
            "kind": kind,
            "outer_iteration": outer_iteration,
            "split": split,
            "supervision": supervision if isinstance(supervision, str) else list(supervision),
            "images": self.images,
            "mAP": dict(zip(keys, _plain(self.mean), strict=True)),
            "per_class": {
                name: dict(zip(keys, _plain(row), strict=True))
                for name, row in zip(self.classes, self.average_precision, strict=True)
            },
        }


class VocMapEvaluator:
    """Accumulates decisions image by image; masks are not kept.

    Args:
        classes: C names; label j is classes[j - 1].
        thresholds: IoU thresholds in (0, 1].
        matching: see the module `matching`.

    Of two cats the surer detection finds one, the other lies beside everything: half of the area under the curve.

    >>> cats = rle.encode_many(np.array([[[1, 0, 0, 0]], [[0, 0, 1, 1]]], bool))
    >>> found = rle.encode_many(np.array([[[1, 0, 0, 0]], [[0, 1, 0, 0]]], bool))
    >>> evaluator, labels = VocMapEvaluator(["cat"]), np.array([1, 1])
    >>> evaluator.add_image(
    ...     "a", Detections((1, 4), found, labels, np.array([0.9, 0.8])), GroundTruth((1, 4), cats, labels)
    ... )
    >>> evaluator.result().mean
    array([0.5, 0.5, 0.5, 0.5])
    """

    def __init__(
        self,
        classes: Sequence[str],
        thresholds: Sequence[float] = THRESHOLDS,
        matching: Matching = "voc",
    ) -> None:
        if not classes or len(set(classes)) != len(classes):
            raise InputError(f"classes: expected distinct names, at least one, got {list(classes)}")
        if not thresholds or not all(0 < t <= 1 for t in thresholds):
            raise InputError(f"thresholds: expected values in (0, 1], at least one, got {list(thresholds)}")
        if matching not in get_args(Matching):
            raise InputError(f"matching: expected one of {', '.join(get_args(Matching))}, got {matching!r}")
        self.classes, self.thresholds = tuple(classes), tuple(thresholds)
        self.matching = matching
        self._image_ids: set[str] = set()
        self._num_truth = np.zeros(len(classes), dtype=np.int64)
        self._scores: list[list[NDArray[np.float64]]] = [[] for _ in classes]
        self._decisions: list[list[NDArray[np.int8]]] = [[] for _ in classes]

    def add_image(self, image_id: str, detections: Detections, truth: GroundTruth) -> None:
        """Decide the detections of one image.

        Raises:
            InputError: the image came before, sizes differ, or a label exceeds the number of classes.
        """
        self._check_image(image_id, detections, truth)
        self._image_ids.add(image_id)
        truth = _without_void(truth)
        for label in np.union1d(detections.labels, truth.labels).tolist():
            self._add_class(int(label), detections.of_class(label), truth.of_class(label))

    def result(self) -> MapResult:
        """The average precisions of all images added so far."""
        precision = np.full((len(self.classes), len(self.thresholds)), np.nan)
        for index in np.flatnonzero(self._num_truth):
            scores = np.concatenate([np.zeros(0), *self._scores[index]])
            decisions = np.concatenate(
                [np.zeros((0, len(self.thresholds)), dtype=np.int8), *self._decisions[index]]
            )[np.argsort(-scores, kind="stable")]
            for column, of_threshold in enumerate(decisions.T):
                right = of_threshold[of_threshold != IGNORED] == RIGHT
                precision[index, column] = average_precision(right, int(self._num_truth[index]))
        counts = np.array([sum(map(len, scores)) for scores in self._scores], dtype=np.int64)
        return MapResult(
            self.classes, self.thresholds, precision, self._num_truth.copy(), counts, len(self._image_ids)
        )

    def _check_image(self, image_id: str, detections: Detections, truth: GroundTruth) -> None:
        if image_id in self._image_ids:
            raise InputError(f"image {image_id}: expected each image once, got it again")
        if tuple(detections.size) != tuple(truth.size):
            raise InputError(
                f"image {image_id}: expected detections of size {truth.size}, got {detections.size}"
            )
        for what, labels in (("detections", detections.labels), ("ground truth", truth.labels)):
            if len(labels) and labels.max() > len(self.classes):
                raise InputError(
                    f"image {image_id}: {what}: expected labels 1..{len(self.classes)}, got {labels.max()}"
                )

    def _add_class(self, label: int, detections: Detections, truth: GroundTruth) -> None:
        crowd = np.zeros(len(truth.counts), dtype=bool) if truth.crowd is None else truth.crowd
        self._num_truth[label - 1] += int((~crowd).sum())
        order = np.argsort(-detections.scores.astype(np.float64), kind="stable")
        ordered = [detections.counts[i] for i in order]
        iou = rle.iou(ordered, truth.counts, truth.size, crowd)
        decisions = match(iou, np.asarray(self.thresholds), self.matching, crowd)
        self._scores[label - 1].append(detections.scores[order].astype(np.float64))
        self._decisions[label - 1].append(decisions)


def average_precision(right: NDArray[np.bool_], num_truth: int) -> float:
    """Area under the monotone envelope of precision over recall.

    Args:
        right: bool [D], whether each detection is right, in descending order of score.
        num_truth: number of ground-truth instances, at least 1.
    """
    if num_truth < 1:
        raise InputError(f"num_truth: expected at least 1, got {num_truth}")
    recalled = np.cumsum(right)
    precision = recalled / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / num_truth)  # recall grows by 1 / num_truth at each right detection


def _without_void(truth: GroundTruth) -> GroundTruth:
    counts = truth.counts
    if truth.void is not None and rle.area(truth.void, truth.size):
        counts = rle.subtract(counts, truth.void, truth.size)
    keep = rle.areas(counts, truth.size) > 0  # an instance without a labelled pixel cannot be found
    kept = [one for one, wanted in zip(counts, keep, strict=True) if wanted]
    crowd = None if truth.crowd is None else truth.crowd[keep]
    return GroundTruth(truth.size, kept, truth.labels[keep], crowd)


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
