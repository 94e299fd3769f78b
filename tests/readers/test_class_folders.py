"""A folder a class: which images there are, what they show, and which part they play."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_contracts.errors import ConfigError, DataError
from wsis.readers.config import DataConfig, open_source

Make = Callable[..., Path]


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"format": "folders", "root": root, **values}))


def labels(source: Any, role: str = "train") -> dict[str, list[str]]:
    return {i: [source.classes[n - 1] for n in source.labels_of(i)] for i in source.image_ids(role)}


def test_splits_are_folders(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "train/cat/1.jpg", "train/dog/a/2.JPG", "valid/dog/3.png", "test/cat/4.jpg")
    for clutter in (
        "train/cat/.hidden.jpg",
        "train/Thumbs.db",
        "train/__MACOSX/cat/1.jpg",
        "train/cat/notes.txt",
    ):
        path = tmp_path / clutter
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no image")
    source = opened(tmp_path)
    assert labels(source) == {"1": ["cat"], "2": ["dog"]}
    assert labels(source, "val") == {"3": ["dog"]}
    assert source.image("2").file_name == "train/dog/a/2.JPG"
    assert "split 'test' (1 image)" in " ".join(source.notes())
    assert (source.truth_ids("train"), source.truth_ids("val")) == ((), ())
    source.validate()


def test_an_empty_class_folder_is_said(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/1.jpg", "dog/2.jpg")
    assert "no class" not in " ".join(opened(tmp_path).notes())
    (tmp_path / "owl" / "more").mkdir(parents=True)
    assert "no image, and so no class: owl (empty)" in opened(tmp_path).notes()
    (tmp_path / "owl" / "labels.txt").touch()  # a folder of something else
    assert "no class" not in " ".join(opened(tmp_path).notes())
    (tmp_path / "owl" / "a.svg").touch()
    (tmp_path / "cat" / "b.tga").touch()
    notes = opened(tmp_path).notes()
    assert "no image, and so no class: owl (2 other files)" in notes
    assert "left out: 1 file in class folders of no kind of image: cat/b.tga" in notes
    make_photographs(tmp_path / "divided", "train/cat/1.jpg", "val/cat/2.jpg")
    (tmp_path / "divided" / "train" / "fox").mkdir()
    assert "no image, and so no class: train/fox (empty)" in opened(tmp_path / "divided").notes()


@pytest.mark.parametrize("name", ["train/cow", "lost+found", ".trash"])
def test_a_folder_that_may_not_be_looked_into_is_named(
    tmp_path: Path, make_photographs: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_photographs(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", f"{name}/c.jpg")
    scan = os.scandir

    def scanned(path: Any) -> Any:
        if str(path) == str(tmp_path / name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scanned)
    if name == "train/cow":
        with pytest.raises(DataError, match=r"the folder .*train/cow cannot be read: Permission denied"):
            opened(tmp_path).validate()
    else:
        assert opened(tmp_path).image_ids("train") == ("a", "b")


def test_a_class_may_be_named_train(tmp_path: Path, make_photographs: Make) -> None:
    source = opened(make_photographs(tmp_path, "train/1.jpg", "boat/2.jpg"))
    assert labels(source) == {"2": ["boat"], "1": ["train"]}
    assert "no val part: all of 2 images train; data.val_share" in " ".join(source.notes())


def test_a_limit_is_said_where_all_train(tmp_path: Path, make_photographs: Make) -> None:
    made = make_photographs(tmp_path, *(f"cat/{number}.jpg" for number in range(5)))
    source = opened(made, limit=3)
    assert len(labels(source)) == 3
    assert "no val part: data.limit=3 of 5 images train; data.val_share" in " ".join(source.notes())


def test_splits_without_train_are_no_classes(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "valid/cat/1.jpg", "x/cat/2.jpg", "x/dog/3.jpg")
    with pytest.raises(DataError, match=r"a folder of split 'train' beside valid, got x; data\.train_split"):
        opened(tmp_path).validate()
    assert labels(opened(tmp_path, train_split="x")) == {"2": ["cat"], "3": ["dog"]}


def test_one_image_in_several_folders(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/2.jpg", "dog/3.jpg", "owl/4.jpg")
    shutil.copy(tmp_path / "cat/1.jpg", tmp_path / "dog/1.jpg")  # the same bytes
    (tmp_path / "owl/3.jpg").symlink_to(tmp_path / "dog/3.jpg")
    assert labels(opened(tmp_path)) == {
        "1": ["cat", "dog"],
        "3": ["dog", "owl"],
        "cat/2": ["cat"],  # the same name, other bytes: other images
        "dog/2": ["dog"],
        "4": ["owl"],
    }


@pytest.mark.parametrize("name", ["negative", "_Negatives", "background", "none", "_none"])
def test_negatives(tmp_path: Path, make_photographs: Make, name: str) -> None:
    make_photographs(tmp_path, "cat/1.jpg", f"{name}/2.jpg")
    assert labels(opened(tmp_path)) == {"1": ["cat"], "2": []}
    assert labels(opened(tmp_path, classes=["cat", name]))["2"] == [name]  # named as a class, it is one
    assert labels(opened(tmp_path, negatives=["other"]))["2"] == [name]
    assert labels(opened(tmp_path, on_empty="drop")) == {"1": ["cat"]}
    with pytest.raises(DataError, match=r"2\.jpg: expected at least one object, got none"):
        opened(tmp_path, on_empty="error").validate()


def test_an_image_cannot_be_both(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/1.jpg", "none/2.jpg")
    shutil.copy(tmp_path / "cat/1.jpg", tmp_path / "none/1.jpg")
    with pytest.raises(DataError, match=r"got an image in the folders cat, none \(data\.negatives"):
        opened(tmp_path).validate()


def test_classes_that_are_not_wanted(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/1.jpg", "dog/2.jpg")
    with pytest.raises(DataError, match=r"unknown class 'dog'; expected one of cat"):
        opened(tmp_path, classes=["cat"]).validate()
    assert labels(opened(tmp_path, classes=["cat"], on_unknown_class="ignore")) == {"1": ["cat"], "2": []}


@pytest.mark.parametrize(
    ("files", "values", "message"),
    [
        ([], {}, "expected a folder a class with images, .*, got no image"),
        (["1.jpg", "2.jpg"], {}, "got 2 images without a class folder"),
        (
            ["train/cat/1.jpg", "val/cat/2.jpg"],
            {"val_share": 0.5},
            r"data\.val_share: expected data without a val part",
        ),
        (["cat/1.jpg"], {"val_share": 0.5}, "expected two images or more to divide, got 1"),
        (
            ["cat/1.jpg"],
            {"supervision": "box"},
            r"data\.supervision: expected image, .* folders have no boxes",
        ),
        (
            ["cat/1.jpg"],
            {"labels_file": "x.csv"},
            r"data\.labels_file: expected data of format csv, got folders",
        ),
        (["cat/1.jpg"], {"val_share": 0.5, "val_annotations": "v.json"}, "expected val from one place"),
        (["cat/1.jpg"], {"root": None}, r"data\.root: expected the folder of the folders data"),
    ],
)
def test_refused(
    tmp_path: Path, make_photographs: Make, files: list[str], values: dict[str, Any], message: str
) -> None:
    make_photographs(tmp_path, *files)
    with pytest.raises((DataError, ConfigError), match=message):
        opened(tmp_path, **values) if "root" not in values else open_source(DataConfig(format="folders"))
        opened(tmp_path, **values).validate()


def test_a_file_that_is_no_image_is_named(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/1.jpg", "dog/2.jpg")
    (tmp_path / "dog/2.jpg").write_bytes(b"GIF8 no image")
    with pytest.raises(DataError, match=r"dog/2\.jpg: expected an image"):
        opened(tmp_path).validate()


def test_digest_knows_labels_and_not_the_place(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path / "a", "cat/1.jpg", "dog/2.jpg", "dog/3.jpg")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert opened(tmp_path / "a").digest() == opened(tmp_path / "b").digest()
    (tmp_path / "b/dog/3.jpg").rename(tmp_path / "b/cat/3.jpg")
    assert opened(tmp_path / "a").digest() != opened(tmp_path / "b").digest()


def test_a_run_that_meets_damaged_images_says_how_to_see_all(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/1.jpg", "dog/2.jpg", "dog/3.jpg", "cat/4.jpg")
    (tmp_path / "cat/1.jpg").write_text("text")
    Image.effect_noise((64, 48), 50).save(tmp_path / "dog/2.jpg")
    os.truncate(tmp_path / "dog/2.jpg", os.path.getsize(tmp_path / "dog/2.jpg") // 2)  # its header is there
    advice = f"no image was decoded yet: wsis check {tmp_path} names all that are damaged"
    with pytest.raises(DataError, match=f"1\\.jpg: expected an image .*; {advice}$"):
        opened(tmp_path).digest()
    (tmp_path / "dog/3.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=rf"2 problems(.|\n)*\n{advice}$"):
        opened(tmp_path).digest()
    with pytest.raises(DataError, match=r"3 problems") as all_said:
        opened(tmp_path).validate()
    assert "cut short" in str(all_said.value) and advice not in str(all_said.value)
    make_photographs(tmp_path / "other", "cat/1.jpg", "dog/2.jpg")
    with pytest.raises(DataError, match="unknown class") as no_image:
        opened(tmp_path / "other", classes=["cat"]).digest()
    assert advice.split(":")[0] not in str(no_image.value)
