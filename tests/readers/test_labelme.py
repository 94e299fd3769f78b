"""labelme's files: places, shapes, groups, flags, and what is refused."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import DataError
from tests.hard.drawn_datasets import POINTS, labelme_tree
from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source
from wsis.readers.inventory import take_inventory

Make = Callable[..., Path]
WRITTEN = Path(__file__).parent / "written_by"
SQUARE = np.zeros((8, 12), bool)
SQUARE[3:6, 2:6] = True  # POINTS


def opened(root: Path, **values: Any) -> Any:
    return open_source(DataConfig.model_validate({"root": root, **values}))


def write(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree))


def tree_of(image: str, *shapes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The JSON of an image of 12 x 8; shapes are polygons of cats unless they say more."""
    whole = labelme_tree("x", "cat")
    some = [{**whole["shapes"][0], **shape} for shape in shapes]
    return {**whole, "shapes": some, "imagePath": image, **fields}


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def masks_of(source: Any, image_id: str) -> list[np.ndarray]:
    return [rle.decode(one, (8, 12)) for one in source.truth_of(image_id).masks]


def test_polygons_that_cover_no_pixel_are_counted(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.png", "b.png")
    points = ([[2, 3]], [[2, 3], [6, 6]], POINTS)
    write(tmp_path / "a.json", tree_of("a.png", *({"points": some} for some in points)))
    write(tmp_path / "b.json", tree_of("b.png", {"label": "dog"}))
    source = opened(tmp_path, val_share=0.5)
    assert source.truth_of("a").empty == 2 and len(masks_of(source, "a")) == 1
    assert take_inventory(source).empty == 2


@pytest.mark.parametrize(
    ("image", "label", "written"),
    [
        ("{}/{}.jpg", "{}/{}.json", "{1}.jpg"),
        ("images/{}/{}.jpg", "labels/{}/{}.json", "../../images/{0}/{1}.jpg"),
        ("images/{}/{}.jpg", "labels/{}/{}.json", "..\\..\\images\\{0}\\{1}.jpg"),
        ("images/{}/{}.jpg", "labels/{}/{}.json", "C:\\Users\\me\\{1}.JPG"),
    ],
)
def test_places(tmp_path: Path, make_photographs: Make, image: str, label: str, written: str) -> None:
    for split, name, cls in (("train", "a", "cat"), ("train", "b", "dog"), ("val", "d", "dog")):
        make_photographs(tmp_path, image.format(split, name))
        write(tmp_path / label.format(split, name), tree_of(written.format(split, name), {"label": cls}))
    source = opened(tmp_path)
    assert [note for note in source.notes() if "data.format=labelme" in note]
    assert source.classes == ("cat", "dog")
    assert (source.image_ids("train"), source.image_ids("val")) == (("a", "b"), ("d",))
    np.testing.assert_allclose(source.image("a").boxes, [[2, 3, 6, 6]])
    assert source.truth_ids("val") == ("d",)
    np.testing.assert_array_equal(masks_of(source, "d"), [SQUARE])
    source.validate()


def test_shapes(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg", "bare.jpg")
    bitmap = np.array([[1, 0, 1], [1, 1, 1]], bool)
    shapes = [
        {"shape_type": "mask", "points": [[4, 1], [6, 2]], "mask": png(bitmap)},
        {"shape_type": "circle", "points": [[6, 4], [6, 2]], "label": "dog"},
        {"shape_type": "polygon", "label": "__ignore__", "points": [[0, 0], [2, 0], [2, 2], [0, 2]]},
        {"label": "_background_"},
    ]
    write(tmp_path / "a.json", tree_of("a.jpg", *shapes))
    boxed = [
        {"shape_type": "rectangle", "points": [[6, 6], [2, 3]]},
        {"shape_type": "point", "points": [[5, 5]], "label": "dog"},
    ]
    write(tmp_path / "b.json", tree_of("b.jpg", *boxed))
    write(tmp_path / "c.json", tree_of("c.jpg"))
    source = opened(tmp_path)
    first, second = source.image("a"), source.image("b")
    assert first.labels.tolist() == second.labels.tolist() == [1, 2]
    np.testing.assert_allclose(first.boxes, [[4, 1, 7, 3], [4, 2, 8, 6]], atol=1e-6)
    np.testing.assert_allclose(second.boxes, [[2, 3, 6, 6]])
    assert source.image("c").labels.tolist() == []  # a negative
    assert "left out: 1 image without annotation: bare.jpg" in source.notes()
    assert source.truth_ids("train") == ("a", "c")
    mask, circle = masks_of(source, "a")
    np.testing.assert_array_equal(mask[1:3, 4:7], bitmap)
    assert mask.sum() == 5 and abs(circle.sum() - np.pi * 4) < 1.5
    void = rle.decode(source.truth_of("a").void, (8, 12))
    assert void[:2, :2].all() and void.sum() == 4
    with pytest.raises(DataError, match=r"b\.json: shapes\[1\]: expected a box because"):
        opened(tmp_path, supervision="box").image("b")


def test_shapes_of_x_anylabeling(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    corners = [[4, 1], [7, 4], [4, 7], [1, 4]]
    shapes = [{"shape_type": kind, "points": corners} for kind in ("rotation", "quadrilateral")]
    write(tmp_path / "a.json", tree_of("a.jpg", *shapes))
    np.testing.assert_allclose(opened(tmp_path).image("a").boxes, [[1, 1, 7, 7]] * 2)


def test_parts_of_one_object(tmp_path: Path, make_photographs: Make) -> None:
    """A `group_id` joins shapes of one label; of two labels it does not."""
    make_photographs(tmp_path, "a.jpg")
    far = [[8, 0], [10, 0], [10, 2], [8, 2]]
    shapes = [{"group_id": 3}, {"group_id": 3, "points": far}, {"group_id": 3, "label": "dog"}, {}]
    write(tmp_path / "a.json", tree_of("a.jpg", *shapes))
    source = opened(tmp_path, supervision="box")
    image = source.image("a")
    assert image.box_labels.tolist() == [1, 2, 1]
    np.testing.assert_allclose(image.boxes, [[2, 0, 10, 6], [2, 3, 6, 6], [2, 3, 6, 6]])
    whole = SQUARE.copy()
    whole[0:2, 8:10] = True
    np.testing.assert_array_equal(masks_of(source, "a"), [whole, SQUARE, SQUARE])


def test_flags_are_labels_where_nothing_is_drawn(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    write(tmp_path / "a.json", tree_of("a.jpg", flags={"cat": True, "dog": False}))
    write(tmp_path / "b.json", tree_of("b.jpg", flags={"cat": True, "dog": True}))
    write(tmp_path / "c.json", tree_of("c.jpg", flags={"cat": False, "dog": False}))
    source = opened(tmp_path)
    assert [source.image(i).labels.tolist() for i in "abc"] == [[1], [1, 2], []]
    assert source.truth_ids("train") == ()
    write(tmp_path / "c.json", tree_of("c.jpg", {"label": "owl"}))
    assert opened(tmp_path).classes == ("owl",)


def test_parts_by_share_and_lists(tmp_path: Path, make_photographs: Make) -> None:
    for name in "abcd":
        make_photographs(tmp_path, f"{name}.jpg")
        write(tmp_path / f"{name}.json", tree_of(f"{name}.jpg", {"label": "cat" if name in "ab" else "dog"}))
    source = opened(tmp_path, val_share=0.5)
    assert len(source.image_ids("val")) == 2 and source.truth_ids("val") == source.image_ids("val")
    (tmp_path / "mine.txt").write_text("a\nc\n")
    assert opened(tmp_path, val_list="mine.txt").image_ids("train") == ("b", "d")


def test_masks_belong_to_the_digest_of_truth_alone(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    write(tmp_path / "a.json", tree_of("a.jpg", {}))
    before = opened(tmp_path).digest(), opened(tmp_path).truth_digest()
    turned = {"points": [*POINTS, [2, 5]]}  # the same box
    write(tmp_path / "a.json", tree_of("a.jpg", turned))
    after = opened(tmp_path).digest(), opened(tmp_path).truth_digest()
    assert before[0] == after[0] and before[1] != after[1]


def test_a_box_outside_is_clipped_or_refused(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    shape = {"points": [[9, 3], [20, 3], [20, 6], [9, 6]]}
    write(tmp_path / "a.json", tree_of("a.jpg", shape))
    source = opened(tmp_path, supervision="box")
    np.testing.assert_allclose(source.image("a").boxes, [[9, 3, 12, 6]])
    assert len(source.box_changes("train").clipped) == 1
    assert masks_of(source, "a")[0].sum() == 9
    with pytest.raises(DataError, match=r"a\.json: shapes\[0\]: expected a box inside the image"):
        opened(tmp_path, supervision="box", strict=True).validate()


FAR = [[1e300, 3], [6, 3], [6, 6]]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (tree_of("a.jpg", {"points": [[float("nan"), 3], [6, 3], [6, 6]]}), "expected a finite number, got nan"),
        (tree_of("a.jpg", {"points": [["x", 3]]}), "field 'points': expected a number, got 'x'"),
        (tree_of("a.jpg", {"points": [[1, 2, 3]]}), r"expected a list of \[x, y\], got \[1, 2, 3\] in it"),
        (tree_of("a.jpg", {"points": None}), r"expected a list of \[x, y\], got None"),
        (tree_of("a.jpg", {"label": ""}), r"shapes\[0\]: field 'label': expected text, got ''"),
        (tree_of("a.jpg", {"label": "a\x1bb"}), "expected text without control characters"),
        (tree_of("a.jpg", {"shape_type": "heart"}), "'shape_type': expected one of polygon, .* got 'heart'"),
        (tree_of("a.jpg", {"shape_type": ["x"]}), r"'shape_type': expected one of .* got \['x'\]"),
        (tree_of("a.jpg", {"shape_type": "circle"}), "expected 2 points of a circle, got 4"),
        ({**tree_of("a.jpg"), "shapes": ["x"]}, r"expected an object, got str"),
        ({**tree_of("a.jpg"), "shapes": 7}, "field 'shapes': expected a list of objects, got int"),
        (tree_of("a.jpg", flags=["x"]), "field 'flags': expected an object, got list"),
        (tree_of("a.jpg", imageHeight=-3), "expected imageHeight and imageWidth of at least 1, got -3, 12"),
        (tree_of("a.jpg", imageHeight="x"), "imageHeight and imageWidth: expected a number, got 'x'"),
        (tree_of("a.jpg", imageHeight=80), r"expected the image's width x height, 12 x 8, got 12 x 80"),
        (tree_of("z.jpg"), r"the file .*z\.jpg is missing"),
        (tree_of("../z.jpg"), r"expected a relative path that stays inside the data root"),
        (tree_of("/etc/passwd"), r"expected a relative path that stays inside the data root"),
        (tree_of("b.json"), r"field 'imagePath': expected an image, got 'b\.json'"),
        (tree_of(7), "field 'imagePath': expected text, got 7"),
        ('{"shapes": [], "imagePath": "a.jpg"', r"a\.json: malformed JSON"),
    ],
)  # fmt: skip
def test_refused_files(tmp_path: Path, make_photographs: Make, tree: Any, message: str) -> None:
    make_photographs(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "a.json", tree)
    write(tmp_path / "b.json", tree_of("b.jpg", {}))
    with pytest.raises(DataError) as caught:
        opened(tmp_path, format="labelme").validate()
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"points": FAR}, "expected points near the image of 12 x 8"),
        ({"shape_type": "mask", "points": [[4, 1], [6, 2]], "mask": "?"}, "expected a PNG in base64"),
        (
            {"shape_type": "mask", "points": [[11, 1], [13, 2]], "mask": png(np.ones((2, 3), bool))},
            "expected a mask inside the image of 12 x 8, got 3 x 2 at 11, 1",
        ),
    ],
)
def test_refused_masks(tmp_path: Path, make_photographs: Make, shape: Any, message: str) -> None:
    make_photographs(tmp_path, "a.jpg")
    write(tmp_path / "a.json", tree_of("a.jpg", shape))
    source = opened(tmp_path)
    with pytest.raises(DataError, match=rf"a\.json: shapes\[0\].*{message}"):
        source.truth_of("a")


def test_one_image_twice_and_other_files(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    write(tmp_path / "a.json", tree_of("a.jpg", {}))
    write(tmp_path / "notes.json", {"author": "me"})
    source = opened(tmp_path)
    assert source.image_ids("train") == ("a",)
    assert any("left out: notes.json" in note for note in source.notes())
    write(tmp_path / "b.json", tree_of("a.jpg", {}))
    with pytest.raises(DataError, match=r"b\.json: duplicate image 'a\.jpg'; .*a\.json annotates it already"):
        opened(tmp_path).validate()
    for file in tmp_path.glob("?.json"):
        file.unlink()
    with pytest.raises(DataError, match="expected labelme's JSON files, one a photograph, got 1 other"):
        opened(tmp_path, format="labelme").validate()


def test_images_of_no_split_are_left_out_and_said(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "train/a.jpg", "val/b.jpg", "more/c.jpg")
    for folder, name in (("train", "a"), ("val", "b"), ("more", "c")):
        write(tmp_path / folder / f"{name}.json", tree_of(f"{name}.jpg", {}))
    source = opened(tmp_path)
    assert (source.image_ids("train"), source.image_ids("val")) == (("a",), ("b",))
    assert "left out: 1 image of no split: more/c.jpg" in source.notes()


def test_what_is_no_file_of_labelme_is_left_out(tmp_path: Path, make_photographs: Make) -> None:
    make_photographs(tmp_path, "a.jpg")
    write(tmp_path / "a.json", tree_of("a.jpg", {}))
    write(tmp_path / "classes.json", ["cat"])
    write(tmp_path / "__MACOSX/a.json", "\0\5")
    source = opened(tmp_path)
    assert source.image_ids("train") == ("a",)
    assert "left out: classes.json, which is none of labelme's files" in source.notes()


def test_a_picture_that_the_json_alone_holds(tmp_path: Path) -> None:
    write(tmp_path / "a.json", tree_of("a.jpg", {}, imageData="eA=="))
    with pytest.raises(DataError, match=r"a\.jpg is missing; the JSON holds the picture \(imageData\)"):
        opened(tmp_path).validate()
