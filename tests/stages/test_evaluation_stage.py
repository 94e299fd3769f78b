"""The evaluation stage on artefacts of a few pixels: which rows it writes for which inputs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from data_contracts.errors import DataError
from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import SCHEMAS
from stages.evaluation.evaluation import STAGE, Config
from tests.records import proposals_of, truth_record
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext
from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.masks.given_masks import GivenMasks

SIZE = (8, 10)
LEFT, RIGHT = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
NO_VOID = rle.encode(LEFT)
LEFT[2:6, 1:4], RIGHT[2:6, 6:9] = True, True


class FakeArtefact:
    """Records in a folder and the part of a manifest that the stage reads."""

    def __init__(
        self, folder, contract, records, classes=("cat", "cow"), supervision=("image-level labels",)
    ):
        folder.mkdir()
        self.path = folder
        RecordWriter(folder, SCHEMAS[contract], list(records)).write(0, list(records.values()))
        self.manifest = SimpleNamespace(counts={"classes": list(classes)}, supervision=list(supervision))

    def records(self, schema):
        return RecordReader(self.path, schema)


def proposals_record():
    """Proposals 0 left, 1 right, 2 both."""
    superpixels = LEFT + 2 * RIGHT.astype(int)
    return proposals_of(superpixels, [[0, 1, 0], [0, 0, 1], [0, 1, 1]], SIZE).to_record()


def detections_record(boxes, labels, scores):
    n = len(boxes)
    return {
        "class_probabilities": np.full((n, 3), 1 / 3, np.float32),
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "masks": np.full((n, 28, 28), 255, np.uint8),
        "labels": np.array(labels, np.int32),
        "scores": np.array(scores, np.float32),
        "size": np.array(SIZE, np.int32),
    }


@pytest.fixture
def truth(tmp_path):
    """Train: a with a cat left and a cow right, b with a cat left. Val: c with a cat left."""
    return FakeArtefact(
        tmp_path / "truth",
        "ground_truth",
        {
            "a": truth_record(np.stack([LEFT, RIGHT]), [1, 2], void=NO_VOID),
            "b": truth_record(LEFT[None], void=NO_VOID),
            "c": truth_record(LEFT[None], split="val", void=NO_VOID),
        },
    )


@pytest.fixture
def proposals(tmp_path):
    records = {name: proposals_record() for name in "abc"}
    return FakeArtefact(tmp_path / "proposals", "proposals", records)


def evaluate(tmp_path, inputs, config=None, iteration=None):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    context = StageContext(out, 0, iteration, Execution(), Progress(), "evaluation")
    STAGE.run(inputs, config or Config(), context)
    return json.loads((out / "metrics.json").read_text()), context.counts, out


def test_prediction_row(tmp_path, truth):
    """The cat of c is found exactly after a false alarm: precision at the hit 1/2."""
    records = {"c": detections_record([[6, 2, 9, 6], [1, 2, 4, 6]], [1, 1], [0.9, 0.8])}
    predictions = FakeArtefact(tmp_path / "p", "detections", records, supervision=("boxes", "BSDS"))
    row, counts, _ = evaluate(tmp_path, {"ground_truth": truth, "predictions": predictions}, iteration=3)
    halves = {"0.25": 0.5, "0.50": 0.5, "0.70": 0.5, "0.75": 0.5}
    coco = dict.fromkeys(("AP", "AP50", "AP75", "APs"), pytest.approx(0.5)) | {"APm": None, "APl": None}
    assert row == {
        "kind": "prediction",
        "outer_iteration": 3,
        "split": "val",
        "supervision": "boxes, BSDS",
        "images": 1,
        "mAP": halves,
        "per_class": {"cat": halves, "cow": dict.fromkeys(halves)},
        "coco": coco,
        "coco_per_class": {"cat": coco, "cow": dict.fromkeys(coco)},
    }
    assert (counts["images"], counts["instances"], counts["detections"]) == (1, 1, 2)


def test_pseudo_labels_row_and_quality(tmp_path, truth, proposals):
    """a: seven of ten samples hold the cat and the cow, three the two merged as a cat. b: no record.

    Cats: left .7 (right), both .3 (wrong), 2 true ones: AP 1/2. Cow: found, AP 1. mAP 3/4.
    """
    record = {
        "multiplicities": np.array([7, 3], np.int32),
        "offsets": np.array([0, 2, 3], np.int32),
        "proposal_ids": np.array([0, 1, 2], np.int32),
        "classes": np.array([1, 2, 1], np.int32),
        "scores": np.array([1, 1, 1], np.float32),
        "diversity": np.array([0.3], np.float32),
        "distinct": np.array([2], np.int32),
    }
    pseudo_labels = FakeArtefact(tmp_path / "l", "pseudo_labels", {"a": record})
    inputs = {"ground_truth": truth, "pseudo_labels": pseudo_labels, "proposals": proposals}
    row, counts, out = evaluate(tmp_path, inputs, iteration=1)
    assert (row["kind"], row["split"], row["images"]) == ("pseudo_labels", "train", 2)
    assert row["mAP"]["0.75"] == pytest.approx(0.75) and row["per_class"]["cat"]["0.50"] == pytest.approx(0.5)
    assert counts["images_without_records"] == 1
    quality = json.loads((out / "instance_quality.json").read_text())
    # cat: IoU 1 in seven samples, 12 of 24 pixels in three; cow: 1 in seven, none in three
    assert quality["mean_best_iou"] == pytest.approx((0.7 * 1 + 0.3 * 0.5 + 0.7) / 2)
    assert quality["found"] == pytest.approx(0.7 * 2 + 0.3) and quality["missed"] == pytest.approx(0.3)


def test_pseudo_labels_of_given_masks_are_scored_apart(tmp_path, truth, proposals):
    """Masks of a are given: its samples are right, those of b are not; the row of all is the same beside."""

    def certain(*rows):
        numbers, labels = (np.array(some, np.int32) for some in zip(*rows, strict=True))
        return {
            "multiplicities": np.array([10], np.int32),
            "offsets": np.array([0, len(rows)], np.int32),
            "proposal_ids": numbers,
            "classes": labels,
            "scores": np.ones(len(rows), np.float32),
            "diversity": np.zeros(1, np.float32),
            "distinct": np.ones(1, np.int32),
        }

    records = {"a": certain((0, 1), (1, 2)), "b": certain((1, 1))}
    labels = FakeArtefact(tmp_path / "l", "pseudo_labels", records)
    inputs = {"ground_truth": truth, "pseudo_labels": labels, "proposals": proposals}
    alone, _, out = evaluate(tmp_path, inputs, iteration=2)
    assert not (out / "shares.json").exists()
    given = GivenMasks(np.array([1, 2], np.int32), tuple(rle.encode_many(np.stack([LEFT, RIGHT]))), SIZE)
    corrections = FakeArtefact(tmp_path / "given", "corrections", {"a": given.to_record()})
    row, _, out = evaluate(tmp_path, {**inputs, "corrections": corrections}, iteration=2)
    shares = json.loads((out / "shares.json").read_text())
    assert row == alone and row["images"] == 2
    assert {kind: (one["kind"], one["images"]) for kind, one in shares.items()} == {
        "given_masks": ("given_masks", 1),
        "weak_labels": ("weak_labels", 1),
    }
    assert shares["given_masks"]["mAP"]["0.75"] == 1 and shares["given_masks"]["coco"]["AP"] == 1
    assert shares["weak_labels"]["mAP"]["0.25"] == 0
    assert shares["weak_labels"]["per_class"]["cow"]["0.25"] is None  # b shows none


def test_a_share_without_images_has_no_row(tmp_path, truth, proposals):
    def nothing():
        return GivenMasks(np.zeros(0, np.int32), (), SIZE).to_record()

    samples = {
        "multiplicities": np.array([2], np.int32),
        "offsets": np.zeros(2, np.int32),
        "proposal_ids": np.zeros(0, np.int32),
        "classes": np.zeros(0, np.int32),
        "scores": np.zeros(0, np.float32),
        "diversity": np.zeros(1, np.float32),
        "distinct": np.ones(1, np.int32),
    }
    inputs = {
        "ground_truth": truth,
        "pseudo_labels": FakeArtefact(tmp_path / "l", "pseudo_labels", dict.fromkeys("ab", samples)),
        "proposals": proposals,
        "corrections": FakeArtefact(tmp_path / "given", "corrections", {"a": nothing(), "b": nothing()}),
    }
    _, _, out = evaluate(tmp_path, inputs, iteration=1)
    assert list(json.loads((out / "shares.json").read_text())) == ["given_masks"]


def test_prm_baseline_row(tmp_path, truth, proposals):
    """Of records of both splits val is scored."""
    record = {
        "proposal_ids": np.array([0], np.int32),
        "labels": np.array([1], np.int32),
        "scores": np.array([3.0], np.float32),
    }
    baseline = FakeArtefact(tmp_path / "b", "proposal_detections", {name: record for name in "abc"})
    inputs = {"ground_truth": truth, "prm_baseline": baseline, "proposals": proposals}
    row, _, _ = evaluate(tmp_path, inputs)
    assert (row["kind"], row["outer_iteration"], row["split"]) == ("prm_baseline", None, "val")
    assert row["mAP"]["0.75"] == 1.0


def test_bad_inputs(tmp_path, truth, proposals):
    records = {"c": detections_record([[1, 2, 4, 6]], [1], [0.9])}
    predictions = FakeArtefact(tmp_path / "p", "detections", records)
    with pytest.raises(InputError, match="expected one of predictions"):
        evaluate(tmp_path, {"ground_truth": truth, "proposals": proposals})
    with pytest.raises(InputError, match="expected one of predictions"):
        evaluate(tmp_path, {"ground_truth": truth, "predictions": predictions, "pseudo_labels": predictions})
    with pytest.raises(InputError, match="expected proposals beside it"):
        evaluate(tmp_path, {"ground_truth": truth, "pseudo_labels": predictions})
    other = FakeArtefact(tmp_path / "o", "detections", {"z": records["c"]})
    with pytest.raises(InputError, match="expected records of images with ground truth, got 1 without"):
        evaluate(tmp_path, {"ground_truth": truth, "predictions": other})
    truth.manifest.counts = {}
    with pytest.raises(DataError, match="class names in the manifest's counts, got None"):
        evaluate(tmp_path, {"ground_truth": truth, "predictions": predictions})


def test_a_record_that_does_not_fit_names_its_image(tmp_path, truth):
    record = {**detections_record([[1, 2, 4, 6]], [1], [0.9]), "size": np.array([9, 9], np.int32)}
    predictions = FakeArtefact(tmp_path / "p", "detections", {"c": record})
    with pytest.raises(InputError, match=r"prediction of image c: .*expected detections of size"):
        evaluate(tmp_path, {"ground_truth": truth, "predictions": predictions})
