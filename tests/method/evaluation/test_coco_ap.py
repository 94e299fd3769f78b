"""COCO AP on random instances against pycocotools, and its conventions on hand-made ones."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wsis.errors import InputError
from wsis.method.evaluation.coco_ap import MEASURES, CocoEvaluator
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.masks import rle

CLASSES = ("cat", "cow", "dog")
SIZE = (130, 160)


def rectangles(corners: np.ndarray) -> list[bytes]:
    masks = np.zeros((len(corners), *SIZE), dtype=bool)
    for mask, (top, left, height, width) in zip(masks, corners, strict=True):
        mask[top : top + height, left : left + width] = True
    return rle.encode_many(masks)


def random_image(rng: np.random.Generator, most: int) -> tuple[Detections, GroundTruth]:
    """Instances of all three sizes, some of them crowds; detections are jittered copies with many equal scores."""
    num_truth, num_found = rng.integers(0, 7), rng.integers(0, most)
    boxes = np.stack([rng.integers(0, 60, num_truth), rng.integers(0, 60, num_truth)], axis=1)
    boxes = np.concatenate([boxes, rng.choice([9, 30, 50, 98, 120], (num_truth, 2))], axis=1)
    labels = rng.integers(1, 3, num_truth)  # never a dog
    source = rng.integers(0, num_truth, num_found) if num_truth else np.zeros(num_found, int)
    near = boxes[source] if num_truth else rng.integers(1, 100, (num_found, 4))
    near = np.maximum(near + rng.integers(-3, 4, (num_found, 4)), [0, 0, 1, 1])
    right = labels[source] if num_truth else np.ones(num_found, int)
    found_labels = np.where(rng.random(num_found) < 0.8, right, rng.integers(1, 4, num_found))
    scores = rng.integers(1, 30, num_found) / 32
    return (
        Detections(SIZE, rectangles(near), found_labels, scores),
        GroundTruth(SIZE, rectangles(boxes), labels, rng.random(num_truth) < 0.15),
    )


def by_pycocotools(images: list[tuple[Detections, GroundTruth]]) -> list[float]:
    """The official summary: AP, AP50, AP75, APs, APm, APl; -1 where there is nothing to find."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, len(images) + 1)],
        "annotations": [
            {
                "image_id": i,
                "category_id": int(label),
                "segmentation": {"size": list(SIZE), "counts": counts.decode()},
                "area": rle.area(counts, SIZE),
                "iscrowd": int(crowd),
            }
            for i, (_, one) in enumerate(images, start=1)
            for counts, label, crowd in zip(one.counts, one.labels, one.crowd, strict=True)
        ],
        "categories": [{"id": j, "name": name} for j, name in enumerate(CLASSES, start=1)],
        "info": {},
    }
    for number, annotation in enumerate(truth.dataset["annotations"], start=1):
        annotation["id"] = number
    found = [
        {
            "image_id": i,
            "category_id": int(label),
            "segmentation": {"size": list(SIZE), "counts": counts.decode()},
            "score": float(score),
        }
        for i, (one, _) in enumerate(images, start=1)
        for counts, label, score in zip(one.counts, one.labels, one.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6].tolist()


@pytest.mark.parametrize(("seed", "images", "most"), [(0, 25, 25), (1, 25, 25), (2, 1, 8), (3, 3, 400)])
def test_equals_pycocotools(seed: int, images: int, most: int) -> None:
    """The last case has more than 100 detections of a class in an image."""
    rng = np.random.default_rng(seed)
    cases = [random_image(rng, most) for _ in range(images)]
    evaluator = CocoEvaluator(CLASSES)
    for found, truth in cases:
        evaluator.add_image(found, truth)
    ours = np.nan_to_num(evaluator.result().mean, nan=-1.0)
    np.testing.assert_allclose(ours, by_pycocotools(cases), atol=1e-12)
    assert images < 25 or 0.05 < ours[0] < ours[1] < 0.95  # neither trivial nor hopeless


def box(top: int, left: int, side: int) -> np.ndarray:
    return np.array([[top, left, side, side]])


def test_a_detection_in_void_is_ignored_whatever_its_class() -> None:
    """Without void the false alarm that scores best would halve the cat's precision."""
    cat = rectangles(box(0, 0, 20))
    found = Detections(SIZE, rectangles(box(60, 60, 20)) + cat, np.array([1, 1]), np.array([0.9, 0.8]))
    for void, expected in ((None, 0.5), (rectangles(box(50, 50, 60))[0], 1.0)):
        evaluator = CocoEvaluator(CLASSES)
        evaluator.add_image(found, GroundTruth(SIZE, cat, np.array([1]), void=void))
        fields = evaluator.result().as_fields()
        found_by = dict.fromkeys(("AP", "AP50", "AP75", "APs"), pytest.approx(expected))
        assert fields["coco"] == {**found_by, "APm": None, "APl": None}
        assert fields["coco_per_class"]["cow"] == dict.fromkeys(MEASURES)


def test_nothing_to_find_and_nothing_found() -> None:
    none = Detections(SIZE, [], np.zeros(0, np.int32), np.zeros(0))
    evaluator = CocoEvaluator(CLASSES)
    assert evaluator.result().as_fields()["coco"] == dict.fromkeys(MEASURES)
    evaluator.add_image(none, GroundTruth(SIZE, [], np.zeros(0, np.int32)))
    assert evaluator.result().as_fields()["coco"] == dict.fromkeys(MEASURES)
    evaluator.add_image(none, GroundTruth(SIZE, rectangles(box(0, 0, 50)), np.array([2])))
    assert evaluator.result().as_fields()["coco"] == {
        "AP": 0.0,
        "AP50": 0.0,
        "AP75": 0.0,
        "APs": None,
        "APm": 0.0,
        "APl": None,
    }


def test_refusals() -> None:
    with pytest.raises(InputError, match="expected distinct names"):
        CocoEvaluator(["cat", "cat"])
    empty = Detections(SIZE, [], np.zeros(0, np.int32), np.zeros(0))
    with pytest.raises(InputError, match="expected detections of size"):
        CocoEvaluator(CLASSES).add_image(empty, GroundTruth((5, 5), [], np.zeros(0, np.int32)))
    with pytest.raises(InputError, match=r"expected labels 1\.\.3, got 4"):
        CocoEvaluator(CLASSES).add_image(empty, GroundTruth(SIZE, rectangles(box(0, 0, 5)), np.array([4])))
