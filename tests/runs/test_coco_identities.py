"""Ids of COCO results: what is found by which name, and what is refused in one line."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import DataError
from data_contracts.store import Artefact, Store
from stages.data import dataset, photographs
from tests.runs.other_data import write_coco
from tests.runs.own_photographs import encoded, scene
from wsis.apps.coco_identities import Image, by_file_name, identities, of_coco_file
from wsis.engine.stage import execute
from wsis.readers.config import DataConfig

CLASSES = ("cup", "fish")
CATEGORIES = [{"id": 9, "name": "fish"}, {"id": "c", "name": "cup"}, {"id": 1, "name": "unused"}]


def photograph(file_name: str) -> Image:
    return Image(file_name.rpartition(".")[0], file_name, (30, 40))


def written(folder: Path, images: list[dict[str, Any]], **more: Any) -> Path:
    path = folder / "truth.json"
    path.write_text(json.dumps({"images": images, "categories": CATEGORIES, **more}))
    return path


def entry(id_: Any, file_name: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "file_name": file_name, **more}


@pytest.mark.parametrize(
    ("names", "entries", "expected"),
    [
        (
            ["a.jpg", "b.jpg"],
            [entry(7, "b.jpg"), entry(3, "a.jpg")],
            [3, 7],
        ),  # numbered otherwise than sorted
        (["a.jpg"], [entry("x/1", "a.jpg"), entry(2.0, "other.jpg")], ["x/1"]),  # text is kept
        (["a.jpg"], [entry(2.0, "a.jpg", width=40.0, height=30)], [2]),  # whole floats
        (["a.jpg"], [entry(5, "images\\val\\a.jpg")], [5]),  # another system's slashes
        (["val/a.jpg"], [entry(5, "a.jpg")], [5]),
        (["val/a.jpg", "train/a.jpg"], [entry(1, "train/a.jpg"), entry(2, "val/a.jpg")], [2, 1]),
        (["a.jpg"], [entry(1, "train/a.jpg"), entry(2, "a.jpg")], [2]),  # the whole path before its end
        (["mine/a.jpg"], [entry(4, "theirs/a.jpg")], [4]),  # the last part alone, where it is the only one
        ([unicodedata.normalize("NFD", "é.jpg")], [entry(4, unicodedata.normalize("NFC", "é.jpg"))], [4]),
    ],
)
def test_images_are_found_by_name(tmp_path: Path, names, entries, expected) -> None:
    images = [photograph(name) for name in names]
    found = of_coco_file(written(tmp_path, entries), images, CLASSES)
    assert [found.images[one.key] for one in images] == expected
    assert found.categories == ["c", 9] and str(tmp_path) in found.said


@pytest.mark.parametrize(
    ("names", "entries", "more", "message"),
    [
        (["a.jpg", "b.jpg"], [entry(1, "a.jpg")], {}, "each of the 2 photographs, got none of 1: b.jpg"),
        (["a.jpg"], [entry(1, "x/a.jpg"), entry(2, "y/a.jpg")], {}, "a.jpg: expected one image entry, got 2: x/a"),
        (["x/a.jpg", "y/a.jpg"], [entry(1, "a.jpg")], {}, "an entry of its own .* got one for x/a.jpg, y/a.jpg"),
        (["a.jpg"], [entry(1, "a.jpg"), entry(1, "b.jpg")], {}, r"images\[1\]: duplicate id 1"),
        (["a.jpg"], [entry(1, "a.jpg"), entry(1.0, "b.jpg")], {}, r"images\[1\]: duplicate id 1"),
        (["a.jpg"], [entry(True, "a.jpg")], {}, r"images\[0\]: field 'id': expected a whole number or text, got True"),
        (["a.jpg"], [entry(1, "a.jpg", width=30, height=40)], {}, "width x height, 40 x 30 .* got 30 x 40"),
        (["a.jpg"], [entry(1, "")], {}, r"images\[0\]: field 'file_name': expected text, got ''"),
        (["a.jpg"], [entry(1, "a.jpg")], {"categories": []}, "'categories': expected a list of objects"),
        (["a.jpg"], [entry(1, "a.jpg")], {"categories": [{"id": 1, "name": "cup"}]}, "got none of fish; it has cup"),
        (
            ["a.jpg"],
            [entry(1, "a.jpg")],
            {"categories": [*CATEGORIES, {"id": 99, "name": "cup"}]},
            "got several of one name",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(tmp_path: Path, names, entries, more, message: str) -> None:
    path = written(tmp_path, entries, **more)
    with pytest.raises(DataError, match=message) as raised:
        of_coco_file(path, [photograph(name) for name in names], CLASSES)
    assert "\n" not in str(raised.value) and str(raised.value).startswith(f"--ids {path}")


@pytest.mark.parametrize("content", ["[]", "{", '{"images": 3}'])
def test_no_coco_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"--ids .*x\.json"):
        of_coco_file(path, [photograph("a.jpg")], CLASSES)
    with pytest.raises(DataError, match=r"--ids: the file .*none\.json is missing"):
        of_coco_file(tmp_path / "none.json", [photograph("a.jpg")], CLASSES)


def test_file_names_are_ids_that_no_number_equals() -> None:
    found = by_file_name([photograph("a.jpg"), photograph("sub/b.jpg")], CLASSES)
    assert found.images == {"a": "a.jpg", "sub/b": "sub/b.jpg"} and found.categories == [1, 2]


# -- photographs of the run's own data set ----------------------------------------------------------------
NAMES = ["cup", "fish"]


@pytest.fixture
def coco_run(tmp_path: Path) -> tuple[Path, Artefact, Store]:
    """A COCO data set whose images and categories are numbered otherwise than sorted, and its dataset artefact."""
    root, store = tmp_path / "data", Store(tmp_path / "store")
    for split, first in (("train", 50), ("val", 90)):
        write_coco(root, split, NAMES, 3)
        path = root / "annotations" / f"instances_{split}.json"
        tree = json.loads(path.read_text())
        for image in tree["images"]:
            own = root / split / image["file_name"]
            image["file_name"] = f"{split}_{own.name}"
            own.rename(own.with_name(image["file_name"]))
        renumbered = {image["id"]: first - image["id"] for image in tree["images"]}
        for image in tree["images"]:
            image["id"] = renumbered[image["id"]]
        for annotation in tree["annotations"]:
            annotation["image_id"] = renumbered[annotation["image_id"]]
        path.write_text(json.dumps(tree))
    data = execute(dataset.STAGE, DataConfig(format="coco", root=root), {}, store).artefact
    return root, data, store


def photographs_of(folder: Path, store: Store) -> Artefact:
    return execute(photographs.STAGE, photographs.Config(root=folder), {}, store).artefact


def test_photographs_of_the_data_set_have_its_ids(coco_run) -> None:
    root, data, store = coco_run
    found = identities(None, data, photographs_of(root / "val", store), NAMES)
    truth = json.loads((root / "annotations" / "instances_val.json").read_text())
    assert {f"{key}.jpg": i for key, i in found.images.items()} == {
        i["file_name"]: i["id"] for i in truth["images"]
    }
    assert sorted(found.images.values()) == [87, 88, 89]
    assert found.categories == [c["id"] for c in truth["categories"]] == [2, 5]
    assert found.said == "image_id and category_id: those of the run's own data set"


def test_other_photographs_have_file_names(coco_run) -> None:
    """One of them has a name of the data set and other bytes."""
    root, data, store = coco_run
    (changed,) = list((root / "val").iterdir())[:1]
    changed.write_bytes(changed.read_bytes() + b"\0")
    found = identities(None, data, photographs_of(root / "val", store), NAMES)
    assert set(found.images.values()) == {p.name for p in (root / "val").iterdir()}
    assert found.categories == [1, 2] and f"({changed.name} is no image in the run's data set)" in found.said


def test_parts_that_number_their_images_alike_have_file_names(coco_run, tmp_path: Path) -> None:
    root, data, store = coco_run
    path = root / "annotations" / "instances_train.json"
    path.write_text((root / "annotations" / "instances_val.json").read_text().replace('"val_', '"train_'))
    data = execute(dataset.STAGE, DataConfig(format="coco", root=root), {}, store).artefact
    (root / "annotations").rename(tmp_path / "annotations")
    found = identities(None, data, photographs_of(root, store), NAMES)
    assert all(isinstance(i, str) for i in found.images.values())
    assert "(the run's data set has one id for train/train_000001.jpg, val/val_000001.jpg)" in found.said


def test_a_data_set_without_ids_says_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    store = Store(tmp_path / "store")
    scenes = {"format": "scenes", "scenes": {"train": 2, "val": 2, "height": 64, "width": 80}}
    data = execute(dataset.STAGE, DataConfig.model_validate(scenes), {}, store).artefact
    (tmp_path / "photos" / "a.png").write_bytes(encoded(scene(40, 60)))
    found = identities(None, data, photographs_of(tmp_path / "photos", store), NAMES)
    assert found.images == {"a": "a.png"}
    assert (
        found.said == "image_id: file names, as in images.json; for the ids of a COCO file: --ids FILE.json"
    )
