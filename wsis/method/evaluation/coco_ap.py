"""COCO AP of instance masks by faster-coco-eval: the mean over IoU .50:.05:.95, at .50, at .75, and by size.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the settings are pycocotools' own: 101 recall
points, at most 100 detections of a class in an image, sizes by mask area (small < 32², medium < 96², large).

Void (VOC's 255, COCO's crowd regions) stands as a crowd region of every class: a detection that lies in it counts
neither as right nor as wrong. A class without ground truth has none of the six and is left out of the means.

Suffixes: C classes, M measures, T thresholds, R recall points, A sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.masks import rle

MEASURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_MOST = 100  # detections of one class in one image


@dataclass(frozen=True)
class CocoResult:
    """COCO AP of one evaluated thing.

    Attributes:
        classes: C names.
        average_precision: float64 [C, M] in [0, 1], columns `MEASURES`; NaN where a class has no ground truth (of
            that size).
    """

    classes: tuple[str, ...]
    average_precision: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Over the classes that have one, float64 [M]; NaN where none has."""
        known = ~np.isnan(self.average_precision)
        total = np.where(known, self.average_precision, 0.0).sum(axis=0)
        return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)

    def as_fields(self) -> dict[str, Any]:
        """The fields `coco` and `coco_per_class` of a row of results, ready for JSON: NaN becomes null."""
        rows = zip(self.classes, self.average_precision, strict=True)
        return {"coco": _plain(self.mean), "coco_per_class": {name: _plain(row) for name, row in rows}}


class CocoEvaluator:
    """Collects run lengths image by image and evaluates them once.

    Args:
        classes: C names; label j is classes[j - 1].
    """

    def __init__(self, classes: Sequence[str]) -> None:
        if not classes or len(set(classes)) != len(classes):
            raise InputError(f"classes: expected distinct names, at least one, got {list(classes)}")
        self.classes = tuple(classes)
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add_image(self, detections: Detections, truth: GroundTruth) -> None:
        """Take the instances of one more image.

        Raises:
            InputError: sizes differ, or a label exceeds the number of classes.
        """
        if tuple(detections.size) != tuple(truth.size):
            raise InputError(f"expected detections of size {truth.size}, got {detections.size}")
        for labels in (detections.labels, truth.labels):
            if len(labels) and labels.max() > len(self.classes):
                raise InputError(f"expected labels 1..{len(self.classes)}, got {labels.max()}")
        height, width = truth.size
        number = len(self._images) + 1
        self._images.append({"id": number, "height": height, "width": width})
        crowd = np.zeros(len(truth.counts), bool) if truth.crowd is None else truth.crowd
        for counts, label, many in zip(truth.counts, truth.labels.tolist(), crowd.tolist(), strict=True):
            self._add_truth(number, label, counts, truth.size, many)
        if truth.void is not None and rle.area(truth.void, truth.size):
            for label in range(1, len(self.classes) + 1):
                self._add_truth(number, label, truth.void, truth.size, True)
        for label in np.unique(detections.labels).tolist():
            self._add_found(number, label, detections.of_class(label))

    def _add_truth(self, image: int, label: int, counts: bytes, size: tuple[int, int], crowd: bool) -> None:
        self._truth.append(
            {
                "id": len(self._truth) + 1,
                **_instance(image, label, counts, size),
                "area": rle.area(counts, size),
                "iscrowd": int(crowd),
            }
        )

    def _add_found(self, image: int, label: int, found: Detections) -> None:
        best = np.argsort(-found.scores.astype(np.float64), kind="stable")[:_MOST]  # no other is looked at
        for i in best.tolist():
            instance = _instance(image, label, found.counts[i], found.size)
            self._found.append({**instance, "score": float(found.scores[i])})

    def result(self) -> CocoResult:
        """The average precisions of all images added so far."""
        means = np.full((len(self.classes), len(MEASURES)), np.nan)
        if not self._truth:
            return CocoResult(self.classes, means)
        precision, thresholds = self._precision()
        for column, (at, size) in enumerate(_cells(thresholds)):
            for row in range(len(self.classes)):
                points = precision[at, :, row, size]
                if (points > -1).any():  # -1: the class has no instance of that size
                    means[row, column] = points[points > -1].mean()
        return CocoResult(self.classes, means)

    def _precision(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision float64 [T, R, C, A] at the recall points, -1 where there is no ground truth; thresholds [T]."""
        categories = [{"id": j, "name": name} for j, name in enumerate(self.classes, start=1)]
        truth = COCO({"images": self._images, "annotations": self._truth, "categories": categories})
        evaluation = COCOeval_faster(
            truth, truth.loadRes(self._found), "segm", print_function=_silent, rle_iou_max_workers=1
        )
        evaluation.evaluate()
        evaluation.accumulate()
        return np.asarray(evaluation.eval["precision"])[..., -1], np.asarray(evaluation.params.iouThrs)


def _cells(thresholds: NDArray[np.float64]) -> list[tuple[NDArray[np.intp], int]]:
    """For each of `MEASURES` the positions of its thresholds, and the position of its size."""
    every = np.arange(len(thresholds))
    half, strict = (np.flatnonzero(np.isclose(thresholds, t)) for t in (0.5, 0.75))
    return [(every, 0), (half, 0), (strict, 0), (every, 1), (every, 2), (every, 3)]


def _instance(image: int, label: int, counts: bytes, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": label,
        "segmentation": {"size": list(size), "counts": counts.decode()},
    }


def _silent(*_: object) -> None:
    """What the library would print."""


def _plain(values: NDArray[np.float64]) -> Mapping[str, float | None]:
    return {m: None if np.isnan(v) else float(v) for m, v in zip(MEASURES, values, strict=True)}
