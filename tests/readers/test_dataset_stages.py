"""The stages `dataset`, `boxes` and `ground_truth` end to end on hand-made data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from data_contracts.schemas import BOXES, DATASET, GROUND_TRUTH, array_to_text
from data_contracts.store import Store
from stages.data import boxes, dataset, ground_truth
from tests.hard.datasets import BUILDERS
from wsis.engine.stage import execute
from wsis.method.masks import rle
from wsis.readers.config import DataConfig


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def voc(root: Path, **values: Any) -> DataConfig:
    return DataConfig(format="voc", root=root, **values)


def test_dataset_holds_images_and_labels_alone(devkit: Any, store: Store) -> None:
    artefact = execute(dataset.STAGE, voc(devkit.root), {}, store).artefact
    assert artefact.manifest.supervision == ["image labels"]
    assert artefact.manifest.counts == {
        "images": 5,
        "classes": ["cat", "dog"],
        "train": 3,
        "val": 2,
        "train_negatives": 0,
        "val_negatives": 0,
        "train_images_of_class": {"cat": 2, "dog": 2},
    }
    records = artefact.records(DATASET)
    assert records.ids == ["a", "b", "c", "d", "e"]
    record = records["c"]
    assert array_to_text(record["split"]) == "train"
    assert array_to_text(records["d"]["split"]) == "val"
    assert array_to_text(record["file_name"]) == "JPEGImages/c.jpg"
    assert record["encoded"].tobytes() == (devkit.root / "JPEGImages/c.jpg").read_bytes()
    assert record["size"].tolist() == [8, 12]
    assert record["labels"].tolist() == [1, 2]
    assert set(record) == set(DATASET.fields)


def test_boxes_lie_beside_the_data_set_that_all_supervision_shares(devkit: Any, store: Store) -> None:
    data = execute(dataset.STAGE, voc(devkit.root), {}, store)
    boxed = voc(devkit.root, supervision="box")
    assert execute(dataset.STAGE, boxed, {}, store).artefact.fingerprint == data.artefact.fingerprint
    artefact = execute(boxes.STAGE, boxed, {}, store).artefact
    assert artefact.manifest.supervision == ["boxes"]
    found = artefact.manifest.counts["extents"]
    assert found["an_image"] == 1 and found["at_most"] == 2 and found["median_side"] == 4
    records = artefact.records(BOXES)
    assert records.ids == ["a", "b", "c"]  # the training images
    record = records["c"]
    np.testing.assert_array_equal(record["boxes"], [[1, 2, 5, 6], [1, 2, 5, 6]])
    assert record["box_labels"].tolist() == [1, 2]


@pytest.mark.parametrize("name", ["labelme", "via", "label_studio", "instances"])
def test_drawn_objects_are_labels_and_boxes_and_masks_of_val(name: str, tmp_path: Path, store: Store) -> None:
    BUILDERS[name](tmp_path / "data")
    config = DataConfig(root=tmp_path / "data", supervision="box")
    data, boxed = (execute(stage.STAGE, config, {}, store).artefact for stage in (dataset, boxes))
    assert data.manifest.supervision == ["image labels"] and boxed.manifest.supervision == ["boxes"]
    assert [one["labels"].tolist() for _, one in data.records(DATASET)] == [[1], [2], [2]]
    assert [one["boxes"].tolist() for _, one in boxed.records(BOXES)] == [[[2, 3, 6, 6]]] * 2
    truth = execute(ground_truth.STAGE, config, {}, store).artefact.records(GROUND_TRUTH)["d"]
    mask = np.zeros((8, 12), bool)
    mask[3:6, 2:6] = True
    np.testing.assert_array_equal(rle.decode(truth["mask_bytes"].tobytes(), (8, 12)), mask)


def test_training_needs_no_masks(devkit: Any, store: Store) -> None:
    shutil.rmtree(devkit.root / "SegmentationObject")
    shutil.rmtree(devkit.root / "SegmentationClass")
    assert len(execute(dataset.STAGE, voc(devkit.root), {}, store).artefact.records(DATASET)) == 5
    with pytest.raises(DataError, match="expected some to compare with, got none on any of 5 images"):
        execute(ground_truth.STAGE, voc(devkit.root), {}, store)


def test_artefact_outlives_its_root_and_is_found_from_another(
    devkit: Any, store: Store, tmp_path: Path
) -> None:
    first = execute(dataset.STAGE, voc(devkit.root), {}, store)
    shutil.move(devkit.root, tmp_path / "moved")
    assert len(first.artefact.records(DATASET)["a"]["encoded"]) > 0
    again = execute(dataset.STAGE, voc(tmp_path / "moved"), {}, store)
    assert again.reused
    assert again.artefact.fingerprint == first.artefact.fingerprint


def test_changed_image_makes_another_artefact(devkit: Any, store: Store) -> None:
    first = execute(dataset.STAGE, voc(devkit.root), {}, store)
    devkit.image("a", 77)
    second = execute(dataset.STAGE, voc(devkit.root), {}, store)
    assert not second.reused
    assert second.artefact.fingerprint != first.artefact.fingerprint


def test_bad_data_stops_before_anything_is_stored(devkit: Any, store: Store) -> None:
    devkit.image_bytes("a", b"no image")
    devkit.image_bytes("d", b"no image either")
    with pytest.raises(DataError, match="2 problems"):
        execute(dataset.STAGE, voc(devkit.root), {}, store)
    assert not list(store.root.rglob("manifest.json"))
    assert not list(store.root.rglob("*.zarr"))


def test_ground_truth(devkit: Any, store: Store) -> None:
    (devkit.root / "SegmentationObject/b.png").unlink()
    artefact = execute(ground_truth.STAGE, voc(devkit.root), {}, store).artefact
    assert artefact.manifest.supervision == ["masks (evaluation)"]
    assert artefact.manifest.counts == {"images": 4, "classes": ["cat", "dog"], "images_without_masks": 1}
    records = artefact.records(GROUND_TRUTH)
    assert records.ids == ["a", "c", "d", "e"]
    record = records["d"]
    offsets = record["mask_offsets"]
    instances, _ = devkit.planes()
    mask = record["mask_bytes"][offsets[0] : offsets[1]].tobytes()
    np.testing.assert_array_equal(rle.decode(mask, (8, 12)), instances == 1)
    np.testing.assert_array_equal(rle.decode(record["void"].tobytes(), (8, 12)), instances == 255)
    assert record["labels"].tolist() == [2]
    assert record["boxes"].tolist() == [[1, 2, 5, 6]]
    assert record["size"].tolist() == [8, 12]


def test_all_bad_masks_are_named(devkit: Any, store: Store) -> None:
    instances, categories = devkit.planes()
    for image_id in "bde":
        devkit.masks(image_id, instances[:-1], categories[:-1])
    with pytest.raises(DataError, match=r"masks: 3 problems") as caught:
        execute(ground_truth.STAGE, voc(devkit.root), {}, store)
    assert all(f"(image {i})" in str(caught.value) for i in "bde")


def test_empty_val_image_has_an_empty_record(
    devkit: Any, store: Store, objects_xml: Callable[..., str]
) -> None:
    devkit.xml("d", objects_xml())
    devkit.masks("d", np.zeros((8, 12)), np.zeros((8, 12)))
    record = execute(ground_truth.STAGE, voc(devkit.root), {}, store).artefact.records(GROUND_TRUTH)["d"]
    assert record["boxes"].shape == (0, 4)
    assert record["mask_offsets"].tolist() == [0]
    assert record["mask_bytes"].shape == (0,)


def test_scenes(store: Store) -> None:
    config = DataConfig.model_validate(
        {
            "format": "scenes",
            "supervision": "box",
            "scenes": {"train": 3, "val": 2, "height": 48, "width": 64},
        }
    )
    records = execute(dataset.STAGE, config, {}, store).artefact.records(DATASET)
    boxed = execute(boxes.STAGE, config, {}, store).artefact.records(BOXES)
    truth = execute(ground_truth.STAGE, config, {}, store).artefact.records(GROUND_TRUTH)
    assert records.ids == truth.ids
    assert len(boxed.ids) == 3
    for image_id in boxed.ids:
        np.testing.assert_array_equal(boxed[image_id]["boxes"], truth[image_id]["boxes"])
        np.testing.assert_array_equal(boxed[image_id]["box_labels"], truth[image_id]["labels"])


def test_coco(coco: Any, store: Store) -> None:
    config = DataConfig(format="coco", root=coco.root)
    records = execute(dataset.STAGE, config, {}, store).artefact.records(DATASET)
    assert records.ids == ["train/1", "train/2", "val/1", "val/2"]
    truth = execute(ground_truth.STAGE, config, {}, store).artefact.records(GROUND_TRUTH)
    assert rle.area(truth["val/1"]["void"].tobytes(), (8, 12)) == 4


def test_full_disk_is_said(devkit: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("data_contracts.record_shards.zarr.create_group", no_space)
    with pytest.raises(OSError, match=r"[Nn]o space|full"):
        execute(dataset.STAGE, voc(devkit.root), {}, store)
