"""The VOC devkit reader on bad input: each error names file, field, expected and got."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from wsis.readers.formats.voc import VocSource
from wsis.readers.shared.folder import FolderOptions

SPLITS = {"train": "train", "val": "val"}


def source(devkit: Any, **options: Any) -> VocSource:
    return VocSource(devkit.root, FolderOptions(**{"splits": SPLITS, **options}))


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


def test_a_link_of_the_users_own_is_followed(devkit: Any, tmp_path: Path) -> None:
    outside = tmp_path / "secret.jpg"
    outside.write_bytes((devkit.root / "JPEGImages/a.jpg").read_bytes())
    (devkit.root / "JPEGImages/a.jpg").unlink()
    os.symlink(outside, devkit.root / "JPEGImages/a.jpg")
    assert source(devkit).image("a").encoded == outside.read_bytes()


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
    message = r"b\.xml: expected at least one object, got none \(image b\); .* data\.on_empty=negative"
    fails(devkit, message, on_empty="error")
    assert source(devkit, on_empty="drop").image_ids("train") == ("a", "c")
    voc = source(devkit)
    assert voc.image_ids("train") == ("a", "b", "c")
    assert voc.labels_of("b").shape == (0,)


def test_val_images_may_be_empty(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("d", objects_xml())
    record = source(devkit).image("d")
    assert (record.labels.shape, record.boxes.shape, record.box_labels.shape) == ((0,), (0, 4), (0,))
    source(devkit).validate()


def test_unknown_class(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("d", objects_xml(("zebra", (1, 1, 4, 4))))
    fails(devkit, r"d\.xml: object 1.*\(image d\): unknown class 'zebra'; expected one of cat, dog")
    fails(devkit, r"b\.xml.*unknown class 'dog'.*; expected one of cat", classes=("cat",))


def test_an_unknown_class_is_one_line_however_many_objects_have_it(
    devkit: Any, objects_xml: Callable[..., str]
) -> None:
    for name in "abc":
        devkit.xml(name, objects_xml(("cat", (0, 0, 4, 4)), ("zebra", (1, 1, 4, 4)), ("zebra", (2, 2, 5, 5))))
    devkit.xml("d", objects_xml(("owl", (1, 1, 4, 4))))
    with pytest.raises(DataError) as refused:
        source(devkit, classes=("cat",)).validate()
    first, *others = str(refused.value).splitlines()[1:]
    assert first.endswith("(image a): unknown class 'zebra', and in 2 images more; expected one of cat")
    assert len(others) == 1 and "(image d): unknown class 'owl'; expected one of cat" in others[0]


def test_a_misspelt_class_is_named_with_the_right_one(devkit: Any, objects_xml: Callable[..., str]) -> None:
    with pytest.raises(DataError) as refused:
        source(devkit, classes=("catt", "dog")).validate()
    line = "data.classes: expected classes that are annotated, got 'catt'; did you mean 'cat' (in 3 images)?"
    assert str(refused.value).splitlines() == [f"data in {devkit.root}: {line}"]
    surveyed = source(devkit, classes=("catt", "dog"))
    assert len(surveyed.tolerate()) == 1
    assert surveyed.truth_of("d").labels.tolist() == [], "its masks are no problem of their own"
    ignoring = source(devkit, classes=("catt", "dog"), on_unknown_class="ignore")
    assert [line for line in ignoring.notes() if "'catt'; did you mean 'cat' (in 3 images)?" in line]
    assert not [line for line in source(devkit, classes=("dog", "owl", "cat")).notes() if "owl" in line]
    devkit.xml("d", objects_xml(("dgo", (1, 1, 4, 4))))
    fails(devkit, r"unknown class 'dgo'; expected one of cat, dog; did you mean 'dog'\?")


def test_unknown_class_ignored(devkit: Any) -> None:
    fails(
        devkit,
        r"b\.xml: expected an object of an annotated class \(cat\), got dog",
        classes=("cat",),
        on_unknown_class="ignore",
        on_empty="error",
    )
    negative = source(devkit, classes=("cat",), on_unknown_class="ignore")
    assert {i: negative.labels_of(i).tolist() for i in negative.image_ids("train")} == {
        "a": [1],
        "b": [],
        "c": [1],
    }
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
        (("nan", 3, 5, 6), r"expected a box of finite numbers, got \[nan, "),
        ((2, 3, "", 6), r"field 'bndbox/xmax': expected a number, got None"),
    ],
)
def test_bad_boxes(devkit: Any, objects_xml: Callable[..., str], box: tuple[Any, ...], message: str) -> None:
    devkit.xml("b", objects_xml(("dog", (1, 1, 2, 2)), ("cat", box)))
    fails(devkit, r"b\.xml: object 2: .*" + message, boxes_required=True, strict=True)


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
        (
            "<annotations></annotations>",
            r"expected <annotation> as VOC writes it, got .*; of CVAT export COCO or",
        ),
        ("not xml", r"b\.xml: malformed XML"),
        (
            "<annotation><size><width>12</width></size></annotation>",
            r"field 'size/height': expected a number, got ''",
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
