"""Masks that a person gives, in each format: found by what lies there, images found by name, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import DataError
from tests.readers.conftest import encode
from wsis.method.masks import rle
from wsis.readers.formats.label_studio_brush import encode_brush
from wsis.readers.given_masks import GivenFiles, digest, read_given
from wsis.readers.mask_targets import Target

SIZE = (8, 12)
CLASSES = ("cat", "dog")
TARGETS = [Target(name, f"{name}.png", SIZE) for name in ("a", "deep/b", "deep/c")]
SQUARE = np.zeros(SIZE, bool)
SQUARE[2:6, 3:9] = True
CORNERS = [[3, 2], [9, 2], [9, 6], [3, 6]]


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def shape(name: str = "cat", **fields: Any) -> dict[str, Any]:
    return {"label": name, "points": CORNERS, "shape_type": "polygon", "group_id": None, **fields}


def labelme(root: Path, name: str, *shapes: dict[str, Any], image: str | None = None) -> None:
    tree = {"imageHeight": 8, "imageWidth": 12, "imagePath": image or f"{Path(name).name}.png"}
    write(root / f"{name}.json", {**tree, "shapes": list(shapes)})


def task(image: str, *names: str, key: str = "annotations") -> dict[str, Any]:
    sides = {"original_height": 8, "original_width": 12}
    strokes = [
        {
            "id": str(i),
            "type": "brushlabels",
            **sides,
            "value": {"rle": encode_brush(SQUARE), "brushlabels": [name]},
        }
        for i, name in enumerate(names)
    ]
    return {"data": {"image": image}, key: [{"result": strokes}]}


def yolo(root: Path, names: str = "names: [cat, dog]", **texts: str) -> None:
    write(root / "data.yaml", names)
    for name, text in texts.items():
        write(root / "labels" / f"{name.replace('__', '/')}.txt", text)


def polygon(number: int) -> str:
    shares = [f"{x / 12:.6f} {y / 8:.6f}" for x, y in CORNERS]
    return f"{number} {' '.join(shares)}\n"


def read(*paths: Path) -> GivenFiles:
    return read_given(paths, TARGETS, CLASSES)


def names_of(found: GivenFiles) -> dict[str, list[str]]:
    """Image -> the classes of its instances, all of which are the square."""
    for one in found.masks.values():
        np.testing.assert_array_equal(one.dense(), np.repeat(SQUARE[None], len(one), axis=0))
    return {i: [CLASSES[n - 1] for n in one.labels] for i, one in found.masks.items()}


# -- where images are found ---------------------------------------------------------------------------------
def test_labelme_beside_no_image(tmp_path: Path) -> None:
    labelme(tmp_path, "a", shape("dog"))
    labelme(tmp_path, "deep/b", shape(), shape("dog"))
    labelme(tmp_path, "deep/c")  # looked at, and empty
    found = read(tmp_path)
    assert names_of(found) == {"a": ["dog"], "deep/b": ["cat", "dog"], "deep/c": []} and not found.unknown
    assert names_of(read(tmp_path / "deep" / "b.json")) == {"deep/b": ["cat", "dog"]}


@pytest.mark.parametrize("written", ["../deep/b.png", "C:\\photos\\deep\\b.png", "/data/deep/b.png"])
def test_labelme_files_that_lie_elsewhere(tmp_path: Path, written: str) -> None:
    labelme(tmp_path, "mended/today/x", shape(), image=written)
    assert names_of(read(tmp_path)) == {"deep/b": ["cat"]}


@pytest.mark.parametrize(
    "written",
    [
        "/data/local-files/?d=deep/b.png",
        "/data/upload/1/0a1b2c3d-b.png",
        "s3://bucket/deep/b.png",
        "https://example.org/photos/B.png",
    ],
)
def test_label_studio_by_what_it_calls_an_image(tmp_path: Path, written: str) -> None:
    path = write(tmp_path / "export.json", [task(written, "dog"), task("a.png")])
    assert names_of(read(path)) == names_of(read(tmp_path)) == {"deep/b": ["dog"], "a": []}


def test_yolo_without_images(tmp_path: Path) -> None:
    yolo(tmp_path, a="", deep__b=polygon(1) + polygon(0), elsewhere="")
    found = read(tmp_path)
    assert names_of(found) == {"a": [], "deep/b": ["dog", "cat"]} and list(found.unknown) == ["elsewhere"]
    assert names_of(read(tmp_path / "data.yaml")) == names_of(found)


def test_yolo_as_other_tools_lay_it_out(tmp_path: Path) -> None:
    write(tmp_path / "obj.names", "cat\ndog\n")
    write(tmp_path / "obj_train_data" / "b.txt", polygon(1))
    assert names_of(read(tmp_path)) == {"deep/b": ["dog"]}


def test_via_and_its_empty_images(tmp_path: Path) -> None:
    outline = {"name": "polygon", "all_points_x": [3, 9, 9, 3], "all_points_y": [2, 2, 6, 6]}
    regions = [{"shape_attributes": outline, "region_attributes": {"class": "dog"}}]
    tree = {
        "1": {"filename": "b.png", "size": 9, "regions": regions, "file_attributes": {}},
        "2": {"filename": "a.png", "size": 9, "regions": [], "file_attributes": {}},
    }
    path = write(tmp_path / "via_region_data.json", tree)
    assert names_of(read(path)) == names_of(read(tmp_path)) == {"deep/b": ["dog"], "a": []}


def test_instance_images_beside_their_photographs(tmp_path: Path) -> None:
    for name, mask in (("a", SQUARE * 7), ("c", SQUARE * 0)):
        write(tmp_path / "images" / f"{name}.png", encode(np.zeros((*SIZE, 3), np.uint8)))
        write(tmp_path / "masks" / f"{name}.png", encode(mask.astype(np.uint8)))
    write(tmp_path / "instances.csv", "image,instance,class\na.png,7,dog\n")
    assert names_of(read(tmp_path)) == {"a": ["dog"], "deep/c": []}


def test_a_folder_with_coco(tmp_path: Path) -> None:
    counts = {"size": list(SIZE), "counts": rle.encode(SQUARE).decode()}
    tree = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "c.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "segmentation": counts, "bbox": [0, 0, 1, 1]}
        ],
        "categories": [{"id": 5, "name": "dog"}],
    }
    path = write(tmp_path / "annotations" / "instances_default.json", tree)
    assert names_of(read(path)) == names_of(read(tmp_path)) == {"a": ["dog"], "deep/c": []}


def test_the_later_file_counts_whatever_its_format(tmp_path: Path) -> None:
    labelme(tmp_path / "labelme", "a", shape("dog"))
    labelme(tmp_path / "labelme", "deep/b", shape("dog"))
    yolo(tmp_path / "yolo", a=polygon(0))
    assert names_of(read(tmp_path / "labelme", tmp_path / "yolo")) == {"a": ["cat"], "deep/b": ["dog"]}
    assert names_of(read(tmp_path / "yolo", tmp_path / "labelme")) == {"a": ["dog"], "deep/b": ["dog"]}


# -- what is refused ----------------------------------------------------------------------------------------
def nothing(root: Path) -> None:
    write(root / "a.jpg", b"no photograph")


def broken(root: Path) -> None:
    write(root / "a.json", b'{"shapes": [')


def no_names(root: Path) -> None:
    write(root / "labels" / "a.txt", polygon(0))


def two_kinds(root: Path) -> None:
    labelme(root, "a", shape())
    yolo(root, a=polygon(0))


def unsubmitted(root: Path) -> None:
    write(root / "tasks.json", [task("a.png", "cat", key="predictions")])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (nothing, r"expected COCO instances, labelme, .* got another file, a.jpg$"),
        (lambda root: root.mkdir(exist_ok=True), "expected COCO instances, .* got an empty folder$"),
        (broken, r"masks/, got a JSON file that cannot be read: .*a\.json: malformed JSON: .* at line 1, column 13$"),
        (no_names, "got 1 text file and no data.yaml, .* names YOLO's classes, beside labels/a.txt"),
        (two_kinds, r"expected masks of one kind, got yolo \(data.yaml\), labelme \(a.json\); name the file"),
        (unsubmitted, r"expected images with masks, got none \(1 tasks without annotation .*predictions"),
        (lambda root: yolo(root), "expected text files of labels beside it, labels/a.txt for a.jpg, got none"),
        (lambda root: yolo(root, a=polygon(7)), r"line 1: field 1: expected a class of \[0, 1\], got 7"),
        (lambda root: yolo(root, a="0 .5 .5 .2 .2"), "line 1: expected a mask of cat, got a box or a label"),
        (lambda root: yolo(root, "names: [cats]", a=polygon(0)), r"unknown class 'cats'; .* did you mean 'cat'\?"),
        (lambda root: labelme(root, "a", shape("dragon")), "unknown class 'dragon'; expected one of cat, dog$"),
        (lambda root: labelme(root, "z", shape()), "expected training images that show a class, got another: z"),
        (
            lambda root: write(root / "a.json", {"shapes": [], "imagePath": "a.png", **wrong_size()}),
            r"a.json: expected height and width \(8, 12\) of the image, got \(9, 9\)",
        ),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError) as refused:
        read(tmp_path)
    assert re.search(said, str(refused.value)), refused.value
    assert str(tmp_path) in str(refused.value) and str(refused.value).startswith("data.masks: ")


def wrong_size() -> dict[str, int]:
    return {"imageHeight": 9, "imageWidth": 9}


def test_names_that_fit_several_images(tmp_path: Path) -> None:
    targets = [Target(name, f"{name}.png", SIZE) for name in ("x/a", "y/a")]
    labelme(tmp_path / "labelme", "a", shape())
    yolo(tmp_path / "yolo", a=polygon(0))
    for root in (tmp_path / "labelme", tmp_path / "yolo"):
        with pytest.raises(DataError, match=r"expected one image that fits 'a.*', got 2: 'x/a.png, y/a.png'"):
            read_given([root], targets, CLASSES)


def test_files_that_hold_no_masks(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data.masks: .*x.zip: expected a file or folder of .* none; unpack it"
    ):
        read(write(tmp_path / "x.zip", b"PK"))
    with pytest.raises(DataError, match=r"the file .*none.json is missing"):
        read(tmp_path / "none.json")


# -- what the masks are a function of -------------------------------------------------------------------------
def test_the_digest_follows_what_is_read(tmp_path: Path) -> None:
    yolo(tmp_path, a=polygon(0), deep__b="")
    first = digest([tmp_path])
    write(tmp_path / "images" / "a.png", b"pixels")
    assert digest([tmp_path]) == first
    write(tmp_path / "labels" / "deep" / "b.txt", polygon(1))
    assert digest([tmp_path]) != first
    single = write(tmp_path / "one" / "a.json", {"shapes": [], "imagePath": "a.png"})
    before = digest([single])
    assert digest([single.rename(single.with_name("b.json"))]) == before


def test_masks_without_a_pixel_are_told_with_their_number(tmp_path: Path) -> None:
    labelme(tmp_path, "a", shape(), shape(points=[[3, 2]]), shape("dog", points=[[3, 2], [9, 6]]))
    found = read(tmp_path)
    assert names_of(found) == {"a": ["cat"]}
    assert found.notes == [f"{tmp_path}: left out: 2 masks without a pixel"]
