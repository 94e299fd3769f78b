"""YOLO's text files: layouts, names, boxes and polygons, negatives, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source

Make = Callable[..., Path]
POLYGON = "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"  # columns 3..8, rows 2..5 of 12 x 8


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"format": "yolo", "root": root, **values}))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def labels(source: Any, role: str = "train") -> dict[str, list[str]]:
    return {i: [source.classes[n - 1] for n in source.labels_of(i)] for i in source.image_ids(role)}


@pytest.mark.parametrize(
    "names", ["names: [cat, dog]", "names:\n  0: cat\n  1: dog\n", "nc: 2\nnames: {0: cat, 1: dog}"]
)
@pytest.mark.parametrize("layout", ["images/{}/{}.jpg labels/{}/{}.txt", "{}/images/{}.jpg {}/labels/{}.txt"])
def test_layouts(tmp_path: Path, make_photographs: Make, names: str, layout: str) -> None:
    image, text = layout.split()
    val = "val" if image.startswith("images") else "valid"
    make_photographs(
        tmp_path, *(image.format("train", n) for n in "abc"), *(image.format(val, n) for n in "de")
    )
    written = {
        text.format("train", "a"): "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.5 0.5\n",
        text.format("train", "b"): "",
        text.format(val, "d"): f"{POLYGON}\n",
        text.format(val, "e"): "\n",
        "data.yaml": f"train: ../train/images\nval: images/val\n{names}\n",
    }
    write(tmp_path, written)
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog")
    assert labels(source) == {"a": ["cat", "dog"], "b": [], "c": []}
    assert labels(source, "val") == {"d": ["dog"], "e": []}
    np.testing.assert_allclose(source.image("a").boxes, [[3, 2, 9, 6], [0, 0, 6, 4]])
    assert source.image("a").box_labels.tolist() == [1, 2]
    np.testing.assert_allclose(source.image("d").boxes, [[3, 2, 9, 6]])
    assert "1 of 5 images have no text file" in " ".join(source.notes())
    assert "without image" not in " ".join(source.notes())
    assert (source.truth_ids("train"), source.truth_ids("val")) == ((), ("d", "e"))
    truth = source.truth_of("d")
    mask = np.zeros((8, 12), bool)
    mask[2:6, 3:9] = True
    np.testing.assert_array_equal(rle.decode(truth.masks[0], (8, 12)), mask)
    assert (truth.labels.tolist(), source.truth_of("e").masks) == ([2], ())
    source.validate()


def test_texts_without_image_are_said_and_lists_are_none(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    texts = {"a.txt": POLYGON, "b.txt": f"{POLYGON}\n", "c.txt": ""}
    others = {"README.txt": "five words of a text\n", "train.txt": "images/a.jpg\n"}
    write(tmp_path, {**texts, **others, "data.yaml": "names: [cat, dog]\n"})
    source = opened(tmp_path)
    assert labels(source) == {"a": ["dog"]}
    assert "left out: 1 text file of labels without image: b.txt" in source.notes()


def test_masks_belong_to_the_digest_of_truth(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "images/val/a.jpg", "images/train/b.jpg")
    write(
        tmp_path,
        {"data.yaml": "names: [cat, dog]", "labels/val/a.txt": POLYGON, "labels/train/b.txt": POLYGON},
    )
    before = opened(tmp_path).truth_digest()
    write(tmp_path, {"labels/val/a.txt": POLYGON + " 0.3 0.5"})
    assert opened(tmp_path).truth_digest() != before


def test_lists_in_the_yaml_and_images_without_splits(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, *(f"images/{n}.jpg" for n in "abcd"))
    line = "0 0.5 0.5 0.5 0.5\n"
    write(tmp_path, {f"labels/{n}.txt": line if n in "ab" else "" for n in "abcd"})
    write(tmp_path, {"data.yaml": "names: [cat]\nval: val.txt\ntrain: train.txt\n"})
    write(
        tmp_path, {"val.txt": "./images/d.jpg\n", "train.txt": "images/a.jpg\nimages/b.jpg\nimages/c.jpg\n"}
    )
    source = opened(tmp_path)
    assert (labels(source), source.image_ids("val")) == ({"a": ["cat"], "b": ["cat"], "c": []}, ("d",))
    write(tmp_path, {"data.yaml": "names: [cat]\n"})
    source = opened(tmp_path, val_share=0.5)
    assert len(source.image_ids("val")) == 2
    assert sorted(source.image_ids("train") + source.image_ids("val")) == list("abcd")


def test_lists_beside_the_names(tmp_path: Path, make_photographs: Make) -> None:
    """As Darknet and CVAT write them: without them val would train."""
    make_photographs(tmp_path, *(f"obj_train_data/{n}.jpg" for n in "abcd"))
    write(tmp_path, {f"obj_train_data/{n}.txt": f"{i % 2} 0.5 0.5 0.5 0.5\n" for i, n in enumerate("abcd")})
    lists = {"train.txt": "".join(f"data/obj_train_data/{n}.jpg\n" for n in "abc")}
    write(tmp_path, {"obj.names": "cat\ndog\n", "valid.txt": "data/obj_train_data/d.jpg\n", **lists})
    source = opened(tmp_path)
    assert labels(source) == {"a": ["cat"], "b": ["dog"], "c": ["cat"]}
    assert source.image_ids("val") == ("d",)


def test_the_same_images_for_both_parts_train(tmp_path: Path, make_photographs: Make) -> None:
    """As in coco128.yaml, and in what we export."""
    make_photographs(tmp_path, "images/all/a.jpg", "images/all/b.jpg")
    write(tmp_path, {"labels/all/a.txt": "0 0.5 0.5 0.5 0.5", "labels/all/b.txt": ""})
    for order in ("train: images/all\nval: images/all\n", "val: images/all\ntrain: images/all\n"):
        write(tmp_path, {"data.yaml": f"path: .\n{order}names: [cat]\n"})
        source = opened(tmp_path)
        assert (source.image_ids("train"), source.image_ids("val")) == (("a", "b"), ())
        assert any("no val part" in note for note in source.notes())


@pytest.mark.parametrize(
    ("names", "image", "text"),
    [
        ("classes.txt", "{}.jpg", "{}.txt"),
        ("classes.txt", "images/{}.jpg", "labels/{}.txt"),
        ("labels/classes.txt", "images/{}.jpg", "labels/{}.txt"),
        ("obj.names", "obj_train_data/{}.jpg", "obj_train_data/{}.txt"),
    ],
)
def test_names_in_a_text_file(
    tmp_path: Path, make_photographs: Make, names: str, image: str, text: str
) -> None:
    """As LabelImg, Label Studio and Darknet write them."""
    make_photographs(tmp_path, image.format("a"), image.format("b"))
    line = "1 0.5 0.5 0.5 0.5\n"
    write(tmp_path, {names: "cat\ndog\n", text.format("a"): line, text.format("b"): ""})
    source = opened(tmp_path, format="auto")
    assert labels(source) == {"a": ["dog"], "b": []}
    assert any("data.format=yolo" in note for note in source.notes())


def test_names_alone_are_no_labels(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "cat/a.jpg", "dog/b.jpg")
    write(tmp_path, {"classes.txt": "cat\ndog\n"})
    assert opened(tmp_path, format="auto").classes == ("cat", "dog")  # of folders


def test_keypoints_are_left_out(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "images/train/a.jpg")
    write(tmp_path, {"data.yaml": "names: [cat]\nkpt_shape: [1, 3]\n"})
    write(tmp_path, {"labels/train/a.txt": "0 0.5 0.5 0.5 0.5 0.1 0.2 2\n"})
    np.testing.assert_allclose(opened(tmp_path).image("a").boxes, [[3, 2, 9, 6]])


def test_a_box_outside_is_clipped_or_refused(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "images/train/a.jpg")
    write(
        tmp_path, {"data.yaml": "names: [cat]", "labels/train/a.txt": "0 0.9 0.5 0.6 0.5\n0 0.5 0.5 0 0.5\n"}
    )
    source = opened(tmp_path, supervision="box")
    np.testing.assert_allclose(source.image("a").boxes, [[7.2, 2, 12, 6]])
    changes = source.box_changes("train")
    assert (len(changes.clipped), len(changes.dropped)) == (1, 1)
    with pytest.raises(DataError, match=r"a\.txt: line 1: expected a box inside the image"):
        opened(tmp_path, supervision="box", strict=True).validate()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 0.5 0.5 0.5 0.5", r"a\.txt: line 1: field 1: expected a class of \[0, 1\], got 2"),
        ("0.5 0.5 0.5 0.5 0.5", r"field 1: expected a class"),
        (
            "\n0 0.5 0.5 0.5",
            r"line 2: expected 'class cx cy w h' or 'class x y x y x y \.\.\.', got 4 numbers",
        ),
        ("0 0.5 0.5 0.5 0.5 0.9", "got 6 numbers"),
        ("0 320 240 50 60", r"expected shares of the image's sides, 0 to 1, got 320; are these pixels\?"),
        ("0 nan 0.5 0.5 0.5", "field 2: expected a finite number"),
        ("cat 0.5 0.5 0.5 0.5", r"field 1: expected a number of a class \(0 cat, 1 dog\), got 'cat'$"),
    ],
)
def test_refused_lines(tmp_path: Path, make_photographs: Make, text: str, message: str) -> None:
    make_photographs(tmp_path, "images/train/a.jpg", "images/train/b.jpg")
    write(
        tmp_path,
        {"data.yaml": "names: [cat, dog]", "labels/train/a.txt": text, "labels/train/b.txt": POLYGON},
    )
    with pytest.raises(DataError) as caught:
        opened(tmp_path).validate()
    assert re.search(message, str(caught.value)), caught.value


def test_what_every_file_has_is_one_problem(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, *(f"images/train/{name}.jpg" for name in "abcdefg"))
    texts = (
        dict.fromkeys("abc", "cat 0.5 0.5 0.5 0.5")
        | dict.fromkeys("de", "0 320 240 50 60")
        | {"f": "2 .5 .5 .1 .1"}
    )
    write(tmp_path, {"data.yaml": "names: [cat, dog]", "labels/train/g.txt": POLYGON})
    write(tmp_path, {f"labels/train/{name}.txt": text for name, text in texts.items()})
    with pytest.raises(DataError, match="3 problems") as caught:
        opened(tmp_path).validate()
    first, second, third = str(caught.value).splitlines()[1:]
    assert re.search(r"a\.txt: line 1: .* got 'cat'; so it is in 2 more text files$", first)
    assert re.search(r"d\.txt: line 1: .* are these pixels\?; so it is in 1 more text file$", second)
    assert re.search(r"f\.txt: line 1: field 1: expected a class of \[0, 1\], got 2$", third)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (None, r"expected data\.yaml with the names of the classes, got none"),
        ("nc: 3", r"field 'names': expected a list of classes or number: class, got None"),
        ("names: [cat, cat]", "field 'names': expected each class once"),
        ("names: {a: cat}", "expected number: class, got 'a': 'cat'"),
        ("- cat", "expected a mapping with 'names', got list"),
        ("names: [cat", r"data\.yaml is not YAML"),
        ("names: [cat]", r"expected text files of labels .* got none for 1 image"),
    ],
)
def test_refused_settings(tmp_path: Path, make_photographs: Make, yaml: str | None, message: str) -> None:
    make_photographs(tmp_path, "images/train/a.jpg")
    if yaml is not None:
        write(tmp_path, {"data.yaml": yaml})
    with pytest.raises(DataError) as caught:
        opened(tmp_path).validate()
    assert re.search(message, str(caught.value)), caught.value
