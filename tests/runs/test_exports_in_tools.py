"""What we export, read by the tools' own packages, where they are installed: labelme, label-studio-sdk, supervision.

They are no development dependencies (PyQt5, another OpenCV, PyAV); tests/readers/written_by/README.md makes an
environment of them.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsis.apps.labelled_images import LabelledImage, LabelledInstance
from wsis.apps.tool_exports import Export, write_label_studio, write_labelme, write_yolo
from wsis.method.masks import rle

SIZE = (120, 160)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
DISK = np.hypot(ROWS - 60, COLUMNS - 40) < 30
PARTS = ((abs(ROWS - 30) < 20) & (abs(COLUMNS - 110) < 15)) | (
    (abs(ROWS - 90) < 20) & (abs(COLUMNS - 130) < 25)
)
MASKS = {"cat": DISK, "dog": PARTS}


@pytest.fixture
def images() -> list[LabelledImage]:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)).save(buffer, "PNG")
    some = tuple(LabelledInstance(name, rle.encode(mask)) for name, mask in MASKS.items())
    return [LabelledImage("a", "a.png", SIZE, buffer.getvalue(), 0.5, 0.25, some)]


def export(out: Path) -> Export:
    return Export(out, list(MASKS), "wsis mine, outer iteration 1", with_images=True)


def check(found: Iterator[tuple[str, np.ndarray]], least: float) -> None:
    seen = dict(found)
    assert seen.keys() == MASKS.keys()
    for name, mask in seen.items():
        both, either = (mask & MASKS[name]).sum(), (mask | MASKS[name]).sum()
        assert both / either >= least, name


def test_labelme_reads_ours(images: list[LabelledImage], tmp_path: Path) -> None:
    """It fills the pixels that an outline passes through as well."""
    labelme = pytest.importorskip("labelme")
    write_labelme(iter(images), export(tmp_path))
    file = labelme.LabelFile(str(tmp_path / "a.json"))
    assert file.image_path == "a.png"
    classes, instances = labelme.utils.shapes_to_label(SIZE, file.shapes, {"cat": 1, "dog": 2})
    assert set(np.unique(instances)) == {0, 1, 2}  # parts of one object are one
    check(((name, classes == number) for number, name in enumerate(MASKS, start=1)), 0.93)


def test_label_studio_reads_ours(images: list[LabelledImage], tmp_path: Path) -> None:
    pytest.importorskip("label_studio_sdk")
    from label_studio_sdk.converter.brush import decode_rle
    from label_studio_sdk.label_interface import LabelInterface

    write_label_studio(iter(images), export(tmp_path))
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    interface = LabelInterface((tmp_path / "label_config.xml").read_text())
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction)
    masks = (
        (
            result["value"]["brushlabels"][0],
            decode_rle(result["value"]["rle"]).reshape(*SIZE, 4)[:, :, 3] > 0,
        )
        for result in prediction["result"]
    )
    check(masks, 1.0)


@pytest.mark.parametrize("tool", ["yolo", "labelme"])
def test_supervision_reads_ours(images: list[LabelledImage], tmp_path: Path, tool: str) -> None:
    supervision = pytest.importorskip("supervision")
    if tool == "yolo":
        path = write_yolo(iter(images), export(tmp_path))
        data = supervision.DetectionDataset.from_yolo(
            str(tmp_path / "images"), str(tmp_path / "labels"), str(path), force_masks=True
        )
    else:
        write_labelme(iter(images), export(tmp_path))
        data = supervision.DetectionDataset.from_labelme(str(tmp_path), str(tmp_path))
    ((_, _, found),) = list(data)
    merged: dict[str, np.ndarray] = {}
    for number, mask in zip(found.class_id, found.mask, strict=True):  # it has no groups of parts
        name = data.classes[number]
        merged[name] = merged.get(name, False) | mask.astype(bool)
    check(iter(merged.items()), 0.93)
