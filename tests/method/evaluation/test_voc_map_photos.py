"""VOC mAP^r on real VOC masks: what perfect, low-resolution and shifted masks are worth."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.sources import network_detections
from wsis.method.evaluation.voc_map import MapResult, VocMapEvaluator
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections

IMAGES = 40


def masks_of(root: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Id, instance masks bool [N, H, W] and void bool [H, W] of the first images."""
    for path in sorted((root / "SegmentationObject").glob("*.png"))[:IMAGES]:
        indices = np.asarray(Image.open(path))
        ids = [i for i in np.unique(indices) if i not in (0, 255)]
        if ids:
            yield path.stem, np.stack([indices == i for i in ids]), indices == 255


def low_resolution(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks as Mask R-CNN would state them: 28 x 28 in the tight box."""
    boxes, small = rle.bboxes(rle.encode_many(masks), masks.shape[1:]), []
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        part = 255 * mask[y1:y2, x1:x2].astype(np.float32)
        small.append(cv2.resize(part, (28, 28), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return np.stack(small), boxes


def score(root: Path, detect) -> MapResult:
    evaluator = VocMapEvaluator(("animal",))
    for image_id, masks, void in masks_of(root):
        labels, size = np.ones(len(masks), int), masks.shape[1:]
        truth = GroundTruth(size, rle.encode_many(masks), labels, void=rle.encode(void))
        evaluator.add_image(image_id, detect(masks, labels, size), truth)
    return evaluator.result()


def test_perfect_masks(voc_root):
    def detect(masks, labels, size):
        return Detections(size, rle.encode_many(masks), labels, np.linspace(1, 0.5, len(masks)))

    result = score(voc_root, detect)
    assert result.mean.tolist() == [1, 1, 1, 1] and result.ground_truth[0] > IMAGES // 2


def test_masks_of_28_cells_keep_the_highest_threshold(voc_root):
    """What the mask head can state at best; were the paste off by a cell, it would not be."""

    def detect(masks, labels, size):
        small, boxes = low_resolution(masks)
        scores = np.linspace(1, 0.5, len(masks))
        return network_detections(NetworkDetections(labels[:, None], boxes, small, labels, scores, size))

    assert score(voc_root, detect).mean[-1] == pytest.approx(1.0, abs=0.05)


def test_shifted_masks_lose_the_high_thresholds_first(voc_root):
    def detect(masks, labels, size):
        moved = np.roll(masks, 15, axis=2)
        moved[:, :, :15] = False
        return Detections(size, rle.encode_many(moved), labels, np.linspace(1, 0.5, len(masks)))

    mean = score(voc_root, detect).mean
    assert mean[0] > 0.9 and mean[0] > mean[1] > mean[2] > mean[3]
