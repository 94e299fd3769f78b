"""Segment Anything's files: both shapes, the same proposals as by COCO results, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest

from wsis.errors import InputError
from wsis.method.masks import rle
from wsis.method.proposals import ImportSettings, import_coco_results, import_sam
from wsis.method.proposals.imports.coco_results import parse_entry
from wsis.method.proposals.imports.sam import sam_masks

IMAGE = np.random.default_rng(0).integers(60, 90, (40, 60, 3), np.uint8)


def entries() -> list[dict[str, Any]]:
    """What `SamAutomaticMaskGenerator(output_mode="coco_rle")` gives, of three rectangles."""
    made = []
    for number, (rows, columns) in enumerate([((5, 20), (5, 25)), ((10, 35), (30, 55)), ((0, 40), (0, 60))]):
        mask = np.zeros((40, 60), bool)
        mask[slice(*rows), slice(*columns)] = True
        box = [columns[0], rows[0], columns[1] - columns[0] - 1, rows[1] - rows[0] - 1]
        made.append(
            {
                "segmentation": {"size": [40, 60], "counts": rle.encode(mask).decode()},
                "area": int(mask.sum()),
                "bbox": box,
                "predicted_iou": 0.9 - number / 10,
                "point_coords": [[10.5, 10.5]],
                "stability_score": 0.95,
                "crop_box": [0, 0, 60, 40],
            }
        )
    return made


@pytest.mark.parametrize("shape", ["list", "SA-1B", "run lengths"])
def test_a_file_is_its_masks(shape: str) -> None:
    tree: Any = entries()
    if shape == "SA-1B":
        tree = {
            "image": {"image_id": 7, "width": 60, "height": 40, "file_name": "sa_7.jpg"},
            "annotations": tree,
        }
    if shape == "run lengths":
        for one in tree:
            counts = one["segmentation"]["counts"].encode()
            one["segmentation"]["counts"] = rle.run_lengths(counts).tolist()
    settings = ImportSettings("file")
    found = import_sam(json.dumps(tree).encode(), IMAGE, "a.json", settings)
    scored = [{**one, "score": one["predicted_iou"]} for one in entries()]
    wanted = import_coco_results([parse_entry(one, "x") for one in scored], IMAGE, "x", settings)
    np.testing.assert_array_equal(found.masks(), wanted.masks())
    np.testing.assert_array_equal(found.scores, wanted.scores)
    assert [mask.score for mask in sam_masks(json.dumps(tree).encode(), "a.json")] == [0.9, 0.8, 0.7]


def changed(**fields: Any) -> list[dict[str, Any]]:
    return [{**entries()[0], **fields}]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "expected a JSON list of masks, or an object with it as annotations, got an empty list"),
        ({"image": {}}, "expected a JSON list of masks, .* got NoneType"),
        (7, "expected a JSON list of masks, .* got int"),
        ([7], "mask 0: expected an object, got int"),
        ([{}], "mask 0: segmentation: expected run lengths .* got None"),
        (changed(predicted_iou=None), "mask 0: predicted_iou: expected a finite number, got None$"),
        (changed(predicted_iou="high"), "mask 0: predicted_iou: expected a finite number, got 'high'"),
        (changed(predicted_iou=float("nan")), "mask 0: predicted_iou: expected a finite number, got nan"),
        (changed(segmentation=[[1, 2, 3, 4]]), "mask 0: segmentation: expected run lengths .* got polygons"),
        (changed(segmentation={"size": [60, 40], "counts": "0"}), "the mask lies on its side"),
        (
            changed(segmentation={"size": [40, 60], "counts": "!!"}),
            r"a\.json: a\.json: mask 0: segmentation\.counts",
        ),
    ],
)
def test_refused(tree: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.json: .*{message}|{message}"):
        import_sam(json.dumps(tree).encode(), IMAGE, "a.json")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_no_json(data: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.json: expected a JSON list of masks"):
        import_sam(data, IMAGE, "a.json")
