"""Folds of the train part: every image is val once, in its own words, and nothing of the data's own val is read."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from data_contracts.errors import DataError
from tests.records import images_of, truths_of
from wsis.readers.config import DataConfig, open_source
from wsis.readers.folds import FoldSource
from wsis.readers.formats.scenes import SceneSettings

SCENES = SceneSettings(train=7, val=3, height=32, width=40)
WHOLE = open_source(DataConfig(format="scenes", scenes=SCENES, val_split=None))


def fold(number: int, folds: int = 3, **changes: object) -> FoldSource:
    source = open_source(DataConfig(format="scenes", scenes=SCENES, folds=folds, fold=number, **changes))
    assert isinstance(source, FoldSource)
    return source


def test_every_train_image_is_val_once() -> None:
    ids = WHOLE.image_ids("train")
    folds = [fold(number) for number in range(3)]
    assert [one.image_ids("val") for one in folds] == [ids[0::3], ids[1::3], ids[2::3]]
    for one in folds:
        assert sorted(one.image_ids("train") + one.image_ids("val")) == sorted(ids)
        assert one.truth_ids("val") == one.image_ids("val") and one.classes == WHOLE.classes
        assert {o.image_id: o.role for o in one.outlines()} == {
            **dict.fromkeys(one.image_ids("train"), "train"),
            **dict.fromkeys(one.image_ids("val"), "val"),
        }


def test_records_are_those_of_the_whole_part_but_for_the_split() -> None:
    for split in ("train", "val"):
        for image, truth in zip(images_of(fold(1), split), truths_of(fold(1), split), strict=True):
            before = WHOLE.image(image.image_id)
            assert image.split == truth.split == split and before.split == "train"
            assert image.encoded == before.encoded and truth.masks == WHOLE.truth_of(image.image_id).masks
            np.testing.assert_array_equal(image.boxes, before.boxes)
    assert "val is fold 1 of 3 of the train part: 2 images" in fold(1).notes()[-1]


def test_digests_tell_folds_apart() -> None:
    """What depends on the fold is made anew; the fingerprint itself has neither key."""
    sources = [WHOLE, fold(0), fold(1), fold(0, folds=2)]
    assert len({one.digest() for one in sources}) == len({one.truth_digest() for one in sources}) == 4
    assert fold(0).truth_digest(("train",)) != fold(0).truth_digest(("val",))
    config = DataConfig(format="scenes", scenes=SCENES)
    assert config.identity() == config.model_copy(update={"folds": 3, "fold": 1}).identity()


def test_folders_of_classes_and_a_val_of_their_own(tmp_path: Path) -> None:
    """Of folders train and val the latter is left alone; a limit is taken before the folds."""
    import cv2

    for name in ("train/cat/a", "train/cat/b", "train/dog/c", "train/dog/d", "val/cat/e", "val/dog/f"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8, 3), len(name), np.uint8))
    source = open_source(DataConfig(root=tmp_path, folds=2, fold=1))
    names = {
        role: [Path(source.image(i).file_name).stem for i in source.image_ids(role)]
        for role in ("train", "val")
    }
    assert sorted(names["train"] + names["val"]) == ["a", "b", "c", "d"] and len(names["val"]) == 2


def test_what_does_not_go_together() -> None:
    for wrong in ({"folds": 1}, {"fold": 1}, {"folds": 2, "fold": 2}, {"folds": 2, "val_share": 0.5},
                  {"folds": 2, "val_split": None}):  # fmt: skip
        with pytest.raises(ValidationError, match="fold"):
            DataConfig(format="scenes", **wrong)
    with pytest.raises(DataError, match=r"data.folds: expected at least 9 train images to part, got 7"):
        fold(0, folds=9).image_ids("val")
