"""Labels of train in folders, tables or YOLO's files, val and its masks from COCO's JSON."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import DataError
from data_contracts.store import Store
from stages.data import dataset, ground_truth
from wsis.engine.stage import execute
from wsis.readers.config import DataConfig, open_source

Make = Callable[..., Path]


def tree(names: list[str], categories: tuple[str, ...] = ("owl", "fox")) -> dict[str, Any]:
    """Each image holds one object of the first category."""
    return {
        "images": [{"id": i, "file_name": n, "width": 12, "height": 8} for i, n in enumerate(names, 1)],
        "categories": [{"id": i, "name": n} for i, n in enumerate(categories, 1)],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 1 + i % len(categories),
                "bbox": [2, 3, 4, 2],
                "segmentation": [[2, 3, 6, 3, 6, 5, 2, 5]],
            }
            for i in range(1, len(names) + 1)
        ],
    }


@pytest.fixture
def root(tmp_path: Path, make_photographs: Make) -> Path:
    root = tmp_path / "data"
    make_photographs(root, "train/fox/1.jpg", "train/owl/2.jpg", "train/none/3.jpg", "val/fox/4.jpg")
    make_photographs(root, "masked/7.jpg", "masked/8.jpg")
    (root / "masks.json").write_text(json.dumps(tree(["7.jpg", "8.jpg"])))
    return root


def opened(root: Path, **values: Any) -> Any:
    return open_source(
        DataConfig.model_validate(
            {"root": root, "val_annotations": "masks.json", "val_images": "masked", **values}
        )
    )


def check(source: Any) -> None:
    assert source.classes == ("fox", "owl")
    assert {i: source.labels_of(i).tolist() for i in source.image_ids("train")} == {
        "1": [1],
        "2": [2],
        "3": [],
    }
    assert {i: source.labels_of(i).tolist() for i in source.image_ids("val")} == {"7": [1], "8": [2]}
    assert (source.truth_ids("train"), source.truth_ids("val")) == ((), ("7", "8"))
    assert source.truth_of("8").labels.tolist() == [2]
    assert source.source_ids() == {"7": 1, "8": 2}
    source.validate()


def test_folders(root: Path, tmp_path: Path) -> None:
    check(opened(root))
    store = Store(tmp_path / "store")
    config = DataConfig(root=root, val_annotations="masks.json", val_images="masked")
    assert execute(dataset.STAGE, config, {}, store).artefact.manifest.counts["val"] == 2
    truth = execute(ground_truth.STAGE, config, {}, store).artefact
    assert (truth.manifest.counts["images"], truth.manifest.counts["classes"]) == (2, ["fox", "owl"])


def test_masks_elsewhere(root: Path, tmp_path: Path) -> None:
    shutil.move(root / "masks.json", tmp_path / "masks.json")
    check(opened(root, val_annotations=str(tmp_path / "masks.json")))
    before = opened(root, val_annotations=str(tmp_path / "masks.json")).digest()
    shutil.move(root / "masked", tmp_path / "photographs")
    away = opened(
        root, val_annotations=str(tmp_path / "masks.json"), val_images=str(tmp_path / "photographs")
    )
    check(away)
    assert away.digest() != before  # their names differ: masked/7.jpg and 7.jpg


def test_csv_and_yolo(root: Path) -> None:
    (root / "labels.csv").write_text("1.jpg,fox\n2.jpg,owl\n3.jpg,\n")
    check(opened(root, format="csv"))
    (root / "data.yaml").write_text("names: [fox, owl]")
    for name, text in {
        "train/fox/1": "0 .5 .5 .5 .5",
        "train/owl/2": "1 .5 .5 .5 .5",
        "train/none/3": "",
    }.items():
        (root / f"{name}.txt").write_text(text)
    check(opened(root, format="yolo"))


def test_images_of_both_are_val(root: Path) -> None:
    (root / "masks.json").write_text(json.dumps(tree(["train/fox/1.jpg", "masked/8.jpg"])))
    shutil.copy(root / "train/fox/1.jpg", root / "train/fox/5.jpg")
    source = opened(root, val_images=".")
    assert set(source.image_ids("train")) == {"2", "3", "5"}
    assert len(source.image_ids("val")) == 2
    assert "left out of train: 1 image that data.val_annotations has: train/fox/1.jpg" in source.notes()


@pytest.mark.parametrize(
    ("categories", "values", "message"),
    [
        (("Fox", "Owl"), {}, r"expected classes named as in train \(fox, owl\), got Fox, Owl"),
        (("fox", "cat"), {}, r"got also cat; data\.on_unknown_class=ignore leaves their objects out"),
    ],
)
def test_classes_are_matched_by_name(
    root: Path, categories: tuple[str, ...], values: dict[str, Any], message: str
) -> None:
    (root / "masks.json").write_text(json.dumps(tree(["7.jpg", "8.jpg"], categories)))
    with pytest.raises(DataError, match=message):
        opened(root, **values).validate()
    if "cat" in categories:
        source = opened(root, on_unknown_class="ignore")
        assert [source.labels_of(i).tolist() for i in ("7", "8")] == [[], [1]]


def test_a_limit_lets_no_photograph_of_val_into_train(root: Path, make_photographs: Make) -> None:
    names = [f"{i}.jpg" for i in range(10, 30)]  # a limit of 3 takes 8 of val
    make_photographs(root, *(f"owl/{name}" for name in names), "fox/40.jpg", "none/41.jpg")
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")
    (root / "masks.json").write_text(json.dumps(tree(names)))
    table = (
        "file,labels\n" + "".join(f"owl/{name},owl\n" for name in names) + "fox/40.jpg,fox\nnone/41.jpg,\n"
    )
    (root / "labels.csv").write_text(table + "masked/7.jpg,owl\n")
    source = opened(root, format="csv", val_images="owl", limit=3)
    assert len(source.image_ids("val")) == 8
    assert set(source.image_ids("train")) == {"40", "41", "7"}
