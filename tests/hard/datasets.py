"""The smallest sound data set of every format that `data.format` knows: train a (cat), b (dog); val d (dog)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from tests.hard import drawn_datasets
from wsis.readers.config import DataConfig, open_source

SIZE = (12, 8)  # width, height
NOT_READ = ("auto", "scenes")  # no format of files
FORMATS = [name for name in get_args(DataConfig.model_fields["format"].annotation) if name not in NOT_READ]
POLYGON = [2, 3, 6, 3, 6, 6, 2, 6]


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG" if path.suffix != ".jpg" else "JPEG")


def coco_tree(first: int, names: list[tuple[str, int]]) -> dict[str, Any]:
    """Instances JSON of images with one object each; categories 1 cat, 7 dog."""
    images, annotations = [], []
    for number, (name, category) in enumerate(names, start=first):
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        annotation: dict[str, Any] = {"id": number, "image_id": number, "category_id": category}
        annotations.append(annotation | {"bbox": [2, 3, 4, 3], "iscrowd": 0, "segmentation": [POLYGON]})
    categories = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root: Path) -> dict[str, Any]:
    for name, seed in (("train/a.png", 1), ("train/b.png", 2), ("val/d.png", 3)):
        picture(root / name, seed)
    write(root / "annotations/instances_train.json", json.dumps(coco_tree(1, [("a.png", 1), ("b.png", 7)])))
    write(root / "annotations/instances_val.json", json.dumps(coco_tree(3, [("d.png", 7)])))
    return {}


def voc_xml(name: str, box: tuple[object, ...] = (2, 3, 5, 6), size: str | None = None) -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    size = "<size><width>12</width><height>8</height><depth>3</depth></size>" if size is None else size
    return f"<annotation>{size}<object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"


def voc(root: Path) -> dict[str, Any]:
    for name, seed, label in (("a", 1, "cat"), ("b", 2, "dog"), ("d", 3, "dog")):
        picture(root / f"JPEGImages/{name}.jpg", seed)
        write(root / f"Annotations/{name}.xml", voc_xml(label))
    write(root / "ImageSets/Segmentation/train.txt", "a\nb\n")
    write(root / "ImageSets/Segmentation/val.txt", "d\n")
    return {}


def folders(root: Path) -> dict[str, Any]:
    for name, seed in (("train/cat/a.png", 1), ("train/dog/b.png", 2), ("val/dog/d.png", 3)):
        picture(root / name, seed)
    return {}


def csv(root: Path) -> dict[str, Any]:
    for name, seed in (("train/a.png", 1), ("train/b.png", 2), ("val/d.png", 3)):
        picture(root / name, seed)
    write(root / "train.csv", "file,labels\na.png,cat\nb.png,dog\n")
    write(root / "val.csv", "file,labels\nd.png,dog\n")
    return {}


def yolo(root: Path) -> dict[str, Any]:
    for name, seed in (("train/a", 1), ("train/b", 2), ("val/d", 3)):
        picture(root / f"images/{name}.png", seed)
        write(root / f"labels/{name}.txt", f"{0 if name == 'train/a' else 1} 0.5 0.5 0.5 0.5\n")
    write(root / "data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return {}


def drawn(format_: str) -> Callable[[Path], dict[str, Any]]:
    """A data set of `drawn_datasets`, with its photographs."""

    def build(root: Path) -> dict[str, Any]:
        for seed, name in enumerate(drawn_datasets.SHOWN):
            picture(root / ("images" if format_ == "instances" else ".") / f"{name}.png", seed)
        getattr(drawn_datasets, format_)(root, write)
        return {}

    return build


BUILDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "coco": coco,
    "voc": voc,
    "folders": folders,
    "csv": csv,
    "yolo": yolo,
    **{name: drawn(name) for name in ("labelme", "via", "label_studio", "instances")},
}


def facts_of(format_: str, root: Path, **settings: Any) -> dict[str, Any]:
    """Read everything; names of the labels of each train image, and the number of boxes of the part."""
    source = open_source(DataConfig.model_validate({"format": format_, "root": root, **settings}))
    source.validate()
    source.digest()
    train = [source.image(image_id) for image_id in source.image_ids("train")]
    masked = ("coco", "voc", "labelme", "via", "label_studio", "instances")
    truths = [source.truth_of(i) for i in source.truth_ids("val")] if format_ in masked else []
    return {
        "labels": {Path(r.file_name).name: [source.classes[n - 1] for n in r.labels] for r in train},
        "boxes": sum(len(record.boxes) for record in train),
        "val": len(source.image_ids("val")),
        "masks": sum(len(truth.masks) for truth in truths),
    }
