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
