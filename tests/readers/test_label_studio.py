"""Label Studio's export: tasks, names of images, shapes, brush strokes, choices, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import DataError
from tests.hard.drawn_datasets import studio_task
from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source
from wsis.readers.formats.label_studio_brush import decode_brush, encode_brush

Make = Callable[..., Path]
SQUARE = np.zeros((8, 12), bool)
SQUARE[3:6, 2:6] = True


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"root": root, **values}))


def result(kind: str, value: dict[str, Any], label: str | None = "cat", **more: Any) -> dict[str, Any]:
    """A result of a shape on an image of 12 x 8."""
    named = {} if label is None else {kind: [label]}
    sides = {"original_width": 12, "original_height": 8, "image_rotation": 0}
    return {"id": "r", "type": kind, "from_name": "label", "value": {**value, **named}, **sides, **more}


def choice(*names: str, tag: str = "kind") -> dict[str, Any]:
    return {"id": "c", "type": "choices", "from_name": tag, "value": {"choices": list(names)}}


def task(image: str, *results: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(results)}], **fields}


def write(path: Path, *tasks: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(tasks)))


BOX = {"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0}
RECTANGLE = result("rectanglelabels", BOX)


@pytest.mark.parametrize(
    "written",
    [
        "/data/upload/3/0a1b2c3d-a.jpg",
        "/data/upload/3/a.jpg",
        "/data/local-files/?d=photos%2Fa.jpg",
        "s3://bucket/photos/a.jpg",
        "https://example.org/photos/a.jpg?token=1",
        "a.jpg",
    ],
)
def test_names_of_images(tmp_path: Path, make_photographs: Make, written: str) -> None:
    make_photographs(tmp_path, "photos/a.jpg", "photos/b.jpg")
    write(tmp_path / "project-1.json", task(written, RECTANGLE))
    source = opened(tmp_path)
    assert [note for note in source.notes() if "data.format=label_studio" in note]
    assert source.image_ids("train") == ("a",)
    np.testing.assert_allclose(source.image("a").boxes, [[3, 2, 9, 6]])
    source.validate()


def test_an_uploaded_name_that_is_there_stays(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "images/0a1b2c3d-a.jpg", "images/a.jpg")
    write(tmp_path / "tasks.json", task("/data/upload/3/0a1b2c3d-a.jpg", RECTANGLE))
    assert opened(tmp_path).image_ids("train") == ("0a1b2c3d-a",)


def test_shapes(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    polygon = {"points": [[100 * 2 / 12, 37.5], [50, 37.5], [50, 75], [100 * 2 / 12, 75]], "closed": True}
    ellipse = {"x": 50, "y": 50, "radiusX": 100 * 2 / 12, "radiusY": 25, "rotation": 90}
    strokes = {"format": "rle", "rle": encode_brush(SQUARE)}
    shapes = [
        result("polygonlabels", polygon),
        result("ellipselabels", ellipse, "dog"),
        result("brushlabels", strokes, "dog"),
        {"id": "x", "type": "relation", "direction": "right"},
    ]
    write(
        tmp_path / "tasks.json",
        task("a.jpg", *shapes),
        task("b.jpg", RECTANGLE, result("keypointlabels", {"x": 5, "y": 5, "width": 1}, "dog")),
        task("c.jpg", result("rectanglelabels", {**BOX, "x": 75.0, "y": 25.0, "rotation": 90})),
    )
    source = opened(tmp_path)
    np.testing.assert_allclose(source.image("a").boxes, [[2, 3, 6, 6], [4, 2, 8, 6], [2, 3, 6, 6]], atol=1e-5)
    assert source.image("a").box_labels.tolist() == [1, 2, 2]
    assert source.image("b").labels.tolist() == [1, 2] and source.image("b").box_labels.tolist() == [1]
    np.testing.assert_allclose(source.image("c").boxes, [[5, 2, 9, 8]], atol=1e-5)  # 6 x 4, turned
    assert source.truth_ids("train") == ("a",)
    square, disk, brushed = (rle.decode(one, (8, 12)) for one in source.truth_of("a").masks)
    np.testing.assert_array_equal(square, SQUARE)
    np.testing.assert_array_equal(brushed, SQUARE)
    assert abs(disk.sum() - np.pi * 4) < 1.5


def test_which_annotation_counts(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, *(f"{n}.jpg" for n in "abcde"))
    cat, dog = RECTANGLE, result("rectanglelabels", BOX, "dog")
    write(
        tmp_path / "tasks.json",
        task("a.jpg", annotations=[{"result": [cat]}, {"result": [dog]}]),
        task("b.jpg", annotations=[{"result": [cat], "ground_truth": True}, {"result": [dog]}]),
        task("c.jpg", annotations=[{"result": [dog], "was_cancelled": True}]),
        task("d.jpg", annotations=[], predictions=[{"result": [dog]}]),
        task("e.jpg"),
    )
    source = opened(tmp_path)
    labels = {i: [source.classes[n - 1] for n in source.labels_of(i)] for i in source.image_ids("train")}
    assert labels == {"a": ["dog"], "b": ["cat"], "e": []}
    notes = " ".join(source.notes())
    assert "2 tasks without annotation are left out (predictions count once they are submitted)" in notes
    assert "2 tasks have several annotations" in notes
    assert "left out: 2 images without annotation: c.jpg, d.jpg" in notes


def test_choices(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    tasks = [
        task("a.jpg", choice("cat", "dog")),
        task("b.jpg", choice("none")),
        task("c.jpg", RECTANGLE, choice("cat", "dog")),
        task("d.jpg", RECTANGLE, {**choice("small", tag="size"), "id": "r"}),  # of the rectangle
    ]
    write(tmp_path / "tasks.json", *tasks)
    source = opened(tmp_path)
    labels = {i: [source.classes[n - 1] for n in source.labels_of(i)] for i in source.image_ids("train")}
    assert labels == {"a": ["cat", "dog"], "b": [], "c": ["cat", "dog"], "d": ["cat"]}
    write(tmp_path / "tasks.json", *tasks, task("d.jpg", choice("sharp", tag="quality")))
    with pytest.raises(
        DataError, match=r"expected choices of one tag, got kind, quality; data\.label_attribute"
    ):
        opened(tmp_path).validate()
    write(tmp_path / "tasks.json", *tasks[:3], task("d.jpg", choice("sharp", tag="quality")))
    assert opened(tmp_path, label_attribute="kind").labels_of("d").tolist() == []
    with pytest.raises(
        DataError, match=r"data\.label_attribute: expected one of kind, quality, got 'colour'"
    ):
        opened(tmp_path, label_attribute="colour").validate()
    write(tmp_path / "tasks.json", task("a.jpg", choice("cat", "none")), task("b.jpg", choice("dog")))
    with pytest.raises(DataError, match="task 1: expected classes or none, got cat, none"):
        opened(tmp_path).validate()


def test_a_file_a_split(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "images/a.jpg", "images/d.jpg")
    write(tmp_path / "train.json", studio_task(1, "a", "cat") | {"data": {"image": "a.jpg"}})
    write(tmp_path / "val.json", studio_task(2, "d", "cat") | {"data": {"image": "d.jpg"}})
    source = opened(tmp_path)
    assert (source.image_ids("train"), source.image_ids("val")) == (("a",), ("d",))
    assert source.truth_ids("val") == ("d",)


NO_SIZE = {key: value for key, value in RECTANGLE.items() if key != "original_width"}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (task("a.jpg", NO_SIZE), r"result\[0\]: field 'original_width': expected pixels, at least 1, got None"),
        (task("a.jpg", {**RECTANGLE, "original_width": 24}), "expected the image's width x height, 12 x 8"),
        (task("a.jpg", {**RECTANGLE, "image_rotation": 90}), "'image_rotation': expected 0, got 90"),
        (task("a.jpg", result("rectanglelabels", BOX, None)), "'rectanglelabels': expected one label, got None"),
        (task("a.jpg", result("rectanglelabels", {**BOX, "x": "a"})), "field 'x': expected a number, got 'a'"),
        (task("a.jpg", result("rectanglelabels", {**BOX, "x": 1e999})), "field 'x': expected a finite number"),
        (task("a.jpg", result("rectanglelabels", {**BOX, "width": -5})), "'width': expected at least 0, got -5"),
        (task("a.jpg", result("polygonlabels", {"points": [[1]]})), r"expected a list of \[x, y\]"),
        (task("a.jpg", result("brushlabels", {"rle": [1, 300]})), "'rle': expected a list of whole numbers 0 to 255"),
        (task("a.jpg", result("brushlabels", {"rle": [0] * 9})), "'rle': expected 384 values of 8 bits .* got 0 of 1"),
        (task("a.jpg", {**choice(), "value": {"choices": "cat"}}), "'choices': expected a list of names, got 'cat'"),
        (task("a.jpg", annotations=[7]), "'annotations'.0.: expected an object, got int"),
        (task("a.jpg", annotations=[{"result": None}]), "result: expected a list of objects, got NoneType"),
        (task("/z.jpg", RECTANGLE), "stays inside the data root"),
        (task("z.jpg", RECTANGLE), r"task 1: the file .*z\.jpg is missing"),
        (task("../../z.jpg", RECTANGLE), "stays inside the data root"),
        ({**task("a.jpg", RECTANGLE), "data": {"text": "hello"}}, r"field 'data': expected one image, got \['text'\]"),
        ({**task("a.jpg", RECTANGLE), "data": None}, "field 'data': expected an object with the image, got None"),
    ],
)  # fmt: skip
def test_refused_tasks(tmp_path: Path, make_photographs: Make, one: Any, message: str) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "tasks.json", one, task("b.jpg", result("rectanglelabels", BOX, "dog")))
    with pytest.raises(DataError) as caught:
        opened(tmp_path, format="label_studio").validate()
    assert re.search(message, str(caught.value)), caught.value
    assert "tasks.json" in str(caught.value)


@given(st.integers(1, 9), st.integers(1, 9), st.randoms())
def test_brush_strokes_come_back(height: int, width: int, random: Any) -> None:
    mask = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    np.testing.assert_array_equal(decode_brush(bytes(encode_brush(mask)), mask.shape, "x"), mask)


def test_long_runs_and_literal_values() -> None:
    mask = np.zeros((300, 400), bool)
    mask[60:, :] = True  # runs longer than the longest length
    np.testing.assert_array_equal(decode_brush(bytes(encode_brush(mask)), mask.shape, "x"), mask)
    literal = "0" + "00" + "111" + "00000000" * 3 + "11111111" + "00000000" * 3 + "01111111"
    head = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    data = int((head + literal).ljust(136, "0"), 2).to_bytes(17)
    assert decode_brush(data, (1, 2), "x").tolist() == [[True, False]]  # 127 of 255 is less than half
    with pytest.raises(DataError, match="x: field 'rle': expected more after 10 bytes: it is cut short"):
        decode_brush(data[:10], (1, 2), "x")
    long = int((head + "1" + "01" + "1111" + "11111111").ljust(136, "0"), 2).to_bytes(17)
    with pytest.raises(DataError, match="expected 8 values, got a run that ends at 16"):
        decode_brush(long, (1, 2), "x")


@pytest.mark.parametrize(
    "unread",
    [
        {"id": "v", "type": "videorectangle", "value": {"sequence": []}},
        {"id": "r", "type": "rectangle", "value": BOX},
    ],
)
def test_what_holds_an_unread_shape_is_no_negative(
    tmp_path: Path, make_photographs: Make, unread: dict[str, Any]
) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "tasks.json", task("a.jpg", unread), task("b.jpg", RECTANGLE))
    source = opened(tmp_path)
    assert source.image_ids("train") == ("b",)
    assert [note for note in source.notes() if unread["type"] in note and "left out" in note]
