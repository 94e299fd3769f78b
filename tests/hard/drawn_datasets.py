"""The smallest sound data sets of formats with drawn objects: train a (cat), b (dog); val d (dog), one polygon each."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Write = Callable[[Path, str | bytes], None]
WIDTH, HEIGHT = 12, 8
POINTS = [[2, 3], [6, 3], [6, 6], [2, 6]]
SHOWN = {"train/a": "cat", "train/b": "dog", "val/d": "dog"}


def labelme(root: Path, write: Write) -> None:
    for name, label in SHOWN.items():
        write(root / f"{name}.json", json.dumps(labelme_tree(name, label)))


def labelme_tree(name: str, label: str, **shape: Any) -> dict[str, Any]:
    one = {"label": label, "points": POINTS, "group_id": None, "shape_type": "polygon", "flags": {}} | shape
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [one],
        "imagePath": f"{Path(name).name}.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def via(root: Path, write: Write) -> None:
    for split in ("train", "val"):
        write(root / split / "via_region_data.json", json.dumps(via_tree(split)))


def via_tree(split: str) -> dict[str, Any]:
    x, y = zip(*POINTS, strict=True)
    shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
    return {
        f"{Path(name).name}.png7": {
            "filename": f"{Path(name).name}.png",
            "size": 7,
            "regions": [{"shape_attributes": shape, "region_attributes": {"class": label}}],
            "file_attributes": {},
        }
        for name, label in SHOWN.items()
        if name.startswith(split)
    }


def label_studio(root: Path, write: Write) -> None:
    tasks = [studio_task(number, name, label) for number, (name, label) in enumerate(SHOWN.items())]
    write(root / "tasks.json", json.dumps(tasks))


def studio_task(number: int, name: str, label: str) -> dict[str, Any]:
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in POINTS]
    result = {
        "id": f"r{number}",
        "type": "polygonlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {"points": points, "closed": True, "polygonlabels": [label]},
    }
    annotation = {"id": number, "result": [result], "was_cancelled": False, "ground_truth": False}
    data = {"image": f"/data/local-files/?d={name}.png"}
    return {"id": number, "data": data, "annotations": [annotation], "predictions": []}


def instances(root: Path, write: Write) -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[3:6, 2:6] = 7
    buffer = io.BytesIO()
    Image.fromarray(ids).save(buffer, "PNG")
    rows = ["image,instance,class"]
    for name, label in SHOWN.items():
        write(root / f"masks/{name}.png", buffer.getvalue())
        rows.append(f"{name}.png,7,{label}")
    write(root / "instances.csv", "\n".join(rows) + "\n")
