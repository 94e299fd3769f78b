"""A VOC devkit made by hand: conversion, classes, and an error for everything that can be wrong with one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from tests.hard.datasets import picture, voc
from tests.records import images_of, truths_of
from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source
from wsis.readers.formats.voc import VocSource
from wsis.readers.formats.voc_format import instance_classes
from wsis.readers.shared.folder import FolderOptions

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
    assert [r.image_id for r in images_of(voc, "train")] == ["a", "b", "c"]
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


def test_images_without_masks_have_no_truth(devkit: Any) -> None:
    (devkit.root / "SegmentationObject/b.png").unlink()
    assert source(devkit).truth_ids("train") == ("a", "c")
    before = source(devkit).truth_digest()
    (devkit.root / "SegmentationObject/e.png").unlink()
    voc = source(devkit)
    assert "e" in voc.image_ids("val") and "e" not in voc.truth_ids("val")
    assert voc.truth_digest() != before


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
    for truth in truths_of(voc, "val"):
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
        for t in truths_of(voc, "train")
    ]
    assert sum(n for n, _ in counts) == 1307
    assert all(n for n, _ in counts)


def test_a_list_of_train_alone_trains_on_all_of_it(devkit: Any) -> None:
    lists = devkit.root / "ImageSets/Segmentation"
    (lists / "val.txt").rename(lists / "valid.txt")
    assert source(devkit).image_ids("val") == ("d", "e")  # another name of val
    (lists / "valid.txt").unlink()
    voc = source(devkit)
    voc.validate()
    assert (voc.image_ids("train"), voc.image_ids("val")) == (("a", "b", "c"), ())
    assert [line for line in voc.notes() if line.startswith("no val part: all of 3 images train")]
    some = source(devkit, limit=2)
    assert len(some.image_ids("train")) == 2
    assert [line for line in some.notes() if line.startswith("no val part: data.limit=2 of 3 images train;")]
    with pytest.raises(DataError, match=r"split 'held': the file .*held\.txt is missing"):
        source(devkit, splits={"train": "train", "val": "held"}).validate()


@pytest.mark.parametrize(
    ("folder", "name", "said"),
    [
        (
            "SegmentationObject",
            "c.jpg",
            "left out: 1 file of SegmentationObject/, where masks are PNG: c.jpg",
        ),
        (
            "SegmentationClass",
            "c.png",
            "left out: SegmentationClass/, which without SegmentationObject/ says no",
        ),
    ],
)
def test_masks_that_cannot_be_read_are_said(tmp_path: Path, folder: str, name: str, said: str) -> None:
    """Else val would have no masks, and nobody would know why."""
    voc(tmp_path)
    picture(tmp_path / folder / name)
    source = open_source(DataConfig.model_validate({"format": "voc", "root": tmp_path}))
    assert source.truth_ids("val") == ()
    assert [note for note in source.notes() if note.startswith(said)]
