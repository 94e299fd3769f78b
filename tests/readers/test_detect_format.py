"""`data.format: auto`: the format is found from what lies in the root, and nothing else depends on who named it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import ConfigError, DataError
from data_contracts.store import Store
from stages.data import dataset
from tests.hard.datasets import BUILDERS
from wsis.engine.stage import execute
from wsis.readers.config import DataConfig, open_source, resolved
from wsis.readers.files.folder_files import Problems, read_text
from wsis.readers.formats import FORMATS
from wsis.readers.shared.annotations import DeclaredObject
from wsis.readers.shared.format import Format
from wsis.readers.shared.labelled import Labelled, LabelledSource
from wsis.readers.shared.names import NameIndex, images_below
from wsis.readers.shared.splits import known_splits, split_folder

Make = Callable[..., Path]


def found(root: Path, **values: Any) -> str:
    return resolved(DataConfig.model_validate({"root": root, **values})).format


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def folders(root: Path, make: Make) -> None:
    make(root, "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg")


def flat_folders(root: Path, make: Make) -> None:
    make(root, "cat/1.jpg", "dog/2.jpg", "_negative/3.jpg")


def table(root: Path, make: Make) -> None:
    make(root, "images/1.jpg", "images/2.jpg")
    (root / "labels.csv").write_text("1,cat\n2,dog\n")


def tables(root: Path, make: Make) -> None:
    make(root, "train/1.jpg", "train/2.jpg", "val/3.jpg")
    (root / "train.csv").write_text("1,cat\n2,dog\n")
    (root / "val.csv").write_text("3,dog\n")


def yolo(root: Path, make: Make) -> None:
    make(root, "train/images/1.jpg", "train/images/2.jpg", "valid/images/3.jpg")
    (root / "train/labels").mkdir()
    (root / "train/labels/1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [cat]\n")


def roboflow(root: Path, make: Make) -> None:
    coco(root, make, "{}/_annotations.coco.json", "{}/{}.jpg", val="valid")


def instances(root: Path, make: Make) -> None:
    coco(root, make, "annotations/instances_{}.json", "images/{1}.jpg")


def coco(root: Path, make: Make, file: str, image: str, val: str = "val") -> None:
    for split, number in (("train", 1), (val, 2)):
        make(root, image.format(split, number))
        path = root / file.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        tree = {
            "images": [{"id": number, "file_name": f"{number}.jpg", "width": 12, "height": 8}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": number, "category_id": 1, "bbox": [1, 1, 4, 4]}],
        }
        path.write_text(json.dumps(tree))


def drawn(name: str) -> Callable[..., None]:
    """The smallest data set of a format of drawn objects."""

    def make(root: Path, make_photographs: Make) -> None:
        BUILDERS[name](root)

    return make


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        *[(drawn(name), name) for name in ("labelme", "via", "label_studio", "instances")],
        (folders, "folders"),
        (flat_folders, "folders"),
        (table, "csv"),
        (tables, "csv"),
        (yolo, "yolo"),
        (roboflow, "coco"),
        (instances, "coco"),
    ],
)
def test_found(root: Path, make_photographs: Make, make: Callable[..., None], expected: str) -> None:
    make(root, make_photographs)
    assert found(root) == expected
    by_itself, named = DataConfig(root=root), DataConfig.model_validate({"root": root, "format": expected})
    assert by_itself.identity() == named.identity()
    source = open_source(by_itself)
    assert source.digest() == open_source(named).digest()
    assert source.image_ids("train")
    said = [note for note in source.notes() if note.startswith("data: ")]
    assert len(said) == 1
    assert said[0].startswith(f"data: {expected} in {root}: ") and said[0].endswith(
        f"(data.format={expected})"
    )
    assert not any(note.startswith("data: ") for note in open_source(named).notes())


def test_the_same_artefact_whoever_named_the_format(
    root: Path, tmp_path: Path, make_photographs: Make
) -> None:
    folders(root, make_photographs)
    store = Store(tmp_path / "store")
    first = execute(dataset.STAGE, DataConfig(root=root), {}, store)
    second = execute(dataset.STAGE, DataConfig(root=root, format="folders"), {}, store)
    assert (first.artefact.fingerprint, second.reused) == (second.artefact.fingerprint, True)
    assert first.artefact.manifest.config["format"] == "folders"


def test_voc_itself_or_below(devkit: Any) -> None:
    assert found(devkit.root) == "voc"
    inner = devkit.root.parent / "VOCdevkit/VOC2012"
    inner.parent.mkdir()
    devkit.root.rename(inner)
    for root in (inner, inner.parent, inner.parent.parent):
        assert found(root) == "voc"
        assert open_source(DataConfig(root=root)).image_ids("train") == ("a", "b", "c")


class OneClass(LabelledSource):
    """Images that all show the class in class.txt."""

    def _names(self) -> NameIndex:
        return NameIndex(self.root, images_below(self.root))

    def _scan(self, problems: Problems) -> list[Labelled]:
        name = read_text(self.root / "class.txt", "class").strip()
        objects = (DeclaredObject(name, None, "class.txt"),)
        known = known_splits(self.choice.names)
        return [Labelled(i, objects, i, split_folder(i, known)) for i in images_below(self.root)]


def test_a_format_is_a_module_and_a_row(
    root: Path, make_photographs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Format(
        "one class (class.txt)",
        lambda root, given: "class.txt" if (root / "class.txt").is_file() else None,
        lambda config, root, options, choice: OneClass(root, options, choice),
        boxes=False,
    )
    with pytest.raises(DataError, match="none of: a VOC devkit"):
        found(root)
    monkeypatch.setitem(FORMATS, "one", row)
    with pytest.raises(DataError, match=r"none of: a VOC devkit.* one class"):
        found(root)
    make_photographs(root, "train/images/1.jpg", "train/images/2.jpg", "val/images/3.jpg")
    (root / "class.txt").write_text("cat")
    assert found(root) == "one"
    source = open_source(DataConfig(root=root))
    assert source.classes == ("cat",) and source.image_ids("train") == ("1", "2")
    assert source.image("3").labels.tolist() == [1]
    with pytest.raises(ConfigError, match="data of format one have no boxes, got box"):
        open_source(DataConfig(root=root, supervision="box"))


@pytest.mark.parametrize(
    ("makers", "message"),
    [
        (
            [folders, table],
            r"got csv \(labels\.csv\), folders \(cat, dog\); --set data\.format=csv\|folders decides",
        ),
        (
            [instances, yolo],
            r"got coco \(annotations/instances_train.*\), yolo \(data\.yaml\); --set data\.format=coco\|yolo decides$",
        ),
        (
            [],
            r"got 0 images and none of: a VOC devkit .* COCO .* YOLO .* labelme .* VIA .* Label Studio .* a table .* "
            r"instance masks .* a folder a class .* data\.format",
        ),
    ],
)
def test_several_or_none(root: Path, make_photographs: Make, makers: list[Any], message: str) -> None:
    for make in makers:
        make(root, make_photographs)
    with pytest.raises(DataError, match=message) as caught:
        found(root)
    assert "\n" not in str(caught.value)


def test_files_of_other_tools_are_not_coco(root: Path, make_photographs: Make) -> None:
    """Under names that COCO's files have too, and many side by side."""
    BUILDERS["label_studio"](root)
    (root / "tasks.json").rename(root / "train.json")
    assert found(root) == "label_studio"
    BUILDERS["labelme"](root)
    with pytest.raises(
        DataError, match=r"got labelme \(train/a\.json and others\), label_studio \(train\.json\)"
    ):
        found(root)
    (root / "train.json").unlink()
    for path in sorted(root.glob("*/*.json")):
        path.rename(root / path.name)
    assert found(root) == "labelme"


def test_images_alone_are_not_labels(root: Path, make_photographs: Make) -> None:
    make_photographs(root, "images/1.jpg", "images/2.jpg")
    with pytest.raises(DataError, match="got 2 images and none of"):
        found(root)


@pytest.mark.parametrize("place", ["annotations/instances_default.json", "labels.json", "export.json"])
def test_a_broken_file_of_labels_is_named(root: Path, make_photographs: Make, place: str) -> None:
    make_photographs(root, "images/1.jpg", "images/2.jpg")
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text('{"images": [')
    said = rf"got a JSON file that cannot be read: {root / place}: malformed JSON: .* at line 1, column 13$"
    with pytest.raises(DataError, match=said):
        found(root)


@pytest.mark.parametrize("named", ["auto", "labelme", "via", "label_studio"])
def test_of_many_broken_files_some_are_named(root: Path, make_photographs: Make, named: str) -> None:
    make_photographs(root, *(f"{n}.jpg" for n in range(30)))
    for n in range(30):
        (root / f"{n}.json").write_text('{"shapes": [')
    said = rf"got 30 JSON files, of which 20 of the first 20 cannot .* {root}/0\.json: malformed JSON: .*; and 17 more"
    with pytest.raises(DataError, match=said):
        open_source(DataConfig.model_validate({"root": root, "format": named})).validate()
    (root / "0.json").write_text("{}")
    with pytest.raises(DataError, match="of which 19 of the first 20 cannot be read"):
        open_source(DataConfig.model_validate({"root": root, "format": named})).validate()


def test_masks_of_val_beside_folders(root: Path, make_photographs: Make) -> None:
    folders(root, make_photographs)
    coco(root, make_photographs, "{}_masks.json", "masked/{1}.jpg")
    (root / "train_masks.json").unlink()
    (root / "masked/1.jpg").unlink()
    with pytest.raises(DataError, match=r"masks of val: --set data\.val_annotations=val_masks\.json"):
        found(root)
    assert found(root, val_annotations="val_masks.json") == "folders"
    elsewhere = shutil.move(root / "val_masks.json", root.parent / "val.json")
    assert found(root, val_annotations=str(elsewhere)) == "folders"


def test_keys_that_name_a_format(root: Path, make_photographs: Make) -> None:
    folders(root, make_photographs)
    assert found(root, labels_file="x.csv") == "csv"
    assert found(root, train_annotations="x.json") == "coco"


@pytest.mark.parametrize("name", ["folders", "coco", "yolo", "csv"])
def test_a_folder_around_the_data_is_named(root: Path, name: str) -> None:
    BUILDERS[name](root / "archive")
    (root / "__MACOSX").mkdir()
    with pytest.raises(
        DataError, match=rf"nothing but the folder archive/, where {name} lies .*: give .*/archive"
    ):
        found(root)
    assert found(root / "archive") == name


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("{0}/img/{1}.jpg", "{0}/ann/{1}.jpg.json"),
        ("training/image_2/{0}{1}.jpg", "training/label_2/{0}{1}.txt"),
    ],
)
def test_folders_are_no_classes_where_images_have_files_of_another_kind(
    root: Path, make_photographs: Make, image: str, text: str
) -> None:
    """Supervisely's and KITTI's layouts."""
    for name in (image.format(a, b) for a in ("a", "b") for b in range(2)):
        make_photographs(root, name)
    for path in (root / text.format(a, b) for a in ("a", "b") for b in range(2)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if path.suffix == ".json" else "Car 0.00 0 -1.57 1 2 9 8 1 1 3 2 1 20 1\n")
    first = text.format("a", 0)
    with pytest.raises(
        DataError, match=rf"a file for each of 4 images that no format here reads, {first}; write"
    ):
        found(root)
    assert found(root, format="folders") == "folders"
    for path in root.rglob(f"*1*{Path(text).suffix}"):
        path.unlink()
    for path in root.rglob(f"b*0*{Path(text).suffix}"):
        path.unlink()
    assert found(root) == "folders"


def save_mask(path: Path, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 12), np.uint8)
    pixels[2:5, 2:5] = 1
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
@pytest.mark.parametrize(
    ("image", "mask", "named"),
    [
        ("PNGImages/{}.png", "PedMasks/{}_mask.png", "images of PNGImages/ in PedMasks/"),
        ("images/training/{}.jpg", "annotations/training/{}.png", "images of images/ in annotations/"),
        ("train/rgb/{}.jpg", "train/seg/{}.png", "images of rgb/ in seg/"),
    ],
)
def test_folders_of_masks_are_no_classes(
    root: Path, make_photographs: Make, image: str, mask: str, named: str, mode: str
) -> None:
    for name in ("F1", "F2"):
        make_photographs(root, image.format(name))
        save_mask(root / mask.format(name), mode)
    with pytest.raises(DataError, match=f"masks of the {re.escape(named)}.*data.format=folders takes"):
        found(root)
    assert found(root, format="folders") == "folders"


def test_folders_of_grey_and_coloured_photographs_are_classes(root: Path, make_photographs: Make) -> None:
    make_photographs(root, "cat/1.jpg", "cat/2.jpg", "cat/3.jpg")
    for name in (4, 5, 1):
        save_mask(root / f"dog/{name}.png", "L")
    assert found(root) == "folders"


def test_files_that_no_format_reads_are_named(root: Path, make_photographs: Make) -> None:
    make_photographs(root, "images/a.jpg", "images/b.jpg")
    (root / "labels.xlsx").write_bytes(b"PK")
    (root / "default.json").write_text('{"items": []}')
    with pytest.raises(
        DataError, match=r"got 2 images, 2 other files \(default.json, labels.xlsx\) and none"
    ):
        found(root)


def test_several_devkits_below_are_named(root: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        BUILDERS["voc"](root / year)
    with pytest.raises(DataError, match="expected one VOC devkit, got VOC2007, VOC2012: give one of them"):
        found(root)


def test_the_folder_of_one_class_is_told_to_be_one(root: Path, make_photographs: Make) -> None:
    make_photographs(root, "cat/a.jpg", "cat/b.jpg", "dog/c.jpg")
    with pytest.raises(DataError, match=f"if cat is one of your classes, give the folder above it: {root}$"):
        found(root / "cat")
    (root / "cat" / "labels.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"name yours$"):
        found(root / "cat")
