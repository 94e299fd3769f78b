"""Hand-made data sets small enough to check by eye."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs.other_data import VOC_FOLDERS


def encode(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def palette_png(indices: np.ndarray) -> bytes:
    """A palette PNG like VOC's, with indices as they are."""
    image = Image.fromarray(indices.astype(np.uint8), mode="L").convert("P")
    image.putdata(indices.astype(np.uint8).ravel().tolist())
    image.putpalette([(37 * i) % 256 for i in range(768)])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def voc_object(name: str, box: Sequence[object], difficult: int = 0) -> str:
    corners = "".join(
        f"<{side}>{v}</{side}>" for side, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def voc_xml(objects: str, width: object = 12, height: object = 8) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


class Devkit:
    """A folder of VOC's shape: images of 12 x 8, train a, b, c, val d, e; classes cat and dog."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in VOC_FOLDERS:
            (root / folder).mkdir(parents=True)
        self.split("train", "a\nb\nc\n")
        self.split("val", "d\ne\n")
        for number, (image_id, names) in enumerate(
            {"a": ["cat"], "b": ["dog"], "c": ["cat", "dog"], "d": ["dog"], "e": ["cat"]}.items()
        ):
            self.image(image_id, number)
            self.xml(image_id, voc_xml("".join(voc_object(n, (2, 3, 5, 6)) for n in names)))
            self.masks(image_id, *self.planes())

    @staticmethod
    def planes() -> tuple[np.ndarray, np.ndarray]:
        """Instance 1, a dog (12), fills columns 1..4, rows 2..5; void frames it on the right."""
        instances = np.zeros((8, 12), np.uint8)
        instances[2:6, 1:5] = 1
        instances[2:6, 5] = 255
        categories = np.where(instances == 1, 12, instances).astype(np.uint8)
        return instances, categories

    def split(self, name: str, text: str) -> None:
        (self.root / f"ImageSets/Segmentation/{name}.txt").write_text(text)

    def image(self, image_id: str, seed: int, width: int = 12, height: int = 8) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        self.image_bytes(image_id, encode(pixels, "JPEG", quality=95))

    def image_bytes(self, image_id: str, data: bytes) -> None:
        (self.root / f"JPEGImages/{image_id}.jpg").write_bytes(data)

    def xml(self, image_id: str, text: str) -> None:
        (self.root / f"Annotations/{image_id}.xml").write_text(text)

    def masks(self, image_id: str, instances: np.ndarray, categories: np.ndarray) -> None:
        (self.root / f"SegmentationObject/{image_id}.png").write_bytes(palette_png(instances))
        (self.root / f"SegmentationClass/{image_id}.png").write_bytes(palette_png(categories))


@pytest.fixture
def make_devkit() -> Callable[[Path], Devkit]:
    return Devkit


@pytest.fixture
def devkit(tmp_path: Path) -> Devkit:
    return Devkit(tmp_path / "VOC2012")


@pytest.fixture
def objects_xml() -> Callable[..., str]:
    """(name, box, difficult) triples -> an annotation's text; `size` is (width, height)."""

    def build(*objects: tuple[Any, ...], size: tuple[object, object] = (12, 8)) -> str:
        return voc_xml("".join(voc_object(*one) for one in objects), *size)

    return build


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    return encode


class CocoFolder:
    """annotations/instances_{train,val}.json with images of 12 x 8 in train/ and val/.

    Categories 7 'owl' and 3 'fox' (numbers by id: fox 1, owl 2). In each split, image 1 holds a fox as a polygon
    and a crowd of owls; image 2 holds an owl as run lengths.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "annotations").mkdir(parents=True)
        self.trees: dict[str, dict[str, Any]] = {}
        for number, split in enumerate(("train", "val")):
            (root / split).mkdir()
            for i in (1, 2):
                pixels = np.random.default_rng(10 * number + i).integers(0, 256, (8, 12, 3), dtype=np.uint8)
                (root / split / f"{i}.jpg").write_bytes(encode(pixels, "JPEG"))
            self.trees[split] = self.tree()
            self.write(split)

    @staticmethod
    def tree() -> dict[str, Any]:
        owl = np.zeros((8, 12), bool)
        owl[1:3, 4:9] = True
        crowd = np.zeros((8, 12), bool)
        crowd[6:8, 0:2] = True
        return {
            "images": [{"id": i, "file_name": f"{i}.jpg", "width": 12, "height": 8} for i in (1, 2)],
            "categories": [{"id": 7, "name": "owl"}, {"id": 3, "name": "fox"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 3,
                    "iscrowd": 0,
                    "bbox": [2, 3, 4, 2],
                    "segmentation": [[2, 3, 6, 3, 6, 5, 2, 5]],
                },
                {
                    "id": 2,
                    "image_id": 1,
                    "category_id": 7,
                    "iscrowd": 1,
                    "bbox": [0, 6, 2, 2],
                    "segmentation": {"size": [8, 12], "counts": runs(crowd)},
                },
                {
                    "id": 3,
                    "image_id": 2,
                    "category_id": 7,
                    "iscrowd": 0,
                    "bbox": [4, 1, 5, 2],
                    "segmentation": {"size": [8, 12], "counts": runs(owl)},
                },
            ],
        }

    def write(self, split: str) -> None:
        (self.root / f"annotations/instances_{split}.json").write_text(json.dumps(self.trees[split]))


def runs(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths: down the columns, background first."""
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes])).astype(int).tolist()


@pytest.fixture
def coco(tmp_path: Path) -> CocoFolder:
    return CocoFolder(tmp_path / "coco")


@pytest.fixture
def make_coco() -> Callable[[Path], CocoFolder]:
    return CocoFolder


def photographs(root: Path, *names: str) -> Path:
    """JPEG files of 12 x 8, each of other pixels."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(name.encode()[-8:])
        path.write_bytes(
            encode(np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8), "JPEG")
        )
    return root


@pytest.fixture
def make_photographs() -> Callable[..., Path]:
    return photographs
