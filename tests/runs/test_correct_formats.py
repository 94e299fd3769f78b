"""`wsis correct` takes back what `wsis export --pseudo-labels` writes, in every format: as it was, and mended."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.schemas import CORRECTIONS
from data_contracts.store import Store
from stages.data import corrections
from tests.runs.test_label_exports import labels  # noqa: F401  a fixture
from tests.runs.tiny_run import RUN, done, wsis
from wsis.engine.progress import Progress
from wsis.engine.stage import execute
from wsis.method.masks import rle
from wsis.method.masks.given_masks import GivenMasks
from wsis.readers.formats.label_studio_brush import encode_brush
from wsis.views.run import Run

pytestmark = pytest.mark.timeout(300)
SIZE = (64, 80)
DRAWN = np.zeros(SIZE, bool)
DRAWN[8:40, 16:48] = True
CORNERS = [[16.0, 8.0], [48.0, 8.0], [48.0, 40.0], [16.0, 40.0]]
Mend = Callable[[Path, str, str], None]


def submitted(out: Path) -> None:
    """Every task of Label Studio as its user has it who presses Submit at each."""
    tasks = json.loads((out / "tasks.json").read_text())
    for task in tasks:
        task["annotations"] = task["predictions"]
    (out / "tasks.json").write_text(json.dumps(tasks))


def mend_coco(out: Path, drawn: str, emptied: str) -> None:
    path = out / "pseudo_labels.json"
    tree = json.loads(path.read_text())
    ids = {one["source_image"]: one["id"] for one in tree["images"]}
    kept = [a for a in tree["annotations"] if a["image_id"] not in (ids[drawn], ids[emptied])]
    new = {"id": 10_000, "image_id": ids[drawn], "category_id": tree["categories"][0]["id"], "iscrowd": 0}
    polygon = [value for corner in CORNERS for value in corner]
    path.write_text(
        json.dumps(
            {**tree, "annotations": [*kept, {**new, "segmentation": [polygon], "bbox": [16, 8, 32, 32]}]}
        )
    )


def mend_labelme(out: Path, drawn: str, emptied: str) -> None:
    shape = {"label": "cup", "points": CORNERS, "shape_type": "polygon", "group_id": None}
    for name, shapes in ((drawn, [shape]), (emptied, [])):
        path = out / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "shapes": shapes}))


def mend_yolo(out: Path, drawn: str, emptied: str) -> None:
    shares = [f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in CORNERS]
    (out / "labels" / f"{drawn}.txt").write_text(f"0 {' '.join(shares)}\n")
    (out / "labels" / f"{emptied}.txt").write_text("")


def mend_label_studio(out: Path, drawn: str, emptied: str) -> None:
    path = out / "tasks.json"
    tasks = json.loads(path.read_text())
    for task in tasks:
        stem = Path(task["data"]["image"]).stem.rpartition("=")[2]
        if stem == emptied:
            task["annotations"] = [{"result": []}]
        if stem == drawn:
            value = {"format": "rle", "rle": encode_brush(DRAWN), "brushlabels": ["cup"]}
            stroke = {"id": "1", "type": "brushlabels", "original_height": 64, "original_width": 80}
            task["annotations"] = [{"result": [{**stroke, "value": value}]}]
    path.write_text(json.dumps(tasks))


FORMATS: dict[str, tuple[str, Mend]] = {
    "coco": ("pseudo_labels.json", mend_coco),
    "labelme": (".", mend_labelme),
    "yolo-seg": ("data.yaml", mend_yolo),
    "label-studio": ("tasks.json", mend_label_studio),
}


def taken(store: Path, given: Path, to: Path) -> dict[str, tuple[list[str], list[bytes]]]:
    """Image -> classes and masks, as the stage stores them."""
    run = Run.load(Store(store), RUN)
    config = corrections.Config(files=(given,))
    made = execute(
        corrections.STAGE, config, {"dataset": run.dataset}, Store(to), progress=Progress(quiet=True)
    )
    records = made.artefact.records(CORRECTIONS)
    found = {i: GivenMasks.from_record(records[i]) for i in records.ids}
    return {i: ([run.classes[n - 1] for n in one.labels], list(one.masks)) for i, one in found.items()}


def iou(masks: list[bytes], others: list[np.ndarray]) -> Any:
    return np.diag(rle.iou(masks, [rle.encode(one) for one in others], SIZE))


@pytest.mark.parametrize("tool", FORMATS)
def test_each_format_comes_back(tiny_store: Path, tmp_path: Path, labels: Any, tool: str) -> None:  # noqa: F811
    out, (named, mend) = tmp_path / "out", FORMATS[tool]
    done(wsis("export", RUN, "--out", out, "--pseudo-labels", "--format", tool, "--store", tiny_store))
    if tool == "label-studio":
        submitted(out)
    whole = taken(tiny_store, out, tmp_path / "first")
    assert whole.keys() == labels.keys()
    for image_id, (names, masks) in whole.items():
        some = labels[image_id][1]
        assert names == [name for name, _ in some]
        assert iou(masks, [mask for _, mask in some]).min(initial=1.0) >= 0.98
    assert taken(tiny_store, out / named, tmp_path / "named") == whole
    drawn, emptied = sorted(i for i, (_, some) in labels.items() if some)[:2]
    mend(out, drawn, emptied)
    after = taken(tiny_store, out, tmp_path / "second")
    assert after.pop(emptied) == ([], [])
    ((name,), masks) = after.pop(drawn)
    assert name == "cup" and iou(masks, [DRAWN])[0] == 1
    assert after == {i: one for i, one in whole.items() if i in after} and len(after) == len(whole) - 2
    said = done(wsis("correct", RUN, out, "--dry-run", "--store", tiny_store)).err
    assert re.search(r"12 of 12 training images that show a class have given masks \(\d+ instances, ", said)


def test_predictions_that_nobody_submitted_are_no_corrections(tiny_store: Path, tmp_path: Path) -> None:
    more = ("--format", "label-studio", "--store", tiny_store)
    done(wsis("export", RUN, "--out", tmp_path, "--pseudo-labels", *more))
    refused = wsis("correct", RUN, tmp_path / "tasks.json", "--dry-run", "--store", tiny_store)
    assert refused.code != 0
    assert "expected images with masks, got none (12 tasks without annotation are left out" in refused.err
    assert "predictions count once they are submitted" in refused.err
