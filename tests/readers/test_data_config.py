"""The `data` section: bounds, unknown keys, and the reader it opens."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_contracts.errors import ConfigError, DataError
from wsis.readers.config import SHIPPED_LISTS, DataConfig, open_source
from wsis.readers.formats.coco import CocoSource
from wsis.readers.formats.scenes import SceneSource
from wsis.readers.formats.voc import VocSource


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "tfrecord"}, "'instances', 'folders' or 'scenes'"),
        ({"format": "voc", "limits": 3}, "Extra inputs are not permitted"),
        ({"format": "voc", "limit": 0}, "greater than or equal to 1"),
        ({"format": "voc", "classes": []}, "at least 1 item"),
        ({"format": "voc", "classes": ["cat", "cat"]}, "expected each class once"),
        ({"format": "voc", "train_split": None, "val_split": None}, "expected at least one split"),
        ({"format": "voc", "supervision": "mask"}, "'image' or 'box'"),
        ({"format": "scenes", "classes": ["cup"]}, "data.scenes.classes"),
        ({"format": "scenes", "scenes": {"height": 8}}, "greater than or equal to 32"),
        ({"format": "scenes", "scenes": {"heigth": 80}}, "Extra inputs are not permitted"),
        (
            {"format": "scenes", "scenes": {"classes": ["cup", "dragon"]}},
            "scenes.classes: expected some of cup, fish",
        ),
        ({"format": "scenes", "scenes": {"size": [0.8, 0.4]}}, "scenes.size: expected 0.1 <= least <= most"),
    ],
)
def test_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate(values)
    assert message in str(caught.value)


def test_place_is_not_part_of_the_identity() -> None:
    here = DataConfig(format="voc", root=Path("/a"), sbd_root=Path("/b"))
    there = DataConfig(format="voc", root=Path("/c"))
    assert here.identity() == there.identity()
    assert here.identity() != DataConfig(format="voc", limit=3).identity()


def test_root_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root: expected the folder of the coco data, got nothing"):
        open_source(DataConfig(format="coco"))
    with pytest.raises(DataError, match=r"data\.root: expected a folder"):
        open_source(DataConfig(format="voc", root=tmp_path / "none"))


def test_opens_the_reader(devkit: Any, coco: Any) -> None:
    voc = open_source(DataConfig(format="voc", root=devkit.root))
    assert isinstance(voc, VocSource)
    assert voc.image_ids("train") == ("a", "b", "c")
    val_only = open_source(DataConfig(format="voc", root=devkit.root, train_split=None, val_split="train"))
    assert (val_only.image_ids("train"), val_only.image_ids("val")) == ((), ("a", "b", "c"))
    assert isinstance(open_source(DataConfig(format="coco", root=coco.root)), CocoSource)
    scenes = open_source(
        DataConfig.model_validate({"format": "scenes", "scenes": {"train": 4, "classes": ["cup"]}})
    )
    assert isinstance(scenes, SceneSource)
    assert (scenes.classes, len(scenes.image_ids("train"))) == (("cup",), 4)


def test_lists_in_place_of_a_devkits_own(devkit: Any, tmp_path: Path) -> None:
    (devkit.root / "mine.txt").write_text("c\na\n")
    (tmp_path / "val.txt").write_text("b\n")

    def parts(**lists: object) -> tuple[tuple[str, ...], ...]:
        source = open_source(DataConfig.model_validate({"format": "voc", "root": devkit.root, **lists}))
        return tuple(source.image_ids(role) for role in ("train", "val"))

    assert parts(train_list="mine.txt", val_list=tmp_path / "val.txt") == (("c", "a"), ("b",))
    assert parts(train_list="mine.txt", val_split=None) == (("c", "a"), ())
    assert parts(val_list=tmp_path / "val.txt", train_split="val") == (("d", "e"), ("b",))


def test_lists_that_ship_are_named_by_a_word(devkit: Any) -> None:
    names = {part: f"voc_animals_{part}" for part in ("train", "val")}
    ids = {part: (SHIPPED_LISTS / f"{name}.txt").read_text().split() for part, name in names.items()}
    assert {part: len(some) for part, some in ids.items()} == {"train": 1116, "val": 119}
    assert not set(ids["train"]) & set(ids["val"])
    source = open_source(DataConfig(format="voc", root=devkit.root, val_list=Path(names["val"])))
    with pytest.raises(DataError, match=rf"image {ids['val'][0]}: the file .* is missing"):
        source.validate()


def test_coco_places(coco: Any) -> None:
    config = DataConfig(
        format="coco",
        root=coco.root,
        val_annotations="annotations/instances_train.json",
        val_images="train",
        train_split=None,
    )
    assert open_source(config).image("1").file_name == "train/1.jpg"
    with pytest.raises(DataError, match="stays inside the data root"):
        open_source(config.model_copy(update={"val_annotations": "../x.json"})).validate()
