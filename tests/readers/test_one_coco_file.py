"""One COCO file of all images, as Label Studio and CVAT write it: divided by folders, lists or a share."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import DataError
from wsis.readers.config import DataConfig, open_source, resolved


@pytest.fixture
def root(coco: Any) -> Path:
    """result.json and images/: Label Studio's."""
    root: Path = coco.root
    tree = coco.trees["train"]
    for number in (3, 4):
        shutil.copy(root / f"val/{number - 2}.jpg", root / f"train/{number}.jpg")
        tree["images"].append({"id": number, "file_name": f"{number}.jpg", "width": 12, "height": 8})
        tree["annotations"].append({**tree["annotations"][0], "id": number + 1, "image_id": number})
    for image in tree["images"]:
        image["file_name"] = f"images\\{image['file_name']}"
    shutil.rmtree(root / "annotations")
    shutil.rmtree(root / "val")
    (root / "train").rename(root / "images")
    (root / "result.json").write_text(json.dumps(tree))
    return root


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"root": root, **values}))


def parts(source: Any) -> tuple[int, int]:
    return len(source.image_ids("train")), len(source.image_ids("val"))


def test_all_train(root: Path) -> None:
    assert resolved(DataConfig(root=root)).format == "coco"
    source = opened(root)
    assert parts(source) == (4, 0)
    assert source.image("1").file_name == "images/1.jpg"
    assert "no val part: all of 4 images train; data.val_share" in " ".join(source.notes())
    source.validate()


@pytest.mark.parametrize("place", ["result.json", "annotations/instances_default.json"])
def test_a_share_or_a_list(root: Path, place: str) -> None:
    (root / "annotations").mkdir()
    (root / "result.json").rename(root / place)
    source = opened(root, val_share=0.25)
    assert parts(source) == (3, 1)
    assert source.classes == ("fox", "owl")
    assert source.truth_ids("val") == source.image_ids("val")
    source.validate()
    assert source.digest() == opened(root, val_share=0.25, format="coco").digest()
    (root / "val.txt").write_text("3\nimages/4.jpg\n")
    assert opened(root, val_list="val.txt").image_ids("val") == ("3", "4")


def test_folders_of_splits(root: Path) -> None:
    for split, numbers in (("train", "12"), ("validation", "34")):
        (root / "images" / split).mkdir()
        for number in numbers:
            shutil.move(root / f"images/{number}.jpg", root / f"images/{split}/{number}.jpg")
    tree = json.loads((root / "result.json").read_text())
    for image, split in zip(tree["images"], ["train", "train", "validation", "validation"], strict=True):
        image["file_name"] = f"{split}/{image['id']}.jpg"
    (root / "result.json").write_text(json.dumps(tree))
    assert parts(opened(root)) == (2, 2)


def test_a_share_of_the_file_of_train(coco: Any) -> None:
    with pytest.raises(DataError, match=r"got annotations/instances_val\.json for val"):
        opened(coco.root, format="coco", val_share=0.5).validate()
    (coco.root / "annotations/instances_val.json").unlink()
    for annotation in coco.trees["train"]["annotations"]:
        annotation["category_id"] = 3  # one class alone: it can lose an image
    coco.write("train")
    assert parts(opened(coco.root, format="coco", val_share=0.5)) == (1, 1)
    with pytest.raises(DataError, match=r"instances_val\.json is missing"):  # as it was: a name may be wrong
        opened(coco.root, format="coco").validate()


def test_a_file_of_train_alone_trains_on_all_of_it(coco: Any) -> None:
    (coco.root / "annotations/instances_val.json").unlink()
    shutil.rmtree(coco.root / "val")
    assert resolved(DataConfig(root=coco.root)).format == "coco"
    source = opened(coco.root)
    source.validate()
    assert parts(source) == (2, 0)
    assert (
        len([line for line in source.notes() if line.startswith("no val part: all of 2 images train")]) == 1
    )
    some = opened(coco.root, limit=1)
    assert parts(some) == (1, 0)
    assert [line for line in some.notes() if line.startswith("no val part: data.limit=1 of 2 images train;")]
    assert source.digest() == opened(coco.root, val_split=None).digest()
    assert parts(
        opened(coco.root, val_annotations=None, train_annotations="annotations/instances_train.json")
    ) == (2, 0)
    for said in ({"val_annotations": "annotations/instances_val.json"}, {"val_split": "held"}):
        with pytest.raises(
            DataError, match=r"split '(val|held)': the file .*instances_(val|held)\.json is missing$"
        ):
            opened(coco.root, **said).validate()


@pytest.mark.parametrize("hint", ["images/val2017/", "annotations/captions_val2017.json"])
def test_a_val_without_its_file_is_told(coco: Any, hint: str) -> None:
    (coco.root / "annotations/instances_val.json").unlink()
    (coco.root / "images").mkdir()
    shutil.move(coco.root / "val", coco.root / "images/val2017")
    if hint.endswith(".json"):
        shutil.rmtree(coco.root / "images/val2017")
        (coco.root / hint).write_text("{}")
    with pytest.raises(
        DataError, match=rf"instances_val\.json is missing, and {hint} says that there is a val"
    ):
        opened(coco.root).validate()
    assert parts(opened(coco.root, val_split=None)) == (2, 0)
