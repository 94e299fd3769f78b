"""COCO JSON as Roboflow, Label Studio, CVAT and the rest write it: read, or refused in one line, never misread."""

import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import DataError
from data_contracts.schemas import BOXES, DATASET
from data_contracts.store import Store
from stages.data import boxes, dataset, ground_truth
from wsis.engine.stage import execute
from wsis.readers.config import DataConfig
from wsis.readers.formats.coco import CocoSource
from wsis.readers.shared.folder import FolderOptions
from wsis.views.dataset import source_ids

SPLITS = {"train": "train", "val": "val"}


def source(coco: Any, **options: Any) -> CocoSource:
    return CocoSource(coco.root, FolderOptions(**{"splits": SPLITS, **options}))


def edited(coco: Any, split: str = "train", kind: str = "annotations", **fields: Any) -> None:
    """Set fields of all entries of one kind; a callable gets the entry."""
    for item in coco.trees[split][kind]:
        item.update({k: v(item) if callable(v) else v for k, v in fields.items()})
    coco.write(split)


# -- masks ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("nothing", [None, [], [[]], [[], []], {}])
def test_no_segmentation_is_no_mask(coco: Any, nothing: Any) -> None:
    edited(coco, segmentation=nothing)
    data = source(coco)
    assert data.truth_ids("train") == ()
    assert data.truth_ids("val") == ("val/1", "val/2")
    coco.trees["val"]["annotations"][2]["segmentation"] = nothing
    coco.write("val")
    data = source(coco)
    assert data.truth_ids("val") == ("val/1",)
    assert len(data.truth_digest()) == 64
    edited(coco, "val", segmentation=nothing)
    assert source(coco).truth_ids("val") == ()


@pytest.mark.parametrize("polygon", [[], [3, 3], [1, 1, 4, 4]])
def test_polygons_without_area_beside_others_are_passed_over(coco: Any, polygon: list[float]) -> None:
    before = source(coco).truth_of("val/1").masks
    coco.trees["val"]["annotations"][0]["segmentation"].append(polygon)
    coco.write("val")
    assert source(coco).truth_of("val/1").masks == before


def test_a_point_or_line_alone_is_no_instance(coco: Any) -> None:
    before = source(coco).truth_of("val/1")
    edited(coco, "val", segmentation=[[1, 1, 4, 4]])
    assert len(source(coco).truth_of("val/1").masks) < len(before.masks)


def test_images_without_masks_are_counted(coco: Any, tmp_path: Path) -> None:
    edited(coco, segmentation=[])
    config = DataConfig(format="coco", root=coco.root)
    counts = execute(ground_truth.STAGE, config, {}, Store(tmp_path / "store")).artefact.manifest.counts
    assert (counts["images"], counts["images_without_masks"]) == (2, 2)


# -- boxes ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([2, 3, 4, 0], None),
        ([2, 3, -4, 2], None),
        ([20, 3, 4, 2], None),
        ([2, 3, float("nan"), 2], None),
        ([2, 3, 1e400, 2], None),
        ([6, 2, 8, 4], [6, 2, 12, 6]),
        ([-4, -4, 30, 30], [0, 0, 12, 8]),
    ],
)
def test_unsound_boxes(coco: Any, tmp_path: Path, box: list[float], kept: list[float] | None) -> None:
    coco.trees["train"]["annotations"][0]["bbox"] = box
    coco.write("train")
    source(coco).validate()
    config = DataConfig(format="coco", root=coco.root, supervision="box")
    store = Store(tmp_path / "store")
    made = execute(boxes.STAGE, config, {}, store).artefact
    found = made.records(BOXES)["train/1"]["boxes"].tolist()
    assert found == ([] if kept is None else [kept])
    assert made.manifest.counts["boxes_dropped" if kept is None else "boxes_clipped"] == 1
    labels = execute(dataset.STAGE, config, {}, store).artefact.records(DATASET)["train/1"]["labels"]
    assert labels.tolist() == [1]  # the label stays
    for options in ({}, {"boxes_required": True}):
        with pytest.raises(DataError, match=r"annotations\[0\]: field 'bbox': expected a box"):
            source(coco, strict=True, **options).validate()


@pytest.mark.parametrize("box", ["1 2 3 4", [1, 2, 3], [1, "x", 3, 4], {"x": 1}, 5, [[1, 2, 3, 4]]])
def test_boxes_that_cannot_be_read_matter_where_they_are_used(coco: Any, box: Any) -> None:
    coco.trees["train"]["annotations"][0]["bbox"] = box
    coco.write("train")
    data = source(coco)
    data.validate()
    assert data.image("train/1").labels.tolist() == [1]
    with pytest.raises(DataError, match=r"annotations\[0\]: field 'bbox': expected"):
        source(coco, boxes_required=True).validate()


# -- categories, ids, sizes, flags -------------------------------------------------------------------------------
def test_categories_without_objects_are_left_out_and_said(coco: Any) -> None:
    for split in SPLITS:  # Roboflow: the root is called as a class, or as the project
        coco.trees[split]["categories"] += [{"id": 0, "name": "fox"}, {"id": 1, "name": "animals"}]
        coco.write(split)
    data = source(coco)
    assert data.classes == ("fox", "owl")
    assert "left out: 1 of 3 categories, which no object has: animals" in data.notes()


def test_a_category_of_crowds_alone_is_no_class(coco: Any) -> None:
    for split in SPLITS:
        coco.trees[split]["annotations"][2]["category_id"] = 3
        coco.write(split)
    data = source(coco)
    assert data.classes == ("fox",)
    assert data.truth_of("val/1").labels.tolist() == [1]


def test_ids_are_kept_as_they_are(coco: Any, tmp_path: Path) -> None:
    images = coco.trees["train"]["images"]
    images[0]["id"], images[1]["id"] = "0001", 1.0
    for number, image_id in ((0, "0001"), (1, "0001"), (2, "1")):
        coco.trees["train"]["annotations"][number]["image_id"] = image_id
    edited(coco, kind="categories", id=lambda c: str(c["id"]))
    edited(coco, id=lambda a: f"uuid-{a['id']}")
    data = source(coco)
    assert data.image("train/1").labels.tolist() == [1]
    assert data.image("train/2").labels.tolist() == [2]
    assert data.source_ids() == {"train/1": "0001", "train/2": 1, "val/1": 1, "val/2": 2}
    config = DataConfig(format="coco", root=coco.root)
    made = execute(dataset.STAGE, config, {}, Store(tmp_path / "store")).artefact
    assert source_ids(made) == data.source_ids()


def test_whole_floats_and_unknown_sizes(coco: Any) -> None:
    edited(coco, kind="images", width=12.0, height="8")
    assert source(coco).image("train/1").width == 12
    for nothing in (0, None):
        edited(coco, kind="images", width=nothing, height=nothing)
        data = source(coco)
        data.validate()
        assert (data.image("train/1").height, data.image("train/1").width) == (8, 12)


@pytest.mark.parametrize("no", [0, "0", False, "false", "False", None, "", 0.0])
def test_no_crowd(coco: Any, no: Any) -> None:
    edited(coco, iscrowd=no)
    assert source(coco).image("train/1").labels.tolist() == [1, 2]


@pytest.mark.parametrize("yes", [1, "1", True, "true", 1.0])
def test_crowd(coco: Any, yes: Any) -> None:
    coco.trees["train"]["annotations"][0]["iscrowd"] = yes
    coco.write("train")
    assert source(coco, on_empty="drop").image_ids("train") == ("train/2",)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (('"category_id": 3', '"category_id": 3, "category_id": 7'), "each key of an object once, got 'category_id'"),
        (('"images"', '"images": [], "images"'), "each key of an object once, got 'images' twice"),
        (("1.jpg", "\\\\ud800.jpg"), r"image 1: field 'file_name': expected text without control characters"),
        (("1.jpg", "a\\\\u0000.jpg"), r"field 'file_name': expected text without control characters"),
        (("1.jpg", "a\\\\u001b[31m.jpg"), r"expected text without control characters, got 'a.x1b\[31m\.jpg'"),
        (('"fox"', '"f\\\\nox"'), r"field 'name': expected text without control characters"),
        (("1.jpg", "x" * 300 + ".jpg"), r"image 1: the file .* is missing \(a name of more than 255 bytes"),
        (('"width": 12', '"width": 1e300'), r"expected a whole number, got 1e\+300"),
        (('"width": 12', '"width": Infinity'), "expected a finite number, got inf"),
    ],
)  # fmt: skip
def test_refused_in_one_line(coco: Any, text: tuple[str, str], match: str) -> None:
    path = coco.root / "annotations/instances_train.json"
    path.write_text(path.read_text().replace(text[0], text[1].replace("\\\\", "\\"), 1))
    with pytest.raises(DataError, match=match) as caught:
        source(coco).validate()
    assert all(line.isprintable() and len(line) < 700 for line in str(caught.value).split("\n"))


# -- names of files ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("sub\\1.jpg", "sub/1.jpg"),
        (".\\1.jpg", "1.jpg"),
        ("1.JPG", "1.jpg"),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg")),
        (unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")),
        ("/data/upload/1/1.jpg", "1.jpg"),
        ("upload/1/1.jpg", "1.jpg"),
        (r"..\..\label-studio\data\media\upload\1\1.jpg", "1.jpg"),
        (r"C:\photos\1.jpg", "1.jpg"),
        ("http://localhost:8080/data/upload/a%20b.jpg?token=1", "a b.jpg"),
        ("my%20photo.jpg", "my photo.jpg"),
        ("1.jpg", "default/1.jpg"),
        ("images/1.jpg", "1.jpg"),
        ("sub/1.jpg", "sub\\1.jpg"),  # as unzip leaves archives made on Windows
    ],
)
def test_names_of_other_systems(coco: Any, written: str, on_disk: str) -> None:
    target = coco.root / "train" / on_disk
    target.parent.mkdir(exist_ok=True)
    (coco.root / "train/1.jpg").rename(target)
    coco.trees["train"]["images"][0]["file_name"] = written
    coco.write("train")
    data = source(coco)
    data.validate()
    (found,) = (i for i in data.image_ids("train") if data.image(i).file_name == f"train/{on_disk}")
    assert data.image(found).labels.tolist() == [1]


@pytest.mark.parametrize(
    "written", ["/etc/passwd", "../val/1.jpg", "../../secret.jpg", r"..\val\1.jpg", "file:///etc/passwd"]
)
def test_names_that_leave_the_root_are_not_followed(coco: Any, written: str) -> None:
    (coco.root.parent / "secret.jpg").write_bytes((coco.root / "train/1.jpg").read_bytes())
    coco.trees["train"]["images"][0]["file_name"] = written
    coco.write("train")
    with pytest.raises(DataError, match=r"image 1: field 'file_name': expected a relative path that stays"):
        source(coco).validate()


def test_a_name_beside_the_annotations_may_climb_to_the_images(coco: Any) -> None:
    coco.trees["train"]["images"][0]["file_name"] = "../train/1.jpg"
    coco.write("train")
    assert source(coco).image("train/1").file_name == "train/1.jpg"


def test_names_that_fit_several_files_or_another_image(coco: Any) -> None:
    image = coco.root / "train/1.jpg"
    for name in ("a/1.jpg", "b/1.jpg"):
        (coco.root / "train" / name).parent.mkdir()
        shutil.copy(image, coco.root / "train" / name)
    image.unlink()
    with pytest.raises(DataError, match=r"expected one file that fits '1\.jpg', got 2: 'a/1\.jpg, b/1\.jpg'"):
        source(coco).validate()
    coco.trees["train"]["images"][0]["file_name"] = "c/1.jpg"  # another folder's 1.jpg is another image
    coco.write("train")
    with pytest.raises(DataError, match=r"c/1\.jpg is missing"):
        source(coco).validate()


def test_guessed_names_are_said_and_strict_refuses_them(coco: Any) -> None:
    coco.trees["train"]["images"][0]["file_name"] = "upload/1.JPG"
    coco.write("train")
    (note,) = source(coco).notes()
    assert "1 file name is not as the files are called" in note
    assert "'upload/1.JPG' is train/1.jpg" in note
    with pytest.raises(DataError, match=r"upload/1\.JPG is missing"):
        source(coco, strict=True).validate()


@pytest.mark.parametrize(("kind", "said"), [("fifo", "Is a FIFO"), ("folder", "Is a directory")])
def test_what_is_no_file_is_refused_without_opening_it(coco: Any, kind: str, said: str) -> None:
    path = coco.root / "train/1.jpg"
    path.unlink()
    (os.mkfifo if kind == "fifo" else os.mkdir)(path)
    with pytest.raises(DataError, match=rf"1\.jpg cannot be read: {said}"):
        source(coco).validate()
    json = coco.root / "annotations/instances_val.json"
    json.unlink()
    os.mkfifo(json)
    with pytest.raises(DataError, match=r"instances_val\.json cannot be read: Is a FIFO"):
        source(coco).validate()


def test_a_strip_is_refused_before_anything_is_computed(coco: Any) -> None:
    strip = coco.trees["val"]["images"][0]
    for height, width, fits in ((1, 40, True), (40, 1, True), (6, 900, False), (41, 1, False)):
        Image.new("RGB", (width, height)).save(coco.root / "val/1.jpg")
        strip.update(height=height, width=width)
        coco.write("val")
        if fits:
            source(coco).validate()
            continue
        match = rf"image val/1 \(val/1\.jpg\): expected .* at most 40 : 1, got {width} x {height} pixels"
        with pytest.raises(DataError, match=match):
            source(coco).validate()


# -- names of images ---------------------------------------------------------------------------------------------
def test_images_are_called_as_their_files(coco: Any) -> None:
    """Two train images that differ by their ending, one whose folder looks like another's output."""
    train = coco.root / "train"
    for old, new in (("1.jpg", "x.jpg"), ("2.jpg", "x.png/y.jpg")):
        (train / new).parent.mkdir(exist_ok=True)
        (train / old).rename(train / new)
    for image, name in zip(coco.trees["train"]["images"], ("x.jpg", "x.png/y.jpg"), strict=True):
        image["file_name"] = name
    coco.write("train")
    (coco.root / "val/2.jpg").rename(coco.root / "val/y.jpg")
    coco.trees["val"]["images"][1]["file_name"] = "y.jpg"
    coco.write("val")
    data = source(coco)
    assert data.image_ids("train") == ("x.jpg", "x.png/y")
    assert data.image_ids("val") == ("1", "y")
    np.testing.assert_array_equal(data.image("y").labels, [2])
