"""The stages `prediction` and `predictions` on artefacts of a few small images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data_contracts.errors import ConfigError, DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import (
    DATASET,
    DETECTIONS,
    GROUND_TRUTH,
    PROPOSALS,
    PSEUDO_LABELS,
)
from stages.prediction import ceiling, prediction, predictions
from tests.method.prediction.conftest import tiny_config as tiny_config
from tests.method.prediction.stored_labels import (
    CLASSES,
    SIZE,
    FakeArtefact,
    context,
    dataset_record,
    grid,
    labels_record,
    make_inputs,
    proposals_record,
)
from tests.records import image_record, proposals_of, truth_record
from wsis.engine.stage import Execution
from wsis.errors import InputError, MissingWeightsError
from wsis.method.masks.boxes import box_of_mask
from wsis.method.prediction.data.training_images import SuperpixelMasks
from wsis.method.prediction.training_objects import TrainingObjects


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    return make_inputs(tmp_path)


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
    small = {"size": np.array((64, 2), np.int32)}  # columns 12 and 36 of the grid's 48
    inputs["dataset"] = FakeArtefact.of(tmp_path / "small", DATASET, {"a": dataset_record(0) | small})
    inputs["proposals"] = FakeArtefact.of(tmp_path / "given", PROPOSALS, {"a": proposals_record() | small})
    found = prediction.StoredSource(inputs, 8).instances(0)
    assert isinstance(found.masks, np.ndarray) and found.masks.shape == (3, 64, 2)
    membership = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]], bool)
    proposals = proposals_of(np.roll(grid(), 13, axis=1), membership, (64, 2)).to_record()
    inputs["proposals"] = FakeArtefact.of(tmp_path / "moved", PROPOSALS, {"a": proposals})
    found = prediction.StoredSource(inputs, 8).instances(0)
    assert found.labels.tolist() == [1, 2] and len(found.set_weights) == 2
    assert isinstance(found.masks, np.ndarray) and found.masks.any(axis=(1, 2)).all()


def test_an_unknown_proposal_is_named(inputs: dict[str, Any], tmp_path: Path) -> None:
    record = labels_record() | {"proposal_ids": np.array([0, 9, 1], np.int32)}
    inputs["pseudo_labels"] = FakeArtefact.of(tmp_path / "broken", PSEUDO_LABELS, {"a": record})
    with pytest.raises(DataError, match=r"image a: proposal_ids: expected 0\.\.2, got"):
        prediction.StoredSource(inputs, 8).instances(0)


def test_two_outer_iterations_and_their_predictions(
    inputs: dict[str, Any], config: prediction.Config, tmp_path: Path
) -> None:
    from mmdet.apis import init_detector  # wsis.method.prediction first: it names the operators

    first = context(tmp_path / "prediction1", 1)
    prediction.run(inputs, config, first)
    names = {"curve.json", "model.json", "model.py", "weights.pth"}
    assert {path.name for path in first.workdir.iterdir()} == names
    assert first.counts["steps"] == 3 and first.counts["images"] == 3
    assert 0 < first.counts["data_wait_share"] < 1
    curve = json.loads((first.workdir / "curve.json").read_text())
    assert curve[-1]["step"] == 3 and np.isfinite(curve[-1]["loss"])
    trained = FakeArtefact(first.workdir)

    second = context(tmp_path / "prediction2", 2)
    prediction.run({**inputs, "previous": trained}, config, second)
    assert second.counts["steps"] == 2

    model = init_detector(str(trained.file("model.py")), str(trained.file("weights.pth")), device="cpu")
    assert tuple(model.dataset_meta["classes"]) == CLASSES

    found = {}
    for split in ("train", "val"):
        given = context(tmp_path / f"found-{split}", 1, "predictions")
        settings = predictions.Config(split=split, score_threshold=0.1, max_detections=7)
        predictions.run({"dataset": inputs["dataset"], "prediction": trained}, settings, given)
        records = RecordReader(given.workdir, DETECTIONS)
        assert given.counts["images"] == len(records.ids)
        found[split] = {i: records[i] for i in records.ids}
    assert list(found["train"]) == ["a", "b", "c"] and list(found["val"]) == ["d"]
    objects = TrainingObjects(**first.counts["objects"])
    assert objects.shorter_side == 64 and objects.quarter == 32  # the labelled quarters of 64 x 96
    record = found["val"]["d"]
    assert 0 < len(record["scores"]) <= 7 and record["size"].tolist() == list(SIZE)
    assert record["class_probabilities"].shape[1] == 3
    assert set(record["labels"].tolist()) <= {1, 2}


def test_long_images_are_looked_at_in_tiles_where_that_is_asked_for(
    inputs: dict[str, Any], config: prediction.Config, tmp_path: Path
) -> None:
    training = context(tmp_path / "prediction", 1)
    prediction.run(inputs, config, training)
    trained = FakeArtefact(training.workdir)
    pixels = np.random.default_rng(0).integers(0, 200, (96, 800, 3), dtype=np.uint8)
    long = image_record(pixels, "long.png", "val", (1, 2))
    data = FakeArtefact.of(tmp_path / "long", DATASET, {"a": dataset_record(3), "b": long})
    known = TrainingObjects(**training.counts["objects"])
    found = {}
    for name, settings in (("whole", {}), ("auto", {"tiles": "auto", "objects": known})):
        given = context(tmp_path / name, 1, "predictions")
        chosen = predictions.Config(split="val", score_threshold=0.1, **settings)
        predictions.run({"dataset": data, "prediction": trained}, chosen, given)
        records = RecordReader(given.workdir, DETECTIONS)
        found[name] = {i: records[i] for i in records.ids}
        lines = given.counts.get("tilings", [])
        assert len(lines) == (name == "auto")
    assert (
        lines[0].startswith("800 x 96: ")
        and "tiles of 144 x 96 and the whole, because shrunk to 96 x 12" in lines[0]
    )
    assert all((found["auto"]["a"][k] == found["whole"]["a"][k]).all() for k in found["auto"]["a"])
    assert len(found["auto"]["b"]["scores"]) != len(found["whole"]["b"]["scores"])


def test_what_looks_at_images_whole_has_the_identity_that_it_had() -> None:
    assert predictions.Config().identity() == {
        "max_detections": 100,
        "nms_iou": 0.5,
        "score_threshold": 0.05,
        "split": "val",
    }
    assert predictions.Config(tiles="auto").identity()["tiles"] == "auto"
    assert predictions.Config(size=500).identity()["size"] == 500


def test_steps_follow_the_data_and_the_iteration() -> None:
    config = prediction.Config(steps=1200, later_steps=600, max_epochs=12, batch_size=4)
    assert [config.total_steps(1116, t) for t in (None, 1, 2, 4)] == [1200, 1200, 600, 600]
    assert config.total_steps(64, 1) == 192 and config.total_steps(1, 1) == 3


def test_the_stage_checks_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = prediction.STAGE.check
    assert check is not None
    check(prediction.Config(), Execution())  # EfficientNet-Lite0 from its package
    with pytest.raises(MissingWeightsError, match=r"no file .*absent\.pth"):
        check(prediction.Config(pretrained=str(tmp_path / "absent.pth")), Execution())
    with pytest.raises(InputError, match=r"no file .*absent_model"):
        check(prediction.Config(model="absent_model"), Execution())
    with pytest.raises(ValidationError, match="gamma"):
        prediction.Config(gamma=1.5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=r"prediction\.precision: expected float32 without a CUDA device, got bfloat16"
    ):
        check(prediction.Config(precision="bfloat16"), Execution())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        ConfigError, match=r"prediction\.processes: expected at most 1, as many as there are GPUs, got 2"
    ):
        check(prediction.Config(processes=2), Execution())
    check(prediction.Config(processes=2), Execution(device="cpu"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE: expected one process, got 2: only `wsis run`"):
        check(prediction.Config(processes=2), Execution(device="cpu"))


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
    only_train = FakeArtefact.of(tmp_path / "train", DATASET, {"a": dataset_record(0)})
    given = context(tmp_path / "found", 1, "predictions")
    with pytest.raises(DataError, match="expected images of split 'val'"):
        predictions.run({"dataset": only_train, "prediction": only_train}, predictions.Config(), given)


def test_the_ceiling_takes_the_true_masks_of_training_images(inputs: dict[str, Any], tmp_path: Path) -> None:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 5:9, 7:30], masks[1, 40:, 50:] = True, True
    records = {
        "b": truth_record(masks, [1, 2]),
        "c": truth_record(masks[:0]),
        "d": truth_record(masks, [1, 2], "val"),
    }
    given = {"dataset": inputs["dataset"]}
    truth = FakeArtefact.of(tmp_path / "truth", GROUND_TRUTH, records)
    source = ceiling.TruthSource({**given, "ground_truth": truth})
    # c shows no instance: a negative, which nothing but the classifier learns from
    assert source.ids == ["b"] and source.classes == CLASSES and source.image_size(0) == SIZE
    assert np.array_equal(source.image(0), prediction.StoredSource(inputs, 8).image(1))
    found = source.instances(0)
    assert np.array_equal(found.masks, masks) and found.labels.tolist() == [1, 2]
    assert found.set_weights.tolist() == [[1.0], [1.0]]

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
