"""Where Roboflow, Label Studio, CVAT and COCO itself put their files: found without a setting, and said."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from data_contracts.errors import DataError
from wsis.readers.config import DataConfig, open_source
from wsis.readers.formats.coco import CocoSource
from wsis.readers.formats.voc import VocSource
from wsis.readers.shared.folder import FolderOptions

SPLITS = {"train": "train", "val": "val"}


def source(coco: Any, **options: Any) -> CocoSource:
    return CocoSource(coco.root, FolderOptions(**{"splits": SPLITS, **options}))


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("{}/_annotations.coco.json", "{}"),
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}2017.json", "images/{}2017"),
        ("annotations/{}.json", "images/{}"),
        ("{}.json", "images/{}"),
        ("{}.json", "{}/images"),
        ("{}/annotations/instances_default.json", "{}/images/default"),
        ("{}/result.json", "{}/images"),
        ("annotations/instances_{}.json", "images/{}"),
    ],
)
@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_layouts_of_splits(coco: Any, annotations: str, images: str, val: str) -> None:
    for split in SPLITS:
        shutil.move(coco.root / split, coco.root / f"{split}_images")
        shutil.move(coco.root / f"annotations/instances_{split}.json", coco.root / f"{split}_json")
    for split, name in (("train", "train"), ("val", val)):
        for old, new in (
            (f"{split}_images", images.format(name)),
            (f"{split}_json", annotations.format(name)),
        ):
            (coco.root / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(coco.root / old, coco.root / new)
    data = source(coco)
    data.validate()
    assert data.image_ids("train") != () and data.image_ids("val") != ()
    assert data.image(data.image_ids("val")[0]).file_name == f"{images.format(val)}/1.jpg"
    said = [note for note in data.notes() if annotations.format(val) in note]
    assert len(said) == (annotations.format(val) != "annotations/instances_val.json")


def test_two_files_that_could_be_meant(coco: Any) -> None:
    shutil.move(coco.root / "annotations/instances_val.json", coco.root / "annotations/val.json")
    shutil.copy(coco.root / "annotations/val.json", coco.root / "val.json")
    match = (
        r"expected one file of val annotations, got annotations/val\.json, val\.json; name yours with data\."
    )
    with pytest.raises(DataError, match=match):
        source(coco).validate()


def test_the_folder_that_has_the_images(coco: Any) -> None:
    """All images in one folder, an empty one called as the split beside."""
    (coco.root / "images").mkdir()
    for split in SPLITS:
        for image in coco.trees[split]["images"]:
            name = f"{split}_{image['id']}.jpg"
            shutil.move(coco.root / split / image["file_name"], coco.root / "images" / name)
            image["file_name"] = name
        coco.write(split)
    data = source(coco)
    assert data.image_ids("val") == ("val_1", "val_2")
    assert data.image("train_1").file_name == "images/train_1.jpg"


def test_names_below_the_root(coco: Any) -> None:
    for split in SPLITS:
        for image in coco.trees[split]["images"]:
            image["file_name"] = f"{split}\\{image['file_name']}"
        coco.write(split)
    data = source(coco)
    data.validate()
    assert data.image("train/2").file_name == "train/2.jpg"
    assert not data.notes()


def one_file(coco: Any, name: str, folder: str) -> None:
    """All four images and their annotations in one JSON, as tools without splits write it."""
    whole, target = coco.trees["train"], coco.root / folder
    target.mkdir(parents=True)
    for split in SPLITS:
        for image in coco.trees[split]["images"]:
            shutil.move(coco.root / split / image["file_name"], target / f"{split}{image['id']}.jpg")
            image["file_name"] = f"/data/upload/3/{split}{image['id']}.jpg"
    val = json.loads(json.dumps(coco.trees["val"]))
    whole["images"] += [{**image, "id": image["id"] + 10} for image in val["images"]]
    whole["annotations"] += [
        {**one, "id": one["id"] + 10, "image_id": one["image_id"] + 10} for one in val["annotations"]
    ]
    for split in (*SPLITS, "annotations"):
        shutil.rmtree(coco.root / split)
    (coco.root / name).parent.mkdir(exist_ok=True)
    (coco.root / name).write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("result.json", "images"),
        ("annotations/instances_default.json", "images/default"),
        ("_annotations.coco.json", "."),
        ("project-7-at-2024.json", "images"),
    ],
)
def test_one_file_of_all_images(coco: Any, name: str, folder: str) -> None:
    one_file(coco, name, folder if folder != "." else "held")
    if folder == ".":
        for path in (coco.root / "held").iterdir():
            shutil.move(path, coco.root / path.name)
    config = DataConfig(root=coco.root)
    data = open_source(config)
    data.validate()
    assert data.image_ids("train") == ("train1", "train2", "val1", "val2")
    assert data.image_ids("val") == ()
    assert any("no val part: all of 4 images train; data.val_share=0.1" in note for note in data.notes())
    shared = open_source(config.model_copy(update={"val_share": 0.5}))
    shared.validate()
    parts = [set(shared.image_ids(role)) for role in ("train", "val")]
    assert [len(part) for part in parts] == [2, 2] and not parts[0] & parts[1]
    assert set(shared.truth_ids("val")) == parts[1]
    assert shared.digest() != data.digest()


def test_a_share_of_the_train_file(coco: Any) -> None:
    coco.trees["train"]["annotations"][2]["category_id"] = (
        3  # a class that is held out must be in the rest too
    )
    coco.write("train")
    config = DataConfig(format="coco", root=coco.root, val_share=0.5)
    match = r"expected one file to divide by data\.val_share or lists, got annotations/instances_val\.json for val"
    with pytest.raises(DataError, match=match):
        open_source(config).validate()
    (coco.root / "annotations/instances_val.json").unlink()
    data = open_source(config)
    assert [len(data.image_ids(role)) for role in ("train", "val")] == [1, 1]


# -- VOC XML ----------------------------------------------------------------------------------------------------
def flat(devkit: Any, val: str = "valid") -> None:
    """Roboflow's: a folder a split with images and XML side by side."""
    for split, ids in (("train", "abc"), (val, "de")):
        (devkit.root / split).mkdir()
        for i in ids:
            shutil.move(devkit.root / f"Annotations/{i}.xml", devkit.root / f"{split}/{i}.xml")
            shutil.move(devkit.root / f"JPEGImages/{i}.jpg", devkit.root / f"{split}/{i}.jpg")
    for name in ("ImageSets", "Annotations", "JPEGImages", "SegmentationObject", "SegmentationClass"):
        shutil.rmtree(devkit.root / name)


def test_xml_beside_images(devkit: Any) -> None:
    flat(devkit)
    data = VocSource(devkit.root, FolderOptions(SPLITS))
    data.validate()
    assert (data.image_ids("train"), data.image_ids("val")) == (("a", "b", "c"), ("d", "e"))
    assert data.image("d").file_name == "valid/d.jpg"
    assert data.truth_ids("val") == ()
    assert data.notes() == ("split 'train': 3 XML files of train/", "split 'val': 2 XML files of valid/")


@pytest.mark.parametrize("folders", [(".", "."), ("Annotations", "images"), ("Annotations", "JPEGImages")])
def test_xml_without_splits(devkit: Any, folders: tuple[str, str]) -> None:
    for i in "abcde":
        for kind, (old, new) in {
            "xml": ("Annotations", folders[0]),
            "jpg": ("JPEGImages", folders[1]),
        }.items():
            (devkit.root / new).mkdir(exist_ok=True)
            shutil.move(devkit.root / f"{old}/{i}.{kind}", devkit.root / f"{new}/{i}.{kind}")
    shutil.rmtree(devkit.root / "ImageSets")
    config = DataConfig(root=devkit.root)
    data = open_source(config)
    data.validate()
    assert (data.image_ids("train"), data.image_ids("val")) == (("a", "b", "c", "d", "e"), ())
    assert any("no val part: all of 5 images train" in note for note in data.notes())
    shared = open_source(config.model_copy(update={"val_share": 0.4}))
    shared.validate()
    assert [len(shared.image_ids(role)) for role in ("train", "val")] == [3, 2]
    assert shared.image(shared.image_ids("val")[0]).split == "val"


def test_an_image_of_another_name_than_its_xml(devkit: Any, objects_xml: Callable[..., str]) -> None:
    shutil.move(devkit.root / "JPEGImages/a.jpg", devkit.root / "JPEGImages/IMG 7.JPG")
    named = objects_xml(("cat", (2, 3, 5, 6))).replace(
        "<size>", "<filename>C:\\x\\IMG 7.JPG</filename><size>", 1
    )
    devkit.xml("a", named)
    assert VocSource(devkit.root, FolderOptions(SPLITS)).image("a").file_name == "JPEGImages/IMG 7.JPG"
    devkit.xml("a", named.replace("C:\\x\\IMG 7.JPG", "../../../etc/passwd"))
    with pytest.raises(DataError, match=r"image a: the file .*a\.jpg is missing"):
        VocSource(devkit.root, FolderOptions(SPLITS)).validate()


@pytest.mark.parametrize(
    "size", ["", "<size/>", "<size><width>0</width><height>0</height><depth>3</depth></size>"]
)
def test_xml_without_a_size_takes_the_images(devkit: Any, objects_xml: Callable[..., str], size: str) -> None:
    text = objects_xml(("cat", (2.5, 3, 5, 6)))
    start, stop = text.index("<size>"), text.index("</size>") + 7
    devkit.xml("a", text[:start] + size + text[stop:])
    data = VocSource(devkit.root, FolderOptions(SPLITS))
    data.validate()
    record = data.image("a")
    assert (record.height, record.width, record.boxes.tolist()) == (8, 12, [[1.5, 2, 5, 6]])


@pytest.mark.parametrize(
    ("word", "kept"), [("1", 1), ("true", 1), (" 1 ", 1), ("0", 2), ("False", 2), ("", 2)]
)
def test_difficult(devkit: Any, objects_xml: Callable[..., str], word: str, kept: int) -> None:
    box = (2, 3, 5, 6)
    devkit.xml("a", objects_xml(("cat", box, word), ("dog", box)))
    assert len(VocSource(devkit.root, FolderOptions(SPLITS)).image("a").labels) == kept
    devkit.xml("a", objects_xml(("cat", box, "maybe")))
    with pytest.raises(DataError, match="object 1: field 'difficult': expected 0 or 1, got 'maybe'"):
        VocSource(devkit.root, FolderOptions(SPLITS)).validate()


def test_unsound_boxes_of_xml(devkit: Any, objects_xml: Callable[..., str]) -> None:
    devkit.xml("a", objects_xml(("cat", (2, 3, 5, 2)), ("cat", (0, 0, 99, 99)), ("dog", ("nan", 1, 2, 3))))
    data = VocSource(devkit.root, FolderOptions(SPLITS, boxes_required=True))
    assert data.image("a").boxes.tolist() == [[0, 0, 12, 8]]
    assert data.image("a").labels.tolist() == [1, 2]
    changes = data.box_changes("train")
    assert (len(changes.clipped), len(changes.dropped)) == (1, 2)
    assert "object 1: field 'bndbox' (cat): expected a box with x1 < x2" in changes.dropped[0]
