"""VOC mAP^r on cases worked by hand. Images are one pixel high and 100 wide, so a mask is an interval."""

import json
import math

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.voc_map import THRESHOLDS, VocMapEvaluator, average_precision
from wsis.method.masks import rle

SIZE = (1, 100)


def span(start: int, stop: int) -> bytes:
    mask = np.zeros(SIZE, dtype=bool)
    mask[0, start:stop] = True
    return rle.encode(mask)


def found(*rows: tuple[float, int, int], label: int = 1) -> Detections:
    """Detections (score, start, stop)."""
    return Detections(
        SIZE,
        [span(start, stop) for _, start, stop in rows],
        np.full(len(rows), label),
        np.array([score for score, *_ in rows], dtype=np.float64),
    )


def truth(*rows: tuple[int, int], label: int = 1, crowd: list[bool] | None = None, void=None) -> GroundTruth:
    return GroundTruth(
        SIZE,
        [span(start, stop) for start, stop in rows],
        np.full(len(rows), label),
        None if crowd is None else np.array(crowd),
        void,
    )


def evaluate(*images: tuple[Detections, GroundTruth], **options):
    evaluator = VocMapEvaluator(("cat", "dog"), **options)
    for index, (detections, ground_truth) in enumerate(images):
        evaluator.add_image(f"image{index}", detections, ground_truth)
    return evaluator.result()


TWO_IMAGES = (
    (found((0.9, 0, 10), (0.8, 20, 27), (0.7, 20, 30)), truth((0, 10), (20, 30))),
    (found((0.85, 0, 5), (0.6, 0, 3)), truth((0, 10))),
)


@pytest.mark.parametrize(
    ("matching", "expected"),
    [("voc", [1, 1, 5 / 9, 1 / 2]), ("sds", [1, 5 / 9, 1 / 2, 1 / 2])],
)
def test_every_threshold_by_hand(matching, expected):
    """Three instances A [0,10), B [20,30) in one image, C [0,10) in the other. In score order:

    .90 on A, IoU 1 | .85 on C, IoU .5 | .80 on B, IoU .7 | .70 on B, IoU 1 | .60 on C, IoU .3

    voc (>=)  t=.25: R R R w w -> precision at the rights 1, 1, 1               AP (1+1+1)/3 = 1
              t=.50: the same, .5 >= .5                                         AP 1
              t=.70: R w R w w (the second on B is a duplicate) -> 1, 2/3       AP (1+2/3)/3 = 5/9
              t=.75: R w w R w (now B is free for it) -> 1, 2/4                 AP (1+1/2)/3 = 1/2
    sds (>)   t=.50: R w R w w -> 5/9;  t=.70: .7 > .7 fails, R w w R w -> 1/2
    """
    result = evaluate(*TWO_IMAGES, matching=matching)
    np.testing.assert_allclose(result.average_precision[0], expected, atol=1e-12)
    np.testing.assert_allclose(result.mean, expected, atol=1e-12)
    assert result.ground_truth.tolist() == [3, 0] and result.detections.tolist() == [5, 0]
    assert result.images == 2


def test_order_of_images_does_not_matter_without_ties():
    forward, backward = evaluate(*TWO_IMAGES), evaluate(*TWO_IMAGES[::-1])
    np.testing.assert_array_equal(forward.average_precision, backward.average_precision)


def test_second_choice_separates_voc_from_sds():
    """A [0,10), B [4,16). .9 takes A. .8 is [2,12): IoU 8/12 with A, 8/14 = .571 with B.

    voc: it prefers A, which is taken -> duplicate; AP (1)/2 = .5. sds: B is free, .571 > .5; AP 1.
    """
    image = (found((0.9, 0, 10), (0.8, 2, 12)), truth((0, 10), (4, 16)))
    assert evaluate(image, thresholds=(0.5,)).average_precision[0, 0] == pytest.approx(0.5)
    assert evaluate(image, thresholds=(0.5,), matching="sds").average_precision[0, 0] == pytest.approx(1.0)


def test_envelope():
    """w R R of 2: precision 0, 1/2, 2/3; the envelope lifts the first to 2/3: AP 2/3, not (1/2+2/3)/2."""
    assert average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)
    assert average_precision(np.array([True, False, False, True]), 4) == pytest.approx((1 + 0.5) / 4)
    assert average_precision(np.zeros(0, bool), 3) == 0
    with pytest.raises(InputError, match="at least 1"):
        average_precision(np.zeros(0, bool), 0)


def test_equal_scores_stand_in_the_order_added():
    """One instance. Two equal scores, the wrong one first: AP 1/2; the right one first: AP 1."""
    right, wrong = (0.5, 0, 10), (0.5, 50, 60)
    assert evaluate((found(wrong, right), truth((0, 10)))).mean[0] == pytest.approx(0.5)
    assert evaluate((found(right, wrong), truth((0, 10)))).mean[0] == pytest.approx(1.0)
    apart = [(found(wrong), truth()), (found(right), truth((0, 10)))]
    assert evaluate(*apart).mean[0] == pytest.approx(0.5)
    assert evaluate(*apart[::-1]).mean[0] == pytest.approx(1.0)


def test_equal_scores_within_an_image_decide_who_takes_the_instance():
    """Both on A [0,10): IoU .5 first, then 1. At t=.25 the first takes it (R w): AP 1; at .75 w R: AP 1/2."""
    result = evaluate((found((0.5, 0, 5), (0.5, 0, 10)), truth((0, 10))))
    np.testing.assert_allclose(result.average_precision[0], [1, 1, 0.5, 0.5])


def test_false_alarm_in_an_image_without_the_class_counts():
    images = [(found((0.9, 0, 10)), truth()), (found((0.8, 0, 10)), truth((0, 10)))]
    assert evaluate(*images).mean[1] == pytest.approx(0.5)


def test_no_detections_is_zero_and_no_truth_is_left_out():
    nothing = evaluate((found(), truth((0, 10))))
    assert nothing.average_precision[0].tolist() == [0, 0, 0, 0]
    assert np.isnan(nothing.average_precision[1]).all()
    assert nothing.mean.tolist() == [0, 0, 0, 0]
    no_truth = evaluate((found((0.9, 0, 10), label=2), truth()))
    assert np.isnan(no_truth.mean).all()


def test_detections_of_an_absent_class_count_nowhere():
    both = Detections(SIZE, [span(0, 10), span(0, 10)], np.array([1, 2]), np.array([0.5, 0.9]))
    result = evaluate((both, truth((0, 10))))
    assert result.mean.tolist() == [1, 1, 1, 1]
    assert np.isnan(result.average_precision[1]).all()


def test_classes_are_averaged_and_never_matched_across():
    """cat found (AP 1), the dog's detection is labelled cat (a false alarm after it): dog AP 0, mAP 1/2."""
    detections = found((0.9, 0, 10), (0.8, 50, 60))
    both = GroundTruth(SIZE, [span(0, 10), span(50, 60)], np.array([1, 2]))
    np.testing.assert_allclose(evaluate((detections, both)).mean, [0.5] * 4)


def test_void_is_removed_from_the_truth():
    """Instance [0,20), void [10,20): truth is [0,10). Detection [0,20): IoU 10/20 = .5."""
    image = (found((0.9, 0, 20)), truth((0, 20), void=span(10, 20)))
    np.testing.assert_allclose(evaluate(image).mean, [1, 1, 0, 0])


def test_an_instance_wholly_in_void_is_no_instance():
    result = evaluate((found((0.9, 0, 10)), truth((0, 10), void=span(0, 10))))
    assert result.ground_truth.tolist() == [0, 0] and np.isnan(result.mean).all()


def test_crowd_is_neither_right_nor_wrong():
    """[60,70) lies in the crowd [50,100): ignored, AP 1 (counted wrong it would be 1/2).

    [40,60) has half of itself in it: ignored up to t=.5, wrong above: AP 1, 1, 1/2, 1/2.
    """
    ground_truth = truth((0, 10), (50, 100), crowd=[False, True])
    inside = evaluate((found((0.9, 60, 70), (0.8, 0, 10)), ground_truth))
    assert inside.mean.tolist() == [1, 1, 1, 1] and inside.ground_truth[0] == 1
    half = evaluate((found((0.9, 40, 60), (0.8, 0, 10)), ground_truth))
    assert half.mean.tolist() == [1, 1, 0.5, 0.5]
    only = evaluate((found((0.9, 60, 70)), truth((50, 100), crowd=[True])))
    assert np.isnan(only.mean).all()


def test_row_is_strict_json():
    row = evaluate(*TWO_IMAGES).as_row("prediction", 2, "val", ["image labels"])
    back = json.loads(json.dumps(row, allow_nan=False))
    assert list(back) == ["kind", "outer_iteration", "split", "supervision", "images", "mAP", "per_class"]
    assert back["mAP"] == pytest.approx({"0.25": 1, "0.50": 1, "0.70": 5 / 9, "0.75": 0.5})
    assert back["per_class"]["dog"] == dict.fromkeys(["0.25", "0.50", "0.70", "0.75"])
    assert back["per_class"]["cat"]["0.75"] == 0.5
    assert (back["kind"], back["outer_iteration"], back["images"]) == ("prediction", 2, 2)


def test_no_images():
    result = VocMapEvaluator(("cat",)).result()
    assert result.images == 0 and math.isnan(result.mean[0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"classes": ()}, "distinct names"),
        ({"classes": ("a", "a")}, "distinct names"),
        ({"classes": ("a",), "thresholds": (0.0,)}, r"\(0, 1\]"),
        ({"classes": ("a",), "matching": "coco"}, "matching"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError, match=text):
        VocMapEvaluator(**options)


def test_bad_images():
    evaluator = VocMapEvaluator(("cat",), thresholds=THRESHOLDS)
    evaluator.add_image("a", found(), truth())
    with pytest.raises(InputError, match="image a: expected each image once"):
        evaluator.add_image("a", found(), truth())
    with pytest.raises(InputError, match=r"image b: detections: expected labels 1\.\.1, got 2"):
        evaluator.add_image("b", found((0.5, 0, 3), label=2), truth())
    with pytest.raises(InputError, match="image c: expected detections of size"):
        evaluator.add_image("c", Detections((2, 2), [], np.zeros(0, int), np.zeros(0)), truth())
    with pytest.raises(InputError, match="labels of 1 and more"):
        found((0.5, 0, 3), label=0)
    with pytest.raises(InputError, match="finite scores"):
        found((math.nan, 0, 3))
    with pytest.raises(InputError, match=r"scores \[1\]"):
        Detections(SIZE, [span(0, 1)], np.array([1]), np.zeros(2))
