"""COCO instances JSON made by hand."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.readers.formats.coco import CocoPaths, CocoSource
from wsis.readers.shared.folder import FolderOptions

SPLITS = {"train": "train", "val": "val"}


def source(coco: Any, paths: CocoPaths | None = None, **options: Any) -> CocoSource:
    return CocoSource(coco.root, FolderOptions(**{"splits": SPLITS, **options}), paths)


def annotation(coco: Any, number: int, split: str = "train") -> dict[str, Any]:
    return coco.trees[split]["annotations"][number]


def test_records(coco: Any) -> None:
    data = source(coco)
    data.validate()
    assert data.classes == ("fox", "owl")  # by category id, 3 before 7
    assert data.image_ids("train") == ("train/1", "train/2")
    assert data.image_ids("val") == ("val/1", "val/2")
    record = data.image("train/1")
    assert (record.file_name, record.height, record.width) == ("train/1.jpg", 8, 12)
    assert record.labels.tolist() == [1]  # the crowd of owls gives no label
    np.testing.assert_array_equal(record.boxes, [[2, 3, 6, 5]])
    assert data.image("val/2").labels.tolist() == [2]


def test_truth(coco: Any) -> None:
    truth = source(coco).truth_of("val/1")
    fox = np.zeros((8, 12), bool)
    fox[3:5, 2:6] = True
    crowd = np.zeros((8, 12), bool)
    crowd[6:8, 0:2] = True
    assert truth.labels.tolist() == [1]
    np.testing.assert_array_equal(rle.decode(truth.masks[0], (8, 12)), fox)
    np.testing.assert_array_equal(rle.decode(truth.void, (8, 12)), crowd)
    np.testing.assert_array_equal(truth.boxes, [[2, 3, 6, 5]])
    owl = np.zeros((8, 12), bool)
    owl[1:3, 4:9] = True
    truth = source(coco).truth_of("val/2")
    np.testing.assert_array_equal(rle.decode(truth.masks[0], (8, 12)), owl)
    assert rle.area(truth.void, (8, 12)) == 0


def test_compressed_run_lengths_and_several_polygons(coco: Any) -> None:
    mask = np.random.default_rng(0).random((8, 12)) < 0.4
    annotation(coco, 0, "val")["segmentation"] = {"size": [8, 12], "counts": rle.encode(mask).decode()}
    annotation(coco, 2, "val")["segmentation"] = [[0, 0, 2, 0, 2, 2, 0, 2], [6, 4, 8, 4, 8, 6, 6, 6]]
    coco.write("val")
    data = source(coco)
    np.testing.assert_array_equal(rle.decode(data.truth_of("val/1").masks[0], (8, 12)), mask)
    two = np.zeros((8, 12), bool)
    two[0:2, 0:2] = two[4:6, 6:8] = True
    np.testing.assert_array_equal(rle.decode(data.truth_of("val/2").masks[0], (8, 12)), two)


def test_other_places(coco: Any) -> None:
    (coco.root / "photos").mkdir()
    shutil.move(coco.root / "train", coco.root / "photos/a")
    shutil.move(coco.root / "annotations/instances_train.json", coco.root / "mine.json")
    paths = CocoPaths({"train": "mine.json"}, {"train": "photos/a"})
    assert source(coco, paths).image("a/1").file_name == "photos/a/1.jpg"
    with pytest.raises(DataError, match=r"instances_train\.json is missing"):
        source(coco).validate()


def test_images_folder(coco: Any) -> None:
    (coco.root / "images").mkdir()
    shutil.move(coco.root / "train", coco.root / "images/train")
    shutil.copytree(coco.root / "val", coco.root / "images", dirs_exist_ok=True)
    shutil.rmtree(coco.root / "val")
    data = source(coco)
    assert data.image("train/1").file_name == "images/train/1.jpg"
    assert data.image("images/1").file_name == "images/1.jpg"


def test_digest(coco: Any, tmp_path: Path) -> None:
    before, truth_before = source(coco).digest(), source(coco).truth_digest()
    shutil.copytree(coco.root, tmp_path / "other place")
    moved = CocoSource(tmp_path / "other place", FolderOptions(SPLITS))
    assert (moved.digest(), moved.truth_digest()) == (before, truth_before)
    annotation(coco, 0, "val")["segmentation"][0][0] = 1
    coco.write("val")
    assert source(coco).digest() == before
    assert source(coco).truth_digest() != truth_before
    annotation(coco, 0)["bbox"][2] = 3
    coco.write("train")
    assert source(coco).digest() != before


def test_digest_changes_with_an_image_byte(coco: Any) -> None:
    before = source(coco).digest()
    path = coco.root / "val/2.jpg"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    assert source(coco).digest() != before


def test_image_without_annotation(coco: Any) -> None:
    del coco.trees["train"]["annotations"][2]
    del coco.trees["val"]["annotations"][2]
    coco.write("train")
    coco.write("val")
    with pytest.raises(DataError, match=r"image 2: expected at least one object, got none \(image train/2\)"):
        source(coco, on_empty="error").validate()
    assert source(coco).labels_of("train/2").shape == (0,)
    data = source(coco, on_empty="drop")
    assert data.image_ids("train") == ("train/1",)
    assert data.image_ids("val") == ("val/1", "val/2")  # val images without instances stay
    assert data.image("val/2").labels.tolist() == []
    assert data.truth_of("val/2").masks == ()


def test_a_crowd_alone_is_no_negative(coco: Any) -> None:
    annotation(coco, 2)["iscrowd"] = 1
    coco.write("train")
    assert source(coco).image_ids("train") == ("train/1",)


def test_classes_matched_by_name(coco: Any) -> None:
    assert source(coco, classes=("owl", "fox")).image("train/1").labels.tolist() == [2]
    with pytest.raises(DataError, match=r"unknown class 'owl', and in 1 image more; expected one of fox"):
        source(coco, classes=("fox",)).validate()
    data = source(coco, classes=("fox",), on_unknown_class="ignore", on_empty="drop")
    assert data.image_ids("train") == ("train/1",)
    assert data.truth_of("val/2").masks == ()


def test_no_boxes_under_image_supervision(coco: Any) -> None:
    del annotation(coco, 0)["bbox"]
    coco.write("train")
    record = source(coco).image("train/1")
    assert (record.labels.tolist(), record.boxes.shape) == ([1], (0, 4))
    with pytest.raises(DataError, match=r"annotations\[0\]: field 'bbox': expected a box because"):
        source(coco, boxes_required=True).validate()


def drop_key(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda tree: tree.pop(key)


def change(kind: str, number: int, key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda tree: tree[kind][number].__setitem__(key, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            drop_key("images"),
            r"instances_train\.json: field 'images': expected a list of objects, got nothing",
        ),
        (lambda t: t.update(annotations={}), r"field 'annotations': expected a list of objects, got dict"),
        (lambda t: t.update(images=[]), r"split 'train' is empty"),
        (change("images", 1, "id", 1), r"images\[1\]: duplicate id 1"),
        (change("annotations", 1, "id", 1), r"annotations\[1\]: duplicate id 1"),
        (change("categories", 1, "name", "owl"), r"categories\[1\]: duplicate category 3 'owl'"),
        (change("categories", 1, "name", ""), r"categories\[1\]: field 'name': expected text"),
        (
            change("images", 0, "id", 1.5),
            r"images\[0\]: field 'id': expected a whole number or text, got 1\.5",
        ),
        (change("images", 0, "id", True), r"field 'id': expected a whole number or text, got True"),
        (change("annotations", 0, "category_id", 3.7), r"'category_id': expected a whole number .*got 3\.7"),
        (
            change("annotations", 0, "iscrowd", -1),
            r"annotations\[0\]: field 'iscrowd': expected 0 or 1, got -1",
        ),
        (change("annotations", 0, "iscrowd", "no"), r"field 'iscrowd': expected 0 or 1, got 'no'"),
        (
            change("images", 0, "width", 12.5),
            r"image 1: height and width: expected a whole number, got 12\.5",
        ),
        (change("images", 0, "width", 13), r"field 'size': expected .* 12 x 8, got 13 x 8 \(image train/1\)"),
        (change("images", 0, "height", 0), r"image 1: expected height and width of at least 1"),
        (change("images", 0, "file_name", 5), r"image 1: field 'file_name': expected text, got 5"),
        (change("images", 0, "file_name", "no.jpg"), r"image 1: the file .*no\.jpg is missing"),
        (change("images", 0, "file_name", "2.jpg"), r"duplicate image 'train/2.jpg' \(train/2\.jpg\)"),
        (
            change("images", 0, "file_name", "../val/1.jpg"),
            r"file_name': expected a relative path that stays inside",
        ),
        (
            change("images", 0, "file_name", "/etc/passwd"),
            r"file_name': expected a relative path that stays inside",
        ),
        (change("annotations", 0, "image_id", 99), r"annotations\[0\]: field 'image_id': .*got 99"),
        (
            change("annotations", 0, "category_id", 99),
            r"field 'category_id': unknown class: .*\[3, 7\], got 99 \(image 1\)",
        ),
        (
            change("annotations", 0, "bbox", [1, 2, 3]),
            r"field 'bbox': expected \[x, y, width, height\], got \[1, 2, 3\]",
        ),
        (change("annotations", 0, "bbox", [1, 2, -3, 4]), r"field 'bbox': expected a box with x1 < x2"),
        (change("annotations", 0, "bbox", [1, 2, 0, 4]), r"field 'bbox': expected a box with x1 < x2"),
        (
            change("annotations", 0, "bbox", [6, 2, 8, 4]),
            r"inside the image of 12 x 8 pixels, .*2 pixels outside",
        ),
        (change("annotations", 0, "bbox", [1, 2, None, 4]), r"field 'bbox': expected a number, got None"),
    ],
)
def test_bad_json(coco: Any, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit(coco.trees["train"])
    coco.write("train")
    with pytest.raises(DataError, match=message):
        source(coco, boxes_required=True, strict=True).validate()


def test_malformed_json(coco: Any) -> None:
    path = coco.root / "annotations/instances_train.json"
    path.write_text('{"images": [\n  oops')
    with pytest.raises(DataError, match=r"instances_train\.json: malformed JSON: .* at line 2, column 3"):
        source(coco).validate()
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match=r"expected an object with images, annotations, categories, got list"):
        source(coco).validate()
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match=r"JSON nested too deeply|malformed JSON"):
        source(coco).validate()
    path.write_bytes(b'{"images": "\xff"}')
    with pytest.raises(DataError, match=r"expected UTF-8 JSON, got byte 0xff"):
        source(coco).validate()


def test_a_link_of_the_users_own_is_followed(coco: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    shutil.move(coco.root / "train/1.jpg", outside)
    os.symlink(outside, coco.root / "train/1.jpg")
    shutil.move(coco.root / "val", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", coco.root / "val")
    data = source(coco)
    data.validate()
    assert data.image("train/1").encoded == outside.read_bytes()
    assert data.image("val/2").file_name == "val/2.jpg"


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, r"expected polygons or run lengths, got None"),
        ([], r"expected polygons or run lengths"),
        ([[1, 2, 3, 4, 5, 6, 7]], r"expected polygons \[x, y, x, y, x, y, \.\.\.\]"),
        ([[1, 2, 3, "four"]], r"expected a number, got 'four'"),
        ([[1, 2, 3, 4, 5, "six"]], r"expected a number, got 'six'"),
        ([[1, 2, 3, 4, 5, 1e9]], r"expected points near the image of 12 x 8"),
        (
            {"size": [12, 8], "counts": [96]},
            r"expected a mask of the image's size \[8, 12\] .* got \[12, 8\]",
        ),
        ({"size": [8, 12], "counts": [95]}, r"expected runs that cover 96 pixels, got 95"),
        ({"size": [8, 12], "counts": [-1, 97]}, r"expected text or run lengths"),
        ({"size": [8, 12], "counts": "zzzzzz"}, r"field 'segmentation': counts"),
        ({"size": [8, 12], "counts": ""}, r"field 'segmentation': counts"),
    ],
)
def test_bad_segmentation(coco: Any, segmentation: Any, message: str) -> None:
    annotation(coco, 0, "val")["segmentation"] = segmentation
    coco.write("val")
    with pytest.raises(DataError, match=r"annotations\[0\] \(image val/1\): .*" + message):
        source(coco).truth_of("val/1")


def test_all_problems_at_once(coco: Any) -> None:
    annotation(coco, 0)["bbox"] = [0, 0, 50, 50]
    annotation(coco, 2)["bbox"] = [0, 0, -1, 5]
    (coco.root / "val/2.jpg").write_bytes(b"no image")
    coco.write("train")
    with pytest.raises(DataError, match="3 problems") as caught:
        source(coco, strict=True).validate()
    assert all(part in str(caught.value) for part in ("annotations[0]", "annotations[2]", "val/2.jpg"))


def test_polygons_of_points_and_of_too_few(coco: Any) -> None:
    """Points in place of numbers are polygons; the digest of masks says that they are read otherwise than before."""
    square = [[2, 3], [6, 3], [6, 5], [2, 5]]
    annotation(coco, 0, "val")["segmentation"] = square
    coco.write("val")
    points = source(coco)
    fox = np.zeros((8, 12), bool)
    fox[3:5, 2:6] = True
    np.testing.assert_array_equal(rle.decode(points.truth_of("val/1").masks[0], (8, 12)), fox)
    entry = points._entry_of("val/1")
    assert b"points" in points._truth_bytes(entry)
    annotation(coco, 0, "val")["segmentation"] = [[2, 3, 6, 3]]
    coco.write("val")
    few = source(coco)
    assert few.truth_of("val/1").masks == ()
    said = "1 annotation whose polygons have one or two points: they are labels, and no masks to compare with"
    assert [note for note in few.notes() if note.endswith(said)]
    assert b"points" not in few._truth_bytes(few._entry_of("val/1"))
