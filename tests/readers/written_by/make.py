"""Writes the files of this folder with the tools' own packages, in an environment of theirs; see README.md."""

import json
import sys
from pathlib import Path

import numpy as np
import pycocotools.mask as coco_mask

HERE = Path(__file__).parent
HEIGHT, WIDTH = 40, 60
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
RING = (np.hypot(ROWS - 20, COLUMNS - 40) < 12) & (np.hypot(ROWS - 20, COLUMNS - 40) > 5)
NOISE = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5


def save_masks(tool: str, masks: dict[str, np.ndarray]) -> None:
    texts = {
        name: coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
        for name, mask in masks.items()
    }
    (HERE / f"{tool}_masks.json").write_text(json.dumps(texts, indent=1) + "\n")


def labelme() -> None:
    from labelme import utils
    from labelme._label_file import write_label_file

    shapes = [
        {
            "label": "polygon",
            "points": [[4.5, 5.0], [24.0, 7.5], [20.0, 30.0], [6.0, 25.5]],
            "shape_type": "polygon",
        },
        {"label": "circle", "points": [[45.0, 25.0], [45.0, 15.0]], "shape_type": "circle"},
        {"label": "mask", "points": [[28, 8], [51, 31]], "shape_type": "mask"},
    ]
    masks = {}
    for shape in shapes:
        shape |= {"group_id": None, "description": "", "flags": {}, "mask": None}
        (x1, y1), (x2, y2) = [[int(v) for v in point] for point in shape["points"][:2]]
        if shape["shape_type"] == "mask":
            shape["mask"] = utils.img_arr_to_b64(RING[y1 : y2 + 1, x1 : x2 + 1].astype(np.uint8))
            loaded = {**shape, "mask": utils.img_b64_to_arr(shape["mask"]).astype(bool)}
        else:
            loaded = shape
        classes, _ = utils.shapes_to_label((HEIGHT, WIDTH), [loaded], {shape["label"]: 1})
        masks[shape["label"]] = classes == 1
    path = str(HERE / "labelme.json")
    write_label_file(path, shapes=shapes, image_path="a.png", image_height=HEIGHT, image_width=WIDTH)
    save_masks("labelme", masks)


def label_studio() -> None:
    from label_studio_sdk.converter import brush

    masks = {"strokes": RING, "noise": NOISE}
    results = [
        {
            "id": name,
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": WIDTH,
            "original_height": HEIGHT,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": brush.mask2rle(mask * np.uint8(255)), "brushlabels": [name]},
        }
        for name, mask in masks.items()
    ]
    tasks = [
        {
            "id": 1,
            "data": {"image": "/data/upload/1/0a1b2c3d-a.png"},
            "annotations": [{"id": 1, "result": results}],
        }
    ]
    (HERE / "label_studio.json").write_text(json.dumps(tasks) + "\n")
    save_masks("label_studio", masks)


def yolo() -> None:
    import supervision as sv

    masks = {
        "disk": np.hypot(ROWS - 20, COLUMNS - 40) < 12,
        "box": (abs(ROWS - 20) < 9) & (abs(COLUMNS - 12) < 8),
    }
    stack = np.array(list(masks.values()))
    detections = sv.Detections(xyxy=sv.mask_to_xyxy(stack), mask=stack, class_id=np.arange(2))
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    dataset = sv.DetectionDataset(list(masks), {"a.png": image}, {"a.png": detections})
    (HERE / "yolo").mkdir(exist_ok=True)
    dataset.as_yolo(
        annotations_directory_path=str(HERE / "yolo/labels"), data_yaml_path=str(HERE / "yolo/data.yaml")
    )
    save_masks("yolo", masks)


if __name__ == "__main__":
    for name in sys.argv[1:] or ("labelme", "label_studio", "yolo"):
        globals()[name]()
