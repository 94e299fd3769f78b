"""VOC mAP^r on random instances: against a plain reading of the protocols and against faster-coco-eval."""

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.voc_map import THRESHOLDS, VocMapEvaluator
from wsis.method.masks import rle

CLASSES = ("cat", "cow", "dog")
SIZE = (40, 50)


def rectangles(corners: np.ndarray) -> np.ndarray:
    masks = np.zeros((len(corners), *SIZE), dtype=bool)
    for mask, (top, left, height, width) in zip(masks, corners, strict=True):
        mask[top : top + height, left : left + width] = True
    return masks


def random_image(
    rng: np.random.Generator, ties: bool
) -> tuple[Detections, GroundTruth, np.ndarray, np.ndarray]:
    """Instances, and detections that are jittered copies of them: near-duplicates and rivals abound."""
    num_truth, num_found = rng.integers(0, 7), rng.integers(0, 25)
    boxes = np.stack([rng.integers(0, 25, num_truth), rng.integers(0, 30, num_truth)], axis=1)
    boxes = np.concatenate([boxes, rng.integers(8, 22, (num_truth, 2))], axis=1)
    labels = rng.integers(1, 4, num_truth)
    if num_truth:
        source = rng.integers(0, num_truth, num_found)
        jittered = boxes[source] + rng.integers(-2, 3, (num_found, 4))
        found_labels = np.where(rng.random(num_found) < 0.8, labels[source], rng.integers(1, 4, num_found))
    else:
        jittered, found_labels = rng.integers(1, 20, (num_found, 4)), rng.integers(1, 4, num_found)
    jittered[:, :2], jittered[:, 2:] = np.maximum(jittered[:, :2], 0), np.maximum(jittered[:, 2:], 1)
    scores = (
        rng.integers(1, 6, num_found) / 8 if ties else rng.permutation(num_found) / 64 + rng.random() / 64
    )
    masks, found_masks = rectangles(boxes), rectangles(jittered)
    crowd = rng.random(num_truth) < 0.15
    return (
        Detections(SIZE, rle.encode_many(found_masks), found_labels, scores.astype(np.float64)),
        GroundTruth(SIZE, rle.encode_many(masks), labels, crowd),
        found_masks,
        masks,
    )


def plain_average_precision(images, label: int, threshold: float, matching: str) -> float:
    """The protocol read slowly: one detection at a time in global order, dense masks, envelope by loops."""
    rows = []
    for image, (detections, _, masks, _) in enumerate(images):
        for one in np.flatnonzero(detections.labels == label):
            rows.append((-detections.scores[one], image, masks[one]))
    rows.sort(key=lambda row: row[0])  # Python's sort is stable
    num_truth = sum(int(((t.labels == label) & ~t.crowd).sum()) for _, t, _, _ in images)
    if num_truth == 0:
        return float("nan")
    taken, outcomes = set(), []
    for _, image, mask in rows:
        _, truth, _, true_masks = images[image]
        best, best_iou = None, -1.0
        in_crowd = False
        for index in np.flatnonzero(truth.labels == label):
            common = (mask & true_masks[index]).sum()
            if truth.crowd[index]:
                share = common / mask.sum()
                in_crowd |= bool(share >= threshold if matching == "voc" else share > threshold)
                continue
            iou = common / (mask | true_masks[index]).sum()
            if matching == "sds" and (image, index) in taken:
                continue
            if iou > best_iou:
                best, best_iou = (image, index), iou
        reached = best_iou >= threshold if matching == "voc" else best_iou > threshold
        if reached and best not in taken:
            taken.add(best)
            outcomes.append(True)
        elif not in_crowd:
            outcomes.append(False)
    precisions = [sum(outcomes[: i + 1]) / (i + 1) for i in range(len(outcomes))]
    return sum(max(precisions[i:]) for i, right in enumerate(outcomes) if right) / num_truth


@pytest.mark.parametrize("matching", ["voc", "sds"])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_plain_reading(matching, ties):
    rng = np.random.default_rng(7)
    images = [random_image(rng, ties) for _ in range(30)]
    evaluator = VocMapEvaluator(CLASSES, matching=matching)
    for index, (detections, truth, _, _) in enumerate(images):
        evaluator.add_image(str(index), detections, truth)
    result = evaluator.result()
    for row, label in enumerate(range(1, 4)):
        for column, threshold in enumerate(THRESHOLDS):
            expected = plain_average_precision(images, label, threshold, matching)
            assert result.average_precision[row, column] == pytest.approx(expected, abs=1e-12)
    assert 0.05 < result.mean[-1] < result.mean[0] < 0.95  # the cases are neither trivial nor hopeless


def coco_average_precision(images, label: int, thresholds: list[float]) -> np.ndarray:
    """AP per threshold from faster-coco-eval's precision at recalls (i - 1/2) / G, i = 1..G.

    COCO's 101 recall points sample the envelope; at these G points the envelope is read once on each of its
    steps, so the mean is the exact area under it.
    """
    annotations, results = [], []
    for image, (detections, truth, _, _) in enumerate(images, start=1):
        for one, counts in enumerate(truth.counts):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(truth.labels[one]),
                    "segmentation": {"size": list(SIZE), "counts": counts.decode()},
                    "area": rle.area(counts, SIZE),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": int(truth.crowd[one]),
                }
            )
        for one, counts in enumerate(detections.counts):
            results.append(
                {
                    "image_id": image,
                    "category_id": int(detections.labels[one]),
                    "segmentation": {"size": list(SIZE), "counts": counts.decode()},
                    "score": float(detections.scores[one]),
                }
            )
    coco = COCO(
        {
            "images": [{"id": i + 1, "height": SIZE[0], "width": SIZE[1]} for i in range(len(images))],
            "annotations": annotations,
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
        }
    )
    evaluation = COCOeval_faster(coco, coco.loadRes(results), "segm", print_function=lambda *_: None)
    num_truth = sum(int(((t.labels == label) & ~t.crowd).sum()) for _, t, _, _ in images)
    evaluation.params.catIds = [label]
    evaluation.params.iouThrs = np.array(thresholds)
    evaluation.params.recThrs = (np.arange(num_truth) + 0.5) / num_truth
    evaluation.params.maxDets = [1000]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, 0, 0, 0].mean(axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_sds_equals_faster_coco_eval(seed):
    """COCO takes the best free instance, as sds does, with >= for >: equal where no IoU hits a threshold.

    The thresholds are a hair off round values, which no IoU of small integer areas can equal.
    """
    rng = np.random.default_rng(100 + seed)
    images = [random_image(rng, ties=False) for _ in range(25)]
    thresholds = [t + 1e-6 for t in THRESHOLDS]
    evaluator = VocMapEvaluator(CLASSES, thresholds=thresholds, matching="sds")
    for index, (detections, truth, _, _) in enumerate(images):
        evaluator.add_image(str(index), detections, truth)
    ours = evaluator.result().average_precision
    for label in range(1, 4):
        theirs = coco_average_precision(images, label, thresholds)
        np.testing.assert_allclose(ours[label - 1], theirs, atol=1e-12)
