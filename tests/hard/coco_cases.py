"""COCO's instances JSON, field by field."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hard.case import Case, Facts
from tests.hard.datasets import coco, coco_tree, facts_of, picture, write

Tree = dict[str, Any]
SOUND = {"labels": {"a.png": ["cat"], "b.png": ["dog"]}}
DROPPED = {"labels": {"b.png": ["dog"]}}  # an image of crowds alone is left out
LONG = "x" * 240 + ".png"


def _read(change: Callable[[Path, Tree], Any], **settings: Any) -> Callable[[Path], Facts]:
    """`change` edits the train tree in place, or gives the file's text or bytes in its place."""

    def run(folder: Path) -> Facts:
        coco(folder)
        tree = coco_tree(1, [("a.png", 1), ("b.png", 7)])
        made = change(folder, tree)
        content = made if isinstance(made, str | bytes) else json.dumps(tree)
        write(folder / "annotations/instances_train.json", content)
        return facts_of("coco", folder, **settings)

    return run


def annotation(**fields: Any) -> Callable[[Path, Tree], None]:
    return lambda folder, tree: tree["annotations"][0].update(fields)


def without(key: str) -> Callable[[Path, Tree], Any]:
    return lambda folder, tree: tree["annotations"][0].pop(key) and None


def image(**fields: Any) -> Callable[[Path, Tree], None]:
    return lambda folder, tree: tree["images"][0].update(fields)


def category(**fields: Any) -> Callable[[Path, Tree], None]:
    return lambda folder, tree: tree["categories"][0].update(fields)


def text(old: str, new: str) -> Callable[[Path, Tree], str]:
    return lambda folder, tree: json.dumps(tree).replace(old, new, 1)


def named(name: str, on_disk: str | None = None) -> Callable[[Path, Tree], None]:
    def change(folder: Path, tree: Tree) -> None:
        tree["images"][0]["file_name"] = name
        picture(folder / "train" / (on_disk or name), 1)

    return change


def of_val(segmentation: Any) -> Callable[[Path, Tree], None]:
    def change(folder: Path, tree: Tree) -> None:
        path = folder / "annotations/instances_val.json"
        val = json.loads(path.read_text())
        val["annotations"][0]["segmentation"] = segmentation
        write(path, json.dumps(val))

    return change


def node(make: Callable[[Path], Any]) -> Callable[[Path, Tree], None]:
    """The image's place holds something else."""

    def change(folder: Path, tree: Tree) -> None:
        (folder / "train/a.png").unlink()
        make(folder / "train/a.png")

    return change


Expected = tuple[str, ...] | Facts | None


def without_name(folder: Path, tree: Tree) -> None:
    """As LVIS writes its images."""
    for one in tree["images"]:
        one["coco_url"] = f"http://images.cocodataset.org/train2017/{one.pop('file_name')}"


def boxes(*own: list[float]) -> Callable[[Path, Tree], None]:
    def change(folder: Path, tree: Tree) -> None:
        for one, box in zip(tree["annotations"], own, strict=True):
            one["bbox"] = box

    return change


FIELDS: dict[str, tuple[Callable[[Path, Tree], Any], Expected]] = {
    "sound": (lambda folder, tree: None, SOUND | {"val": 1, "masks": 1}),
    # crowds
    "crowd '0'": (annotation(iscrowd="0"), SOUND),
    "crowd 'false'": (annotation(iscrowd="false"), SOUND),
    "crowd false": (annotation(iscrowd=False), SOUND),
    "crowd null": (annotation(iscrowd=None), SOUND),
    "crowd 0.0": (annotation(iscrowd=0.0), SOUND),
    "crowd 1": (annotation(iscrowd=1), DROPPED),
    "crowd '1'": (annotation(iscrowd="1"), DROPPED),
    "crowd true": (annotation(iscrowd=True), DROPPED),
    "crowd -1": (annotation(iscrowd=-1), ("iscrowd", "-1")),
    "crowd 2": (annotation(iscrowd=2), ("iscrowd", "2")),
    "crowd text": (annotation(iscrowd="maybe"), ("iscrowd", "maybe")),
    "crowd list": (annotation(iscrowd=[]), ("iscrowd", "[]")),
    "no crowd": (without("iscrowd"), SOUND),
    # masks of train, which nothing of an image-level run reads
    "segmentation null": (annotation(segmentation=None), SOUND),
    "segmentation empty": (annotation(segmentation=[]), SOUND),
    "segmentation of empties": (annotation(segmentation=[[]]), SOUND),
    "no segmentation": (without("segmentation"), SOUND),
    **{
        f"val segmentation {seen!r}": (of_val(seen), SOUND | {"val": 1, "masks": 0})
        for seen in (
            [None],
            "",
            {"counts": "", "size": [8, 12]},
            {"counts": None},
            {"counts": [], "size": [0, 0]},
        )
    },
    "val segmentation of points": (of_val([[2, 3], [6, 3], [6, 6], [2, 6]]), SOUND | {"masks": 1}),
    "val polygons of points": (of_val([[[2, 3], [6, 3], [6, 6], [2, 6]]]), SOUND | {"masks": 1}),
    "val polygon of two points": (of_val([[2, 3, 6, 3]]), SOUND | {"masks": 0}),
    "val segmentation flat": (of_val([2, 3, 6, 3, 6, 6, 2, 6]), SOUND | {"masks": 1}),
    # keys that are there twice
    "category twice": (
        text('"category_id": 1', '"category_id": 1, "category_id": 7'),
        ("category_id", "twice"),
    ),
    "images twice": (text('{"images"', '{"images": [], "images"'), ("images", "twice")),
    "file name twice": (
        text('"file_name": "a.png"', '"file_name": "a.png", "file_name": "b.png"'),
        ("twice",),
    ),
    "category name twice": (text('"name": "cat"', '"name": "cat", "name": "dog"'), ("name", "twice")),
    # numbers
    "category 1.0": (annotation(category_id=1.0), SOUND),
    "category 8.7": (annotation(category_id=8.7), ("category_id", "8.7")),
    "category true": (annotation(category_id=True), ("category_id",)),
    "category null": (annotation(category_id=None), ("category_id",)),
    "category unknown": (annotation(category_id=99), ("category_id", "99")),
    "category NaN": (text('"category_id": 1', '"category_id": NaN'), ("category_id",)),
    "category of a list": (annotation(category_id=[1]), ("category_id",)),
    "category of an object": (annotation(category_id={}), ("category_id",)),
    "image unknown": (annotation(image_id=99), ("image_id", "99")),
    "image null": (annotation(image_id=None), ("image_id",)),
    "image of a list": (annotation(image_id=[]), ("image_id",)),
    "width 12.0": (image(width=12.0), SOUND),
    "width '12'": (image(width="12"), None),
    "width 12.5": (image(width=12.5), ("12.5",)),
    "width 0": (image(width=0), ("image 1", "at least 1")),
    "width -1": (image(width=-1), ("image 1", "at least 1")),
    "width wrong": (image(width=13), ("image 1", "13 x 8")),
    "width huge": (image(width=10**30), ("image 1", "width")),
    "width infinite": (text('"width": 12', '"width": Infinity'), ("image 1", "finite")),
    "digits": (text('"width": 12', '"width": ' + "9" * 6000), None),
    # boxes
    "box absent": (without("bbox"), SOUND),
    "box null": (annotation(bbox=None), SOUND),
    "box flat": (annotation(bbox=[2, 3, 4, 0]), SOUND),
    "box outside": (annotation(bbox=[2, 3, 400, 3]), SOUND),
    "box of text": (annotation(bbox=["a", 3, 4, 3]), None),
    "box of three": (annotation(bbox=[2, 3, 4]), None),
    "box NaN": (text("[2, 3, 4, 3]", "[NaN, 3, 4, 3]"), None),
    "box huge": (annotation(bbox=[1e308, 3, 1e308, 3]), None),
    # categories
    "name empty": (category(name=""), ("name",)),
    "name null": (category(name=None), ("name",)),
    "name number": (category(name=3), ("name",)),
    "name twice": (category(name="dog"), ("dog",)),
    "name with space around": (category(name=" cat "), SOUND),
    "id twice": (category(id=7), ("7",)),
    "root category": (
        lambda folder, tree: tree["categories"].insert(
            0, {"id": 0, "name": "animals", "supercategory": "none"}
        ),
        SOUND,
    ),
    "name of controls": (category(name="\x1b[31mcat"), None),
    "name of surrogates": (category(name="\ud800"), None),
    "name of a megabyte": (category(name="c" * (1 << 20)), None),
    # names of files
    "long name": (named(LONG), {"labels": {LONG: ["cat"], "b.png": ["dog"]}}),
    "longer than a file system": (image(file_name="x" * 300 + ".png"), ("x" * 30,)),
    "NFC of NFD": (named("e\u0301.png", "é.png"), {"labels": {"é.png": ["cat"], "b.png": ["dog"]}}),
    "NFD of NFC": (named("é.png", "e\u0301.png"), {"labels": {"e\u0301.png": ["cat"], "b.png": ["dog"]}}),
    "backslash": (named("sub\\a.png", "sub/a.png"), SOUND),
    "surrogate": (image(file_name="\ud800.png"), ("\\ud800",)),
    "NUL": (image(file_name="a\0.png"), ("file_name",)),
    "control": (named("\x1b[31m.png"), None),
    "line feed": (named("a\nb.png"), None),
    "empty name": (image(file_name=""), ("file_name",)),
    "name is null": (image(file_name=None), ("file_name",)),
    "name of a number": (image(file_name=5), ("file_name",)),
    "leaves": (image(file_name="../val/d.png"), ("..",)),
    "absolute": (image(file_name="/etc/passwd"), ("/etc/passwd",)),
    "drive of another system": (image(file_name="C:\\a.png"), SOUND),
    "LVIS": (without_name, SOUND),
    "LVIS's URL is a number": (image(file_name=None, coco_url=5), ("file_name",)),
    "twice": (image(file_name="b.png"), ("b.png",)),
    "missing": (image(file_name="none.png"), ("none.png",)),
    "folder": (node(Path.mkdir), ("a.png",)),
    "pipe": (node(os.mkfifo), ("a.png",)),
    "device": (node(lambda path: path.symlink_to("/dev/zero")), ("image 1", "/dev/zero")),
    "dangling link": (node(lambda path: path.symlink_to("nowhere.png")), ("image a", "missing")),
    "link loop": (node(lambda path: path.symlink_to("a.png")), ("a.png",)),
    "link of the user": (node(lambda path: path.symlink_to(path.with_name("b.png").resolve())), None),
    "empty file": (node(Path.touch), ("a.png", "empty")),
    # the file as a whole
    "list": (lambda folder, tree: "[]", ("instances_train.json",)),
    "null": (lambda folder, tree: "null", ("instances_train.json",)),
    "nothing": (lambda folder, tree: b"", ("empty",)),
    "no images": (lambda folder, tree: tree.update(images=[]), ("images",)),
    "no annotations": (lambda folder, tree: tree.update(annotations=None), None),
    "annotations of text": (lambda folder, tree: tree.update(annotations="x"), ("annotations",)),
    "annotation of text": (lambda folder, tree: tree["annotations"].append("x"), ("annotations",)),
    "no categories": (lambda folder, tree: tree.pop("categories") and None, ("categories",)),
    "BOM": (lambda folder, tree: b"\xef\xbb\xbf" + json.dumps(tree).encode(), SOUND),
    "UTF-16": (lambda folder, tree: json.dumps(tree).encode("utf-16"), ("UTF-8", "UTF-16")),
    "gzip": (lambda folder, tree: gzip.compress(json.dumps(tree).encode()), ("gzip", "unpack")),
    "git-lfs": (lambda folder, tree: "version https://git-lfs.github.com/spec/v1\n", ("git lfs pull",)),
    "latin-1": (lambda folder, tree: json.dumps(tree).replace("cat", "chaté").encode("latin-1"), None),
    "deep": (lambda folder, tree: "[" * 200_000, ("instances_train.json",)),
    "deep in a field": (
        text('"iscrowd": 0', '"iscrowd": ' + "[" * 100_000 + "]" * 100_000),
        ("instances_train.json",),
    ),
    "comma": (lambda folder, tree: json.dumps(tree)[:-1] + ",}", ("instances_train.json", "line 1")),
    "id as text": (image(id="1"), None),
    "image id twice": (image(id=2), ("2",)),
    "annotation id twice": (annotation(id=2), None),
    "image id null": (image(id=None), ("id",)),
    "image id of a list": (image(id=[]), ("id",)),
}
BOXES: dict[str, tuple[Callable[[Path, Tree], Any], Expected]] = {
    "sound": (lambda folder, tree: None, {"boxes": 2}),
    "flat": (annotation(bbox=[2, 3, 4, 0]), {"boxes": 1}),
    "shares": (boxes([0.2, 0.3, 0.4, 0.3], [0, 0, 0.9, 1]), ("train", "pixels", "shares", "2 boxes")),
    "one is small": (boxes([0.2, 0.3, 0.4, 0.3], [2, 3, 4, 3]), {"boxes": 2}),
    "corners": (boxes([6, 4, 11, 7], [5, 2, 12, 8]), ("corners", "[6, 4, 11, 7]", "width and height")),
    "one is outside": (boxes([6, 4, 11, 7], [2, 3, 4, 3]), {"boxes": 2}),
    "outside": (annotation(bbox=[10, 3, 40, 3]), {"boxes": 2}),
    "far outside": (annotation(bbox=[100, 3, 40, 3]), {"boxes": 1}),
    "absent": (without("bbox"), ("bbox",)),
    "of text": (annotation(bbox=["a", 3, 4, 3]), ("bbox",)),
    "NaN": (text("[2, 3, 4, 3]", "[NaN, 3, 4, 3]"), {"boxes": 1}),
    "negative": (annotation(bbox=[8, 6, -4, -3]), {"boxes": 1}),
}


def _case(name: str, run: Callable[[Path], Facts], expected: Expected) -> Case:
    words = expected if isinstance(expected, tuple) else ()
    return Case(name, run, words=words, facts=expected if isinstance(expected, dict) else {})


CASES = [
    *(_case(f"coco/{name}", _read(change), expected) for name, (change, expected) in FIELDS.items()),
    *(
        _case(f"coco boxes/{name}", _read(change, supervision="box"), expected)
        for name, (change, expected) in BOXES.items()
    ),
    _case(
        "coco boxes/strict", _read(annotation(bbox=[10, 3, 40, 3]), supervision="box", strict=True), ("bbox",)
    ),
]
