"""Generated scenes as a data set."""

import numpy as np
import pytest

from tests.records import images_of, truths_of
from wsis.method.masks import rle
from wsis.readers.files.images import decode_image
from wsis.readers.formats.scenes import SceneSettings, SceneSource

SMALL = SceneSettings(train=8, val=5, height=64, width=80)


def test_images_and_truth_agree() -> None:
    source = SceneSource(SMALL)
    source.validate()
    assert source.classes == ("cup", "fish", "kite", "mushroom")
    assert source.image_ids("train")[0] == "train_00000"
    assert (len(source.image_ids("train")), len(source.image_ids("val"))) == (8, 5)
    for record, truth in zip(images_of(source, "val"), truths_of(source, "val"), strict=True):
        assert record.image_id == truth.image_id
        assert (record.split, truth.split) == ("val", "val")
        assert decode_image(record.encoded, "x").shape == (64, 80, 3)
        np.testing.assert_array_equal(record.labels, np.unique(truth.labels))
        np.testing.assert_array_equal(record.boxes, truth.boxes)
        np.testing.assert_array_equal(record.box_labels, truth.labels)
        masks = rle.decode_many(truth.masks, (64, 80))
        assert masks.any(axis=(1, 2)).all()
        assert masks.sum(axis=0).max() == 1  # no pixel belongs to two instances
        assert rle.area(truth.void, (64, 80)) == 0


def test_random_access_equals_order() -> None:
    source = SceneSource(SMALL)
    in_order = {r.image_id: r.encoded for r in images_of(source, "train")}
    again = SceneSource(SMALL)
    for image_id in reversed(again.image_ids("train")):
        assert again.image(image_id).encoded == in_order[image_id]


def test_parts_and_images_differ() -> None:
    source = SceneSource(SMALL)
    pictures = {r.encoded for role in ("train", "val") for r in images_of(source, role)}
    assert len(pictures) == 13


def test_every_class_is_in_both_parts() -> None:
    source = SceneSource(SceneSettings(train=8, val=4, height=64, width=80))
    for role in ("train", "val"):
        assert set(np.concatenate([r.labels for r in images_of(source, role)])) == {1, 2, 3, 4}


def test_a_longer_set_begins_with_the_shorter() -> None:
    longer = SceneSource(SceneSettings(train=20, val=5, height=64, width=80))
    assert longer.image("train_00003").encoded == SceneSource(SMALL).image("train_00003").encoded


def test_limit_and_roles() -> None:
    source = SceneSource(SceneSettings(train=40, val=30, height=64, width=80), limit=5)
    assert (len(source.image_ids("train")), len(source.image_ids("val"))) == (5, 8)
    source = SceneSource(SMALL, roles=("val",))
    assert (source.image_ids("train"), len(source.image_ids("val"))) == ((), 5)


def test_unknown_image() -> None:
    source = SceneSource(SMALL)
    for image_id in ("train_00008", "test_00000", "train_x"):
        with pytest.raises(KeyError, match=f"no image '{image_id}'"):
            source.image(image_id)


def test_digest() -> None:
    before = SceneSource(SMALL).digest()
    assert SceneSource(SMALL).digest() == before
    assert SceneSource(SMALL, limit=3).digest() != before
    assert SceneSource(SceneSettings(train=8, val=5, seed=1, height=64, width=80)).digest() != before
    assert SceneSource(SceneSettings(train=8, val=5, height=64, width=81)).digest() != before
