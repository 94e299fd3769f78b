"""A VOC devkit made by hand: conversion, classes, and an error for everything that can be wrong with one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from stages.readers.folder import FolderOptions
from stages.readers.voc import VocSource
from stages.readers.voc_format import instance_classes
from wsis.masks import rle

SPLITS = {"train": "train", "val": "val"}


def source(devkit: Any, **options: Any) -> VocSource:
    return VocSource(devkit.root, FolderOptions(**{"splits": SPLITS, **options}))


def test_records(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("c", objects_xml(("dog", (1, 1, 12, 8)), ("cat", (2, 3, 5, 6)), ("dog", (4, 4, 4, 4))))
    voc = source(devkit)
    voc.validate()
    assert voc.classes == ("cat", "dog")
    assert voc.image_ids("train") == ("a", "b", "c")
    assert voc.image_ids("val") == ("d", "e")
    record = voc.image("c")
    assert (record.split, record.file_name, record.height, record.width) == (
        "train",
        "JPEGImages/c.jpg",
        8,
        12,
    )
    assert record.encoded == (devkit.root / "JPEGImages/c.jpg").read_bytes()
    np.testing.assert_array_equal(record.labels, [1, 2])
    # 1-based inclusive corners become 0-based with exclusive ends: the whole image is [0, 0, 12, 8], one pixel 1 x 1
    np.testing.assert_array_equal(record.boxes, [[0, 0, 12, 8], [1, 2, 5, 6], [3, 3, 4, 4]])
    np.testing.assert_array_equal(record.box_labels, [2, 1, 2])
    assert (record.labels.dtype, record.boxes.dtype, record.box_labels.dtype) == (
        np.int32,
        np.float32,
        np.int32,
    )
    assert [r.image_id for r in voc.images("train")] == ["a", "b", "c"]
    with pytest.raises(KeyError, match="no image 'zzz'"):
        voc.image("zzz")


def test_difficult_objects_count_only_where_there_are_no_others(
    devkit: Any, objects_xml: Callable[..., str]
) -> None:
    devkit.xml("a", objects_xml(("cat", (1, 1, 4, 4)), ("dog", (1, 1, 4, 4), 1)))
    devkit.xml("b", objects_xml(("dog", (1, 1, 4, 4), 1)))
    voc = source(devkit)
    assert voc.image("a").labels.tolist() == [1]
    assert voc.image("b").labels.tolist() == [2]


def test_box_within_a_pixel_is_clipped(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("a", objects_xml(("cat", (0, 0, 13, 9))))
    np.testing.assert_array_equal(source(devkit).image("a").boxes, [[0, 0, 12, 8]])


def test_given_classes_decide_the_numbers(devkit: Any) -> None:
    voc = source(devkit, classes=("dog", "owl", "cat"))
    assert voc.classes == ("dog", "owl", "cat")
    assert voc.image("c").labels.tolist() == [1, 3]


def test_truth(devkit: Any) -> None:
    truth = source(devkit).truth_of("d")
    instances, _ = devkit.planes()
    assert (truth.split, truth.height, truth.width) == ("val", 8, 12)
    assert truth.labels.tolist() == [2]  # 12 is the dog of VOC's palette
    np.testing.assert_array_equal(rle.decode(truth.masks[0], (8, 12)), instances == 1)
    np.testing.assert_array_equal(rle.decode(truth.void, (8, 12)), instances == 255)
    np.testing.assert_array_equal(truth.boxes, [[1, 2, 5, 6]])


def test_truth_takes_the_majority_class() -> None:
    instances = np.array([[1, 1, 1, 1, 2, 2], [0, 255, 2, 2, 2, 3]], np.uint8)
    categories = np.array([[8, 8, 12, 255, 12, 12], [0, 255, 8, 0, 0, 5]], np.uint8)
    assert instance_classes(instances, categories, "x") == {1: 8, 2: 12, 3: 5}
    with pytest.raises(DataError, match=r"c\.png: expected a class under instance 3"):
        instance_classes(instances, np.where(instances == 3, 255, categories), "c.png")


def test_own_classes_are_numbered_by_the_palette(devkit: Any, objects_xml: Callable[..., str]) -> None:
    for image_id in "abcde":
        devkit.xml(image_id, objects_xml(("fox", (1, 1, 4, 4)), ("owl", (1, 1, 4, 4))))
        instances, _ = devkit.planes()
        devkit.masks(image_id, instances, np.where(instances == 1, 2, instances))
    assert source(devkit).truth_of("d").labels.tolist() == [2]


def test_main_lists_are_read_where_segmentation_has_none(devkit: Any) -> None:
    (devkit.root / "ImageSets/Main").mkdir()
    (devkit.root / "ImageSets/Main/few.txt").write_text("a\nb\n")
    assert source(devkit, splits={"train": "few"}).image_ids("train") == ("a", "b")


def test_train_images_without_masks_have_no_truth(devkit: Any) -> None:
    (devkit.root / "SegmentationObject/b.png").unlink()
    voc = source(devkit)
    assert voc.truth_ids("train") == ("a", "c")
    (devkit.root / "SegmentationObject/e.png").unlink()
    with pytest.raises(DataError, match=r"masks of image e: the file .*e\.png is missing"):
        source(devkit).truth_digest()


# -- digest ---------------------------------------------------------------------------------------------------
def test_digest_does_not_depend_on_the_place(devkit: Any, tmp_path: Path) -> None:
    shutil.copytree(devkit.root, tmp_path / "elsewhere/deep/kit")
    moved = VocSource(tmp_path / "elsewhere/deep/kit", FolderOptions(SPLITS))
    assert moved.digest() == source(devkit).digest()
    assert moved.truth_digest() == source(devkit).truth_digest()


@pytest.mark.parametrize("part", ["JPEGImages/b.jpg", "Annotations/d.xml"])
def test_digest_changes_with_one_byte(devkit: Any, part: str) -> None:
    before = source(devkit).digest()
    path = devkit.root / part
    data = bytearray(path.read_bytes())
    if part.endswith("xml"):
        data += b"\n"
    else:
        data[-10] ^= 1
    path.write_bytes(bytes(data))
    assert source(devkit).digest() != before


def test_digest_changes_with_split_limit_and_classes(devkit: Any) -> None:
    before = source(devkit).digest()
    assert source(devkit, classes=("dog", "cat")).digest() != before
    assert source(devkit, limit=2).digest() != before
    devkit.split("train", "b\na\nc\n")
    assert source(devkit).digest() != before


def test_masks_enter_the_truth_digest_alone(devkit: Any) -> None:
    before, truth_before = source(devkit).digest(), source(devkit).truth_digest()
    instances, categories = devkit.planes()
    instances[0, 0] = 1
    devkit.masks("d", instances, categories)
    assert source(devkit).digest() == before
    assert source(devkit).truth_digest() != truth_before


# -- bad input ------------------------------------------------------------------------------------------------
def fails(devkit: Any, match: str, **options: Any) -> None:
    with pytest.raises(DataError, match=match):
        source(devkit, **options).validate()


def test_root_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root: expected a folder, got .*absent"):
        VocSource(tmp_path / "absent", FolderOptions(SPLITS))


def test_missing_split_names_the_file(devkit: Any) -> None:
    fails(devkit, r"split 'nosuch': the file .*nosuch\.txt is missing", splits={"train": "nosuch"})


@pytest.mark.parametrize("text", ["\n\n", " \n"])
def test_empty_split(devkit: Any, text: str) -> None:
    devkit.split("val", text)
    fails(devkit, r"val\.txt: split 'val' is empty")


def test_split_of_no_bytes(devkit: Any) -> None:
    devkit.split("val", "")
    fails(devkit, r"val\.txt is empty \(0 bytes\)")


def test_duplicate_id_in_a_split(devkit: Any) -> None:
    devkit.split("train", "a\nb\na\nc\n")
    fails(devkit, r"train\.txt: line 3: duplicate image id 'a'")


def test_image_in_both_splits(devkit: Any) -> None:
    devkit.split("val", "d\nb\n")
    fails(devkit, r"duplicate image 'b' .* in split 'val'; it is there already in split 'train'")


def test_two_columns_are_no_ids(devkit: Any) -> None:
    devkit.split("train", "a 1\nb -1\n")
    fails(devkit, r"line 1: expected one image id, got 'a 1'")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "sub/a", "c:\\windows\\x"])
def test_ids_stay_inside_the_root(devkit: Any, name: str) -> None:
    devkit.split("train", f"a\n{name}\n")
    fails(devkit, r"train\.txt: line 2: .*inside the data root")


def test_link_out_of_the_root(devkit: Any, tmp_path: Path) -> None:
    outside = tmp_path / "secret.jpg"
    outside.write_bytes((devkit.root / "JPEGImages/a.jpg").read_bytes())
    (devkit.root / "JPEGImages/a.jpg").unlink()
    os.symlink(outside, devkit.root / "JPEGImages/a.jpg")
    fails(devkit, r"JPEGImages of image a: .*leaves the data root through a link")


def test_missing_image_and_annotation(devkit: Any) -> None:
    (devkit.root / "JPEGImages/a.jpg").unlink()
    (devkit.root / "Annotations/b.xml").unlink()
    with pytest.raises(DataError) as caught:
        source(devkit).validate()
    assert "2 problems" in str(caught.value)
    assert "image a: the file" in str(caught.value)
    assert "image b: the file" in str(caught.value)


def test_truncated_and_foreign_images(devkit: Any) -> None:
    data = (devkit.root / "JPEGImages/a.jpg").read_bytes()
    devkit.image_bytes("a", data[:-20])
    devkit.image_bytes("b", b"<html>404</html>")
    devkit.image_bytes("c", b"")
    with pytest.raises(DataError) as caught:
        source(devkit).validate()
    message = str(caught.value)
    assert "3 problems" in message
    assert "JPEGImages/a.jpg: the image is cut short" in message
    assert "JPEGImages/b.jpg: expected an image" in message
    assert "c.jpg is empty (0 bytes)" in message
    with pytest.raises(DataError, match="cut short"):
        source(devkit).image("a")  # also without validate()


def test_xml_without_objects(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("b", objects_xml())
    fails(devkit, r"b\.xml: expected at least one object, got none \(image b\); set data\.on_empty=drop")
    voc = source(devkit, on_empty="drop")
    assert voc.image_ids("train") == ("a", "c")


def test_val_images_may_be_empty(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("d", objects_xml())
    record = source(devkit).image("d")
    assert (record.labels.shape, record.boxes.shape, record.box_labels.shape) == ((0,), (0, 4), (0,))
    source(devkit).validate()


def test_unknown_class(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("d", objects_xml(("zebra", (1, 1, 4, 4))))
    fails(devkit, r"d\.xml: object 1.*\(image d\): unknown class 'zebra'; expected one of cat, dog")
    fails(devkit, r"c\.xml.*unknown class 'dog'; expected one of cat", classes=("cat",))


def test_unknown_class_ignored(devkit: Any) -> None:
    fails(
        devkit,
        r"b\.xml: expected an object of an annotated class \(cat\), got dog",
        classes=("cat",),
        on_unknown_class="ignore",
    )
    voc = source(devkit, classes=("cat",), on_unknown_class="ignore", on_empty="drop")
    assert voc.image_ids("train") == ("a", "c")
    assert voc.image("c").box_labels.tolist() == [1]
    assert voc.image("d").labels.tolist() == []
    assert voc.truth_of("d").labels.tolist() == []


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((2, 3, 14, 6), r"expected a box inside the image of 12 x 8 pixels, .*: 2 pixels outside"),
        ((-1, 3, 5, 6), r"inside the image .*: 2 pixels outside"),
        ((2, 3, 5, 10), r"inside the image"),
        ((5, 3, 2, 6), r"expected a box with x1 < x2 and y1 < y2, got \[4, 2, 2, 6\]"),
        ((2, 6, 5, 5), r"expected a box with x1 < x2 and y1 < y2"),
        ((0, 1, 0, 5), r"expected a box that covers pixels"),
        (("left", 3, 5, 6), r"field 'bndbox/xmin': expected a number, got 'left'"),
        (("nan", 3, 5, 6), r"field 'bndbox/xmin': expected a finite number"),
        ((2, 3, "", 6), r"field 'bndbox/xmax': expected a number, got nothing"),
    ],
)
def test_bad_boxes(devkit: Any, objects_xml: Callable[..., str], box: tuple[Any, ...], message: str) -> None:
    devkit.xml("b", objects_xml(("dog", (1, 1, 2, 2)), ("cat", box)))
    fails(devkit, r"b\.xml: object 2: .*" + message)


def test_objects_without_boxes(devkit: Any) -> None:
    xml = "<annotation><size><width>12</width><height>8</height></size><object><name>cat</name></object></annotation>"
    devkit.xml("a", xml)
    record = source(devkit).image("a")
    assert (record.labels.tolist(), record.boxes.shape) == ([1], (0, 4))
    fails(
        devkit, r"a\.xml: object 1: .*expected a box because data\.supervision is 'box'", boxes_required=True
    )


def test_size_differs_from_the_image(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("b", objects_xml(("dog", (1, 1, 2, 2)), size=(13, 8)))
    fails(
        devkit, r"b\.xml: field 'size': expected the image's width x height, 12 x 8, got 13 x 8 \(image b\)"
    )


def test_size_before_exif_rotation(devkit: Any, encoded: Callable[..., bytes]) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    devkit.image_bytes("b", encoded(np.zeros((8, 12, 3), np.uint8), "JPEG", exif=exif))
    fails(devkit, r"expected the image's width x height, 8 x 12 \(after its EXIF rotation\), got 12 x 8")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><object>", r"b\.xml: malformed XML: .*line 1"),
        ("not xml", r"b\.xml: malformed XML"),
        (
            "<annotation><object><name>cat</name></object></annotation>",
            r"field 'size/height': expected a number",
        ),
        (
            "<annotation><size><width>0</width><height>8</height></size></annotation>",
            r"field 'size': expected whole pixels of at least 1, got 0 x 8",
        ),
        (
            "<annotation><size><width>12</width><height>8</height></size><object><name> </name></object></annotation>",
            r"object 1: field 'name': expected a class, got nothing",
        ),
        (
            '<!DOCTYPE a [<!ENTITY x "dog">]><annotation><object><name>&x;</name></object></annotation>',
            r"b\.xml: a DOCTYPE is not accepted",
        ),
    ],
)
def test_bad_xml(devkit: Any, xml: str, message: str) -> None:
    devkit.xml("b", xml)
    fails(devkit, message)


def test_entity_bomb_in_another_encoding(devkit: Any) -> None:
    bomb = (
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY x "xxxx">]><annotation>&x;</annotation>'
    )
    (devkit.root / "Annotations/b.xml").write_bytes(bomb.encode("utf-16"))
    fails(devkit, r"b\.xml: a DOCTYPE is not accepted")


def test_mask_of_another_size(devkit: Any) -> None:
    instances, categories = devkit.planes()
    devkit.masks("d", instances, categories[:, :-1])
    with pytest.raises(
        DataError,
        match=r"SegmentationClass/d\.png: expected a mask of the image's size 12 x 8 .* got 11 x 8 \(image d\)",
    ):
        source(devkit).truth_of("d")


def test_mask_of_an_unknown_class(devkit: Any) -> None:
    instances, _ = devkit.planes()
    devkit.masks("d", instances, np.where(instances == 1, 15, instances))
    with pytest.raises(
        DataError, match=r"d\.png: instance 1 of image d: expected a class of cat, dog, got 'person'"
    ):
        source(devkit).truth_of("d")


def test_many_problems_are_counted_and_twenty_shown(devkit: Any, objects_xml: Callable[..., str]) -> None:
    names = [f"i{n:02d}" for n in range(30)]
    devkit.split("train", "\n".join(names))
    with pytest.raises(DataError) as caught:
        source(devkit).validate()
    message = str(caught.value)
    assert "30 problems, the first 20 of them" in message
    assert message.count("\n  - ") == 20
    assert "i19" in message
    assert "i20" not in message


def test_a_file_changed_after_validation_is_decoded_again(devkit: Any) -> None:
    voc = source(devkit)
    voc.validate()
    devkit.image("a", 99, width=10)
    with pytest.raises(DataError, match=r"10 x 8, got 12 x 8"):
        voc.image("a")


# -- subset ---------------------------------------------------------------------------------------------------
def test_limit_keeps_every_class_and_spreads(devkit: Any, objects_xml: Callable[..., str]) -> None:
    names = [f"n{i:03d}" for i in range(100)]
    devkit.split("train", "\n".join(names))
    for i, name in enumerate(names):
        devkit.image(name, 100 + i)
        kind = {17: "cow", 60: "owl"}.get(i, "cat")
        devkit.xml(name, objects_xml((kind, (1, 1, 4, 4))))
    devkit.xml("d", objects_xml(("cow", (1, 1, 4, 4))))
    devkit.xml("e", objects_xml(("cat", (1, 1, 4, 4))))
    voc = source(devkit, limit=10)
    ids = voc.image_ids("train")
    assert len(ids) == 10
    assert {"n017", "n060"} <= set(ids)
    assert voc.classes == ("cat", "cow", "owl")
    numbers = [int(i[1:]) for i in ids]
    assert max(np.diff(numbers)) <= 20
    assert voc.image_ids("val") == ("d", "e")
    assert source(devkit, limit=10).image_ids("train") == ids
    voc.validate()


# -- the photographs ------------------------------------------------------------------------------------------
def test_voc_animals(voc_root: Path) -> None:
    voc = VocSource(voc_root, FolderOptions(SPLITS))
    if voc.classes != ("cat", "cow", "dog", "horse", "sheep"):
        pytest.skip("counts are those of voc-animals; WSIS_VOC_ROOT leads to another devkit")
    assert (len(voc.image_ids("train")), len(voc.image_ids("val"))) == (1116, 119)
    voc.validate()
    instances = 0
    for truth in voc.truth("val"):
        areas = rle.areas(truth.masks, (truth.height, truth.width))
        assert len(areas) >= 1
        assert areas.min() > 0
        record = voc.image(truth.image_id)
        # the convention of the boxes: each is exactly the tight box of its instance's mask
        np.testing.assert_array_equal(record.boxes, truth.boxes)
        np.testing.assert_array_equal(record.box_labels, truth.labels)
        instances += len(areas)
    assert instances == 143


def test_voc_animals_train_masks(voc_root: Path) -> None:
    voc = VocSource(voc_root, FolderOptions({"train": "train"}))
    if len(voc.image_ids("train")) != 1116:
        pytest.skip("counts are those of voc-animals; WSIS_VOC_ROOT leads to another devkit")
    counts = [
        (len(t.masks), int(rle.areas(t.masks, (t.height, t.width)).min(initial=0)))
        for t in voc.truth("train")
    ]
    assert sum(n for n, _ in counts) == 1307
    assert all(n for n, _ in counts)
