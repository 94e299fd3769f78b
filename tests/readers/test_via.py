"""VIA's project, export and table: shapes, attributes, splits, and what is refused."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import ConfigError, DataError
from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source

Make = Callable[..., Path]
POLYGON = {"name": "polygon", "all_points_x": [2, 6, 6, 2], "all_points_y": [3, 3, 6, 6]}
RECT = {"name": "rect", "x": 2, "y": 3, "width": 4, "height": 3}
SQUARE = np.zeros((8, 12), bool)
SQUARE[3:6, 2:6] = True


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"root": root, **values}))


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def image(name: str, *regions: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"filename": name, "size": 9, "regions": list(regions), "file_attributes": attributes}


def write(path: Path, *images: dict[str, Any], project: bool = False) -> None:
    tree: dict[str, Any] = {f"{one['filename']}9": one for one in images}
    if project:
        tree = {"_via_settings": {}, "_via_img_metadata": tree, "_via_attributes": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def write_table(path: Path, *images: dict[str, Any], first: str = "filename") -> None:
    names = (first, "file_size", "file_attributes", "region_count", "region_id")
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*names, "region_shape_attributes", "region_attributes"])
        for one in images:
            some = one["regions"] or [region({})]
            for number, item in enumerate(some):
                texts = [json.dumps(item["shape_attributes"]), json.dumps(item["region_attributes"])]
                attributes = json.dumps(one["file_attributes"])
                rows.writerow([one["filename"], 9, attributes, len(one["regions"]), number, *texts])


CAT, DOG = (
    image("a.jpg", region(POLYGON, **{"class": "cat"})),
    image("b.jpg", region(RECT, **{"class": "dog"})),
)


@pytest.mark.parametrize("kind", ["project", "export", "numbered", "table", "old table"])
def test_files(tmp_path: Path, make_photographs: Make, kind: str) -> None:
    make_photographs(tmp_path, "images/a.jpg", "images/b.jpg", "images/c.jpg", "images/bare.jpg")
    images = [CAT, DOG, image("c.jpg")]
    if "table" in kind:
        write_table(tmp_path / "via.csv", *images, first="#filename" if "old" in kind else "filename")
    else:
        if kind == "numbered":  # VIA 1
            images = [{**one, "regions": {str(i): r for i, r in enumerate(one["regions"])}} for one in images]
        write(tmp_path / "via.json", *images, project=kind == "project")
    source = opened(tmp_path)
    assert [note for note in source.notes() if "data.format=via" in note]
    assert source.classes == ("cat", "dog") and source.image_ids("train") == ("a", "b", "c")
    assert [source.image(i).labels.tolist() for i in "abc"] == [[1], [2], []]
    np.testing.assert_allclose(source.image("b").boxes, [[2, 3, 6, 6]])
    assert source.truth_ids("train") == ("a", "c")
    np.testing.assert_array_equal(rle.decode(source.truth_of("a").masks[0], (8, 12)), SQUARE)
    assert "left out: 1 image without annotation: images/bare.jpg" in source.notes()
    source.validate()


def test_a_file_in_each_split_and_no_attributes(tmp_path: Path, make_photographs: Make) -> None:
    """As the balloons of Matterport are."""
    make_photographs(tmp_path, "train/a.jpg", "train/b.jpg", "val/a.jpg")
    for split, names in (("train", "ab"), ("val", "a")):
        some = [image(f"{name}.jpg", *[region(POLYGON)] * (name == "a")) for name in names]
        write(tmp_path / split / "via_region_data.json", *some)
    source = opened(tmp_path)
    assert source.classes == ("object",)
    assert any("all objects are of one class, 'object'" in note for note in source.notes())
    assert (source.image_ids("train"), source.image_ids("val")) == (("train/a", "b"), ("val/a",))
    assert opened(tmp_path, classes=["balloon"]).classes == ("balloon",)
    with pytest.raises(DataError, match=r"data\.classes: expected one class, because objects have none"):
        opened(tmp_path, classes=["a", "b"]).validate()


def test_shapes(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    shapes = [
        {"name": "circle", "cx": 6, "cy": 4, "r": 2},
        {"name": "ellipse", "cx": 6, "cy": 4, "rx": 4, "ry": 2, "theta": np.pi / 2},
        {"name": "point", "cx": 1, "cy": 1},
        {"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]},
    ]
    names = ["disk", "egg", "dot", "line"]
    write(
        tmp_path / "via.json",
        image("a.jpg", *(region(s, kind=n) for s, n in zip(shapes, names, strict=True))),
    )
    source = opened(tmp_path)
    assert source.classes == ("disk", "dot", "egg", "line")
    np.testing.assert_allclose(source.image("a").boxes, [[4, 2, 8, 6], [4, 0, 8, 8]], atol=1e-5)
    masked = opened(tmp_path, classes=["disk", "egg"], on_unknown_class="ignore")
    areas = [rle.decode(one, (8, 12)).sum() for one in masked.truth_of("a").masks]
    assert abs(areas[0] - np.pi * 4) < 1.5 and abs(areas[1] - np.pi * 8) < 3.5


def test_which_attribute_is_the_class(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    one = image(
        "a.jpg", region(POLYGON, sort="cat", pose="left"), region(RECT, sort={"dog": True, "cat": False})
    )
    two = image("b.jpg", sort={"dog": True, "cat": True})
    write(tmp_path / "via.json", one, two)
    source = opened(tmp_path)
    assert source.image("a").box_labels.tolist() == [1, 2]
    assert source.image("b").labels.tolist() == [1, 2]  # what its own attribute says
    with pytest.raises(DataError, match=r"regions\[1\]: attribute 'pose': expected one class, got none"):
        opened(tmp_path, label_attribute="pose").validate()
    write(tmp_path / "via.json", image("a.jpg", region(POLYGON, sort="cat", pose="left")))
    with pytest.raises(DataError, match="expected one attribute that all 1 regions have, got pose, sort"):
        opened(tmp_path).validate()
    assert opened(tmp_path, label_attribute="sort").classes == ("cat",)
    with pytest.raises(
        ConfigError, match=r"data\.label_attribute: expected data of format via or label_studio"
    ):
        opened(tmp_path, label_attribute="sort", format="labelme")


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (image("a.jpg", region({"name": "heart"}, k="x")), "'name': expected polygon, rect, .* got 'heart'"),
        (image("a.jpg", region({**RECT, "x": float("nan")}, k="x")), "field 'x': expected a finite number, got nan"),
        (image("a.jpg", region({**RECT, "width": None}, k="x")), "field 'width': expected a number, got None"),
        (image("a.jpg", region({**RECT, "height": -1}, k="x")), "field 'height': expected at least 0, got -1"),
        (image("a.jpg", region({**POLYGON, "all_points_x": [1]}, k="x")), "expected as many all_points_x as"),
        (image("a.jpg", region({**POLYGON, "all_points_x": "1"}, k="x")), "'all_points_x': expected a list of numbers"),
        (image("a.jpg", region(POLYGON, k=["x", "y"])), "attribute 'k': expected one class, got x, y"),
        (image("a.jpg", region(POLYGON, k=7)), "attribute 'k': expected text, got"),
        (image("a.jpg", region(POLYGON, k="a\x1b")), "without control characters"),
        ({**image("a.jpg"), "regions": 7}, "regions: expected a list of objects, got int"),
        ({**image("a.jpg"), "filename": "", "file_attributes": {"k": "x"}}, "'filename': expected text, got ''"),
        (image("z.jpg", region(POLYGON, k="x")), r"'z\.jpg9': the file .*z\.jpg is missing"),
        (image("../z.jpg", region(POLYGON, k="x")), "stays inside the data root"),
        (image("via.json", region(POLYGON, k="x")), r"field 'filename': expected an image, got 'via\.json'"),
    ],
)  # fmt: skip
def test_refused_files(tmp_path: Path, make_photographs: Make, one: Any, message: str) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "via.json", one, image("b.jpg", region(POLYGON, k="x")), project=True)
    with pytest.raises(DataError) as caught:
        opened(tmp_path, format="via").validate()
    assert re.search(message, str(caught.value)), caught.value
    assert "via.json" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("via.json", '{"project": {}, "metadata": {}, "filename": 1, "regions": 1, "file_attributes": 1}', "VIA 3"),
        ("via.json", '{"_via_img_metadata": 7}', "'_via_img_metadata': expected an object, got int"),
        ("via.json", '{"_via_img_metadata": {"a": 7}}', "expected an object with filename and regions, got int"),
        ("via.csv", 'filename,file_attributes,region_shape_attributes,region_attributes\na.jpg,{},"{",{}\n', "line 2"),
        ("none.txt", "", "expected a project or export of VIA"),
    ],
)  # fmt: skip
def test_refused_documents(
    tmp_path: Path, make_photographs: Make, name: str, text: str, message: str
) -> None:
    make_photographs(tmp_path, "a.jpg")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, format="via").validate()
