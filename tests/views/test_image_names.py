"""What images are called: short names that tell them apart, files named after them, names that choose them."""

import re

import numpy as np
import pytest

from data_contracts.errors import ConfigError
from data_contracts.schemas import DATASET
from tests.records import image_record
from tests.reporting.conftest import (
    RunBuilder,
    detections_record,
    proposals_record,
    pseudo_labels_record,
)
from wsis.reporting.pictures import panels
from wsis.reporting.pictures.figures import write_figures
from wsis.reporting.pictures.pictures import write_overlays
from wsis.views.image_names import ImageNames, near_names, shortened

FILES = {
    "train_1": "images/train/cat/IMG_1.jpg",
    "train_2": "images/train/dog/IMG_1.jpg",
    "train_3": "images/train/dog/IMG_2.jpg",
    "val_1": "images/val/x.png",
    "val_2": "images/val/x.jpg",
    "val_3": "images/val/Übersicht 7.jpg",
}
NAMES = ImageNames(FILES)


def test_names_are_as_short_as_they_can_be() -> None:
    expected = ["cat/IMG_1", "dog/IMG_1", "IMG_2", "x.png", "x.jpg", "Übersicht 7"]
    assert [NAMES(i) for i in FILES] == expected
    assert NAMES("other") == "other"
    same = ImageNames({"a": "x.png", "b": "x.png"})
    assert [same(i) for i in "ab"] == ["a", "b"]


def test_long_names_keep_their_beginning_and_end() -> None:
    name = "IMG_" + "0" * 60 + "_17"
    assert shortened(name, 20) == "IMG_00000…0000000_17" and len(shortened(name, 20)) == 20
    assert shortened("short", 20) == "short"
    assert ImageNames({"a": f"{name}.jpg"}).shown("a").endswith("000_17")


def test_files_of_pictures_are_safe_and_differ() -> None:
    files = {
        "1": "a/b.jpg",
        "2": "c/b.jpg",
        "3": "x/a_b.jpg",
        "4": "A_B.png",
        "5": "../…/?\n*.jpg",
        "6": "写真/猫.jpg",
        "7": "n" * 240 + "1.jpg",
        "8": "n" * 240 + "2.jpg",
    }
    names = ImageNames(files)
    made = [names.file_name("pseudo_labels@1", i) for i in files]
    assert len({name.casefold() for name in made}) == len(files)
    assert all(re.fullmatch(r"pseudo_labels@1_[\w.@-]+\.png", name) for name in made)
    assert all(len(name.encode()) < 250 for name in made)
    assert made[1] == "pseudo_labels@1_c_b.png" and made[5] == "pseudo_labels@1_猫.png"
    assert made[0].startswith("pseudo_labels@1_a_b-")  # `a_b` too is one


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("train_3", ["train_3"]),
        ("images/train/dog/IMG_2.jpg", ["train_3"]),
        ("IMG_2.jpg", ["train_3"]),
        ("IMG_2", ["train_3"]),
        ("dog/IMG_1", ["train_2"]),
        ("cat/IMG_1.jpg", ["train_1"]),
        ("x.png", ["val_1"]),
        ("dog/*", ["train_2", "train_3"]),
        ("IMG_?", ["train_1", "train_2", "train_3"]),
        ("*.png", ["val_1"]),
    ],
)
def test_an_image_is_chosen_by_any_of_its_names(text: str, ids: list[str]) -> None:
    assert NAMES.chosen([text]) == ids


def test_several_choices_are_one_list() -> None:
    assert NAMES.chosen(["IMG_2", "dog/*", "x.png"]) == ["train_3", "train_2", "val_1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IMG_1", r"--image: .* one of 6 images, .* got 'IMG_1'; it could be cat/IMG_1, dog/IMG_1\?"),
        ("x", r"it could be x\.png, x\.jpg\?"),
        ("img_2", r"got 'img_2'; did you mean .*IMG_2"),
        ("zzz*", r"got 'zzz\*'; there are cat/IMG_1, dog/IMG_1, IMG_2, …, which the gallery"),
        ("", r"got ''; there are cat/IMG_1, dog/IMG_1, IMG_2, …, which the gallery"),
    ],
)
def test_a_name_of_no_image_or_of_several_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NAMES.chosen([text])


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("12345", ["000000012345"]),  # the same number
        ("000000012346", []),
        ("9f31c0", ["9f31c0aa77d2"]),  # a beginning
        ("9f31c1aa77d2", []),
        ("aa77d2", ["9f31c0aa77d2"]),  # an end
        ("photo_7", []),
        ("phto_8.jpg", ["photo_8.jpg"]),  # a slip
        ("PHOTO_8", ["photo_8.jpg"]),
        ("ph", []),
    ],
)
def test_only_what_is_really_near_is_named(text: str, near: list[str]) -> None:
    assert near_names(text, ["000000012345", "9f31c0aa77d2", "0000000777", "photo_8.jpg"]) == near


@pytest.fixture
def old_run(tmp_path) -> RunBuilder:
    """A run whose ids are numbers, as older versions gave COCO images."""
    builder, masks = RunBuilder(tmp_path / "store"), np.zeros((1, 60, 80), bool)
    masks[0, 10:30, 10:30] = True
    image = np.full((60, 80, 3), 128, np.uint8)
    data = {}
    for image_id, path in FILES.items():
        data[image_id] = image_record(image, path, image_id.split("_")[0])
    builder.commit("dataset", "dataset", "dataset", data)
    train, val = list(FILES)[:3], list(FILES)[3:]
    builder.commit("proposals", "proposals", "proposals", {i: proposals_record(masks) for i in FILES})
    labels = {i: pseudo_labels_record(masks) for i in train}
    builder.commit("pseudo_labels@1", "pseudo_labels", "pseudo_labels", labels)
    builder.commit(
        "predictions.val@1", "predictions", "detections", {i: detections_record(masks) for i in val}
    )
    return builder


def test_pictures_say_names(old_run, tmp_path, monkeypatch) -> None:
    written: list[str] = []
    put_text = panels.put_text
    monkeypatch.setattr(
        panels, "put_text", lambda image, text, *a: (written.append(text), put_text(image, text, *a))
    )
    run = old_run.run
    paths = write_overlays(run, "pseudo_labels@1", 0, tmp_path / "o", ["dog/*"])
    assert [p.name for p in paths] == ["pseudo_labels@1_dog_IMG_1.png", "pseudo_labels@1_IMG_2.png"]
    paths = write_figures(run, tmp_path / "f", ["IMG_2", "x.png"])
    assert [p.name for p in paths] == ["figure2.png", "figure2_IMG_2.png", "figure4.png", "figure4_x.png.png"]
    shown = " ".join(written)
    assert all(name in shown for name in ("dog/IMG_1", "IMG_2", "x.png"))
    assert "train_" not in shown and "val_" not in shown


def test_an_image_that_the_artefact_does_not_hold(old_run, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"--image: expected images that pseudo_labels@1 holds, got x\.png"):
        write_overlays(old_run.run, "pseudo_labels@1", 0, tmp_path / "o", ["x.png"])
    assert not (tmp_path / "o").exists()


def test_names_of_a_dataset_artefact(old_run) -> None:
    entry = old_run.record.entries["dataset"]
    reader = old_run.store.open(entry.stage, entry.fingerprint).records(DATASET)
    assert ImageNames.of(reader).files == FILES
