"""What a data set holds, whatever is wrong with some of it; the same picture twice."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_contracts.store import Store
from stages.data import dataset
from tests.readers.conftest import encode, voc_object, voc_xml
from wsis.engine.progress import Progress
from wsis.engine.stage import execute
from wsis.readers.config import DataConfig, open_source
from wsis.readers.inventory import Inventory, alike, same_bytes, take_inventory


def inventory(devkit: Any, **values: Any) -> Inventory:
    return take_inventory(open_source(DataConfig(format="voc", root=devkit.root, **values)))


def test_every_image_with_its_labels_boxes_and_masks(devkit: Any) -> None:
    found = inventory(devkit)
    assert found.classes == ("cat", "dog") and found.problems == ()
    assert [one.image_id for one in found.of("train")] == ["a", "b", "c"]
    assert [one.image_id for one in found.of("val")] == ["d", "e"]
    one = found.images[2]
    assert (one.file_name, one.height, one.width, one.pixels) == ("JPEGImages/c.jpg", 8, 12, "RGB")
    assert one.labels.tolist() == [1, 2] and one.boxes.tolist() == [[1, 2, 5, 6]] * 2
    assert one.file_bytes == len((devkit.root / one.file_name).read_bytes())
    assert all(one.boxes_tell and one.has_masks for one in found.images)


def test_all_faults_are_collected_and_the_sound_images_counted(devkit: Any) -> None:
    """One annotation, one image, one mask; the other images are there."""
    devkit.xml("a", "<annotation>")
    devkit.image_bytes("b", (devkit.root / "JPEGImages/b.jpg").read_bytes()[:-80])
    devkit.masks("d", np.zeros((5, 5), np.uint8), np.zeros((5, 5), np.uint8))
    found = inventory(devkit)
    assert [one.image_id for one in found.images] == ["c", "d", "e"]
    texts = "\n".join(found.problems)
    assert len(found.problems) == 3
    assert "a.xml: malformed XML" in texts and "b.jpg" in texts and "d.png" in texts


def test_an_object_without_a_box_hides_how_many_there_are(devkit: Any) -> None:
    devkit.xml("c", voc_xml(voc_object("cat", (2, 3, 5, 6)) + "<object><name>dog</name></object>"))
    found = inventory(devkit)
    assert [one.boxes_tell for one in found.of("train")] == [True, True, False]


def picture(seed: int, side: int = 96) -> np.ndarray:
    """Soft shapes."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def with_files(devkit: Any, files: dict[str, bytes]) -> Inventory:
    for name, data in files.items():
        devkit.image_bytes(name, data)
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        devkit.xml(name, voc_xml(voc_object("cat", (1, 1, 5, 5)), width, height))
    devkit.split("train", "a\nb\nc\n")
    return inventory(devkit)


def names(groups: list[list[Any]]) -> list[list[str]]:
    return [[one.image_id for one in group] for group in groups]


def test_the_same_bytes_and_the_same_picture(devkit: Any) -> None:
    """d is a's file; e is b saved again, smaller; c is another picture."""
    files = {
        "a": encode(picture(1), "JPEG", quality=95),
        "b": encode(picture(2), "JPEG", quality=95),
        "c": encode(picture(3), "JPEG", quality=95),
        "d": encode(picture(1), "JPEG", quality=95),
        "e": encode(picture(2, 64), "JPEG", quality=70),
    }
    found = with_files(devkit, files)
    assert names(same_bytes(found.images)) == [["a", "d"]]
    assert names(alike(found.images)) == [["b", "e"]]


def test_pictures_without_contrast_are_not_alike(devkit: Any) -> None:
    grey = {name: encode(np.full((40, 40, 3), 100 + i, np.uint8)) for i, name in enumerate("abc")}
    assert alike(with_files(devkit, grey).images) == []


class Lines(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.parametrize("copied", [True, False])
def test_the_stage_warns_of_a_file_in_train_and_val(devkit: Any, tmp_path: Path, copied: bool) -> None:
    if copied:
        devkit.image_bytes("d", (devkit.root / "JPEGImages/a.jpg").read_bytes())
    said = Lines()
    execute(
        dataset.STAGE, DataConfig(format="voc", root=devkit.root), {}, Store(tmp_path / "s"), progress=said
    )
    warnings = [line for line in said.lines if "the same file is in train and in val" in line]
    assert len(warnings) == int(copied)
    if copied:
        assert "warning: the same file is in train and in val, 1 time, and" in warnings[0]
        assert "JPEGImages/a.jpg = JPEGImages/d.jpg" in warnings[0]
