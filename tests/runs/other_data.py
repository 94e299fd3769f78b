"""Labelled data sets on disk, drawn by the generator of scenes: COCO instances JSON and a VOC devkit."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as coco_mask
from PIL import Image

from wsis.method.scenes.scenes import Scene, SceneConfig, generate_scene

VOC_FOLDERS = (
    "ImageSets/Segmentation",
    "JPEGImages",
    "Annotations",
    "SegmentationObject",
    "SegmentationClass",
)


def _scenes(classes: Sequence[str], count: int) -> Iterator[Scene]:
    look = SceneConfig(height=64, width=80, classes=tuple(classes))
    for i in range(count):
        yield generate_scene(np.random.default_rng([7, i]), look, i % len(classes) + 1)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def write_coco(root: Path, split: str, classes: Sequence[str], count: int) -> Counter[str]:
    """annotations/instances_<split>.json and <split>/*.jpg; gives the number of instances of each class."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir()
    tree: dict[str, list] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3 * i + 2, "name": name} for i, name in enumerate(classes)],
    }
    numbers: Counter[str] = Counter()
    for i, scene in enumerate(_scenes(classes, count), 1):
        name = f"{i:06d}.jpg"
        cv2.imwrite(str(root / split / name), scene.image[:, :, ::-1])
        height, width = scene.instance_map.shape
        tree["images"].append({"id": i, "file_name": name, "height": height, "width": width})
        for number, label in enumerate(scene.labels.tolist(), 1):
            mask = scene.instance_map == number
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            x1, y1, x2, y2 = _box(mask)
            numbers[classes[label - 1]] += 1
            tree["annotations"].append(
                {
                    "id": len(tree["annotations"]) + 1,
                    "image_id": i,
                    "category_id": 3 * (label - 1) + 2,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(tree))
    return numbers


def write_voc(root: Path, split: str, classes: Sequence[str], count: int) -> Counter[str]:
    """The folders of VOCdevkit/VOC2012; gives the number of instances of each class."""
    for folder in VOC_FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    numbers: Counter[str] = Counter()
    ids = [f"{split}_{i}" for i in range(count)]
    for image_id, scene in zip(ids, _scenes(classes, count), strict=True):
        cv2.imwrite(str(root / "JPEGImages" / f"{image_id}.jpg"), scene.image[:, :, ::-1])
        categories = np.concatenate([[0], scene.labels])[scene.instance_map]
        _palette_png(root / "SegmentationObject" / f"{image_id}.png", scene.instance_map)
        _palette_png(root / "SegmentationClass" / f"{image_id}.png", categories)
        objects = ""
        for number, label in enumerate(scene.labels.tolist(), 1):
            x1, y1, x2, y2 = _box(scene.instance_map == number)
            sides = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            objects += f"<object><name>{classes[label - 1]}</name><bndbox>{sides}</bndbox></object>"
            numbers[classes[label - 1]] += 1
        size = "<size><width>80</width><height>64</height><depth>3</depth></size>"
        (root / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")
    return numbers


def _palette_png(path: Path, indices: np.ndarray) -> None:
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette([(37 * i) % 256 for i in range(768)])
    picture.save(path)
