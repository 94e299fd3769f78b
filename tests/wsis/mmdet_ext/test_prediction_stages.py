"""The stages `prediction` and `predictions` on artefacts of a few small images."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mmdet.apis import init_detector
from PIL import Image
from pydantic import ValidationError

from data_contracts.errors import DataError
from data_contracts.records import RecordReader, RecordWriter
from data_contracts.schemas import (
    DATASET,
    DETECTIONS,
    GROUND_TRUTH,
    PROPOSALS,
    PSEUDO_LABELS,
    Schema,
    text_to_array,
)
from stages import ceiling, prediction, predictions
from stages.base import Execution, StageContext
from stages.progress import Progress
from wsis.errors import InputError, MissingWeightsError
from wsis.masks import rle
from wsis.masks.boxes import box_of_mask
from wsis.mmdet_ext.source import SuperpixelMasks

SIZE = (64, 96)
CLASSES = ("square", "disc")
IDS = ("a", "b", "c", "d")


class FakeArtefact:
    """Files in a folder and the part of a manifest that the stages read."""

    def __init__(self, path: Path, classes: tuple[str, ...] = CLASSES) -> None:
        self.path = path
        self.manifest = SimpleNamespace(counts={"classes": list(classes)}, supervision=[])

    @classmethod
    def of(cls, path: Path, schema: Schema, records: dict[str, Any]) -> "FakeArtefact":
        path.mkdir()
        RecordWriter(path, schema, list(records)).write(0, list(records.values()))
        return cls(path)

    def records(self, schema: Schema) -> RecordReader:
        return RecordReader(self.path, schema)

    def file(self, name: str) -> Path:
        return self.path / name


def _grid() -> np.ndarray:
    """2 x 3 superpixels of 16 x 16 at half the image's size."""
    rows, columns = np.indices((32, 48))
    return (rows // 16 * 3 + columns // 16).astype(np.uint16)


def _dataset_record(index: int) -> dict[str, np.ndarray]:
    pixels = np.random.default_rng(index).integers(0, 99, (*SIZE, 3), dtype=np.uint8)
    pixels[:32, :32] += 90
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {
        "split": text_to_array("val" if IDS[index] == "d" else "train"),
        "file_name": text_to_array(f"{IDS[index]}.png"),
        "encoded": np.frombuffer(buffer.getvalue(), np.uint8),
        "size": np.array(SIZE, np.int32),
        "labels": np.array([1, 2], np.int32),
        "boxes": np.zeros((0, 4), np.float32),
        "box_labels": np.zeros(0, np.int32),
    }


def _proposals_record() -> dict[str, np.ndarray]:
    membership = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], bool)
    return {
        "superpixels": _grid(),
        "num_superpixels": np.array([6], np.int32),
        "membership_bits": np.packbits(membership, axis=1, bitorder="little"),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "boxes": np.array([[0, 0, 32, 32], [0, 0, 64, 32], [64, 32, 96, 64]], np.float32),
        "areas": np.full(3, 0.2, np.float32),
        "edges": np.zeros((0, 2), np.int32),
        "edge_contours": np.zeros(0, np.float32),
        "edge_lengths": np.zeros(0, np.float32),
        "size": np.array(SIZE, np.int32),
    }


def _labels_record() -> dict[str, np.ndarray]:
    """K = 4: twice {0: square}, once {1: square, 2: disc}, once nothing."""
    return {
        "multiplicities": np.array([2, 1, 1], np.int32),
        "offsets": np.array([0, 1, 3, 3], np.int32),
        "proposal_ids": np.array([0, 2, 1], np.int32),
        "classes": np.array([1, 2, 1], np.int32),
        "scores": np.ones(3, np.float32),
        "diversity": np.array([0.6], np.float32),
        "distinct": np.array([3], np.int32),
    }


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    return {
        "dataset": FakeArtefact.of(
            tmp_path / "dataset", DATASET, {i: _dataset_record(n) for n, i in enumerate(IDS)}
        ),
        "proposals": FakeArtefact.of(
            tmp_path / "proposals", PROPOSALS, {i: _proposals_record() for i in IDS[:3]}
        ),
        "pseudo_labels": FakeArtefact.of(
            tmp_path / "labels", PSEUDO_LABELS, {i: _labels_record() for i in IDS[:3]}
        ),
    }


@pytest.fixture
def config(tiny_config: Path) -> prediction.Config:
    return prediction.Config(
        model=str(tiny_config),
        pretrained=None,
        image_size=96,
        steps=3,
        later_steps=2,
        batch_size=2,
        warmup_steps=1,
        data_workers=1,
    )


def _context(path: Path, iteration: int, stage: str = "prediction") -> StageContext:
    path.mkdir()
    return StageContext(path, 7, iteration, Execution(device="cpu"), Progress(quiet=True), stage)


def test_masks_and_weights_come_from_the_store(inputs: dict[str, Any]) -> None:
    source = prediction.StoredSource(inputs, 8)
    assert source.classes == CLASSES and len(source) == 3 and source.image_size(1) == SIZE
    assert source.image(0).shape == (*SIZE, 3) and source.image(0)[:32, :32].mean() > 120
    found = source.instances(0)
    assert found.labels.tolist() == [1, 1, 2]
    assert found.set_weights == pytest.approx(np.array([[0.5, 0, 0], [0, 0.25, 0], [0, 0.25, 0]]))
    expected = np.zeros((3, *SIZE), bool)
    expected[0, :32, :32], expected[1, :32, :64], expected[2, 32:, 64:] = True, True, True
    assert isinstance(found.masks, SuperpixelMasks)
    assert np.array_equal(found.masks.dense(), expected) and found.masks.shape == expected.shape
    assert np.array_equal(found.masks.boxes, [box_of_mask(mask) for mask in expected])


def test_a_proposal_between_the_pixels_of_a_smaller_image_is_left_out(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    record = {**_dataset_record(0), "size": np.array((64, 2), np.int32)}  # columns 12 and 36 of the grid's 48
    inputs["dataset"] = FakeArtefact.of(tmp_path / "small", DATASET, {"a": record})
    found = prediction.StoredSource(inputs, 8).instances(0)
    assert isinstance(found.masks, np.ndarray) and found.masks.shape == (3, 64, 2)
    proposals = _proposals_record() | {"superpixels": np.roll(_grid(), 13, axis=1)}
    membership = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]], bool)
    proposals["membership_bits"] = np.packbits(membership, axis=1, bitorder="little")
    inputs["proposals"] = FakeArtefact.of(tmp_path / "moved", PROPOSALS, {"a": proposals})
    found = prediction.StoredSource(inputs, 8).instances(0)
    assert found.labels.tolist() == [1, 2] and len(found.set_weights) == 2
    assert isinstance(found.masks, np.ndarray) and found.masks.any(axis=(1, 2)).all()


def test_an_unknown_proposal_is_named(inputs: dict[str, Any], tmp_path: Path) -> None:
    record = _labels_record() | {"proposal_ids": np.array([0, 9, 1], np.int32)}
    inputs["pseudo_labels"] = FakeArtefact.of(tmp_path / "broken", PSEUDO_LABELS, {"a": record})
    with pytest.raises(DataError, match=r"image a: proposal_ids: expected 0\.\.2, got"):
        prediction.StoredSource(inputs, 8).instances(0)


def test_two_outer_iterations_and_their_predictions(
    inputs: dict[str, Any], config: prediction.Config, tmp_path: Path
) -> None:
    first = _context(tmp_path / "prediction1", 1)
    prediction.run(inputs, config, first)
    names = {"curve.json", "model.json", "model.py", "weights.pth"}
    assert {path.name for path in first.workdir.iterdir()} == names
    assert first.counts["steps"] == 3 and first.counts["images"] == 3
    assert 0 < first.counts["data_wait_share"] < 1
    curve = json.loads((first.workdir / "curve.json").read_text())
    assert curve[-1]["step"] == 3 and np.isfinite(curve[-1]["loss"])
    trained = FakeArtefact(first.workdir)

    second = _context(tmp_path / "prediction2", 2)
    prediction.run({**inputs, "previous": trained}, config, second)
    assert second.counts["steps"] == 2

    model = init_detector(str(trained.file("model.py")), str(trained.file("weights.pth")), device="cpu")
    assert tuple(model.dataset_meta["classes"]) == CLASSES

    found = {}
    for split in ("train", "val"):
        context = _context(tmp_path / f"found-{split}", 1, "predictions")
        settings = predictions.Config(split=split, score_threshold=0.1, max_detections=7)
        predictions.run({"dataset": inputs["dataset"], "prediction": trained}, settings, context)
        records = RecordReader(context.workdir, DETECTIONS)
        assert context.counts["images"] == len(records.ids)
        found[split] = {i: records[i] for i in records.ids}
    assert list(found["train"]) == ["a", "b", "c"] and list(found["val"]) == ["d"]
    record = found["val"]["d"]
    assert 0 < len(record["scores"]) <= 7 and record["size"].tolist() == list(SIZE)
    assert record["class_probabilities"].shape[1] == 3
    assert set(record["labels"].tolist()) <= {1, 2}


def test_steps_follow_the_data_and_the_iteration() -> None:
    config = prediction.Config(steps=1200, later_steps=600, max_epochs=12, batch_size=4)
    assert [config.total_steps(1116, t) for t in (None, 1, 2, 4)] == [1200, 1200, 600, 600]
    assert config.total_steps(64, 1) == 192 and config.total_steps(1, 1) == 3


def test_the_stage_checks_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = prediction.STAGE.check
    assert check is not None
    check(prediction.Config())  # EfficientNet-Lite0 from its package
    with pytest.raises(MissingWeightsError, match=r"no file .*absent\.pth"):
        check(prediction.Config(pretrained=str(tmp_path / "absent.pth")))
    with pytest.raises(InputError, match=r"no file .*absent_model"):
        check(prediction.Config(model="absent_model"))
    with pytest.raises(ValidationError, match="gamma"):
        prediction.Config(gamma=1.5)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"WORLD_SIZE: expected one process, .* got 2"):
        check(prediction.Config())


def test_the_digest_follows_the_model_and_its_bases(tmp_path: Path) -> None:
    digest = prediction.STAGE.content_digest
    assert digest is not None
    base, path = tmp_path / "base.py", tmp_path / "model.py"
    base.write_text("model = dict(a=1)")
    path.write_text("_base_ = ['./base.py']")
    before = digest(prediction.Config(model=str(path), pretrained=None))
    assert digest(prediction.Config(model=str(path), pretrained="imagenet")) != before
    path.write_text("_base_ = ['./base.py']  # a comment")
    assert digest(prediction.Config(model=str(path), pretrained=None)) == before
    base.write_text("model = dict(a=2)")
    assert digest(prediction.Config(model=str(path), pretrained=None)) != before


def test_a_split_without_images_is_named(inputs: dict[str, Any], tmp_path: Path) -> None:
    only_train = FakeArtefact.of(tmp_path / "train", DATASET, {"a": _dataset_record(0)})
    context = _context(tmp_path / "found", 1, "predictions")
    with pytest.raises(DataError, match="expected images of split 'val'"):
        predictions.run({"dataset": only_train, "prediction": only_train}, predictions.Config(), context)


def _truth_record(split: str, masks: np.ndarray) -> dict[str, np.ndarray]:
    encoded = rle.encode_many(masks)
    return {
        "split": text_to_array(split),
        "size": np.array(SIZE, np.int32),
        "labels": np.arange(1, len(masks) + 1, dtype=np.int32),
        "boxes": np.zeros((len(masks), 4), np.float32),
        "mask_offsets": np.cumsum([0, *map(len, encoded)]).astype(np.int64),
        "mask_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "void": np.zeros(0, np.uint8),
    }


def test_the_ceiling_takes_the_true_masks_of_training_images(inputs: dict[str, Any], tmp_path: Path) -> None:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 5:9, 7:30], masks[1, 40:, 50:] = True, True
    records = {
        "b": _truth_record("train", masks),
        "c": _truth_record("train", masks[:0]),
        "d": _truth_record("val", masks),
    }
    given = {"dataset": inputs["dataset"]}
    truth = FakeArtefact.of(tmp_path / "truth", GROUND_TRUTH, records)
    source = ceiling.TruthSource({**given, "ground_truth": truth})
    assert source.ids == ["b", "c"] and source.classes == CLASSES and source.image_size(0) == SIZE
    assert np.array_equal(source.image(0), prediction.StoredSource(inputs, 8).image(1))
    found = source.instances(0)
    assert np.array_equal(found.masks, masks) and found.labels.tolist() == [1, 2]
    assert found.set_weights.tolist() == [[1.0], [1.0]]
    nothing = source.instances(1)
    assert nothing.masks.shape == (0, *SIZE) and nothing.set_weights.shape == (0, 1)

    others = FakeArtefact(truth.path, ("disc", "square"))
    with pytest.raises(DataError, match=r"ceiling: expected masks of classes \('square', 'disc'\), got"):
        ceiling.TruthSource({**given, "ground_truth": others})
    val_alone = FakeArtefact.of(tmp_path / "val", GROUND_TRUTH, {"d": records["d"]})
    with pytest.raises(DataError, match="ceiling: expected masks of training images, got none in 1 records"):
        ceiling.TruthSource({**given, "ground_truth": val_alone})


def test_the_ceiling_says_what_supervised_it() -> None:
    said = ceiling.STAGE.supervision
    assert said(ceiling.Config(pretrained=None)) == (ceiling.SUPERVISION,)
    assert said(ceiling.Config()) == (ceiling.SUPERVISION, "ImageNet labels")
    assert "pixel labels" in ceiling.SUPERVISION
    with pytest.raises(ValidationError, match="gamma"):
        ceiling.Config(gamma=0.5)
