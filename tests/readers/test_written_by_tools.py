"""Files as the tools' own packages write them (`written_by/README.md` says how), with the masks that they stand for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsis.method.masks import rle
from wsis.readers.config import DataConfig, open_source

WRITTEN = Path(__file__).parent / "written_by"
SIZE = (40, 60)  # of the image


@pytest.fixture
def root(tmp_path: Path, encoded: Any) -> Path:
    """A folder with the image that the files are of."""
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for place in ("a.png", "images/a.png"):
        (tmp_path / place).write_bytes(encoded(pixels))
    return tmp_path


def truth(root: Path, **values: Any) -> dict[str, np.ndarray]:
    """Class -> mask of the one image."""
    source = open_source(DataConfig.model_validate({"root": root, **values}))
    source.validate()
    found = source.truth_of("a")
    names = [source.classes[number - 1] for number in found.labels]
    return dict(zip(names, rle.decode_many(found.masks, SIZE), strict=True))


def expected(tool: str) -> dict[str, np.ndarray]:
    tree = json.loads((WRITTEN / f"{tool}_masks.json").read_text())
    return {name: rle.decode(counts.encode(), SIZE) for name, counts in tree.items()}


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_labelme(root: Path) -> None:
    """labelme fills the pixels that an outline passes through as well; of a mask every pixel is as it was."""
    shutil.copy(WRITTEN / "labelme.json", root / "a.json")
    shutil.rmtree(root / "images")
    found, theirs = truth(root), expected("labelme")
    assert found.keys() == theirs.keys() == {"polygon", "circle", "mask"}
    np.testing.assert_array_equal(found["mask"], theirs["mask"])
    assert iou(found["polygon"], theirs["polygon"]) > 0.85 and iou(found["circle"], theirs["circle"]) > 0.85


def test_label_studio(root: Path) -> None:
    shutil.copy(WRITTEN / "label_studio.json", root / "tasks.json")
    (root / "a.png").unlink()
    found, theirs = truth(root), expected("label_studio")
    assert found.keys() == theirs.keys() == {"strokes", "noise"}
    for name, mask in theirs.items():
        np.testing.assert_array_equal(found[name], mask)


def test_supervision_yolo(root: Path) -> None:
    shutil.copytree(WRITTEN / "yolo", root, dirs_exist_ok=True)
    (root / "a.png").unlink()
    found, theirs = truth(root), expected("yolo")
    assert found.keys() == theirs.keys() == {"disk", "box"}
    for name, mask in theirs.items():
        assert iou(found[name], mask) > 0.85  # its outlines go through the centres of pixels
