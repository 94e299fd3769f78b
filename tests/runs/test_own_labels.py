"""Labels as people have them, the whole way: folders with negatives, masks of COCO on val alone."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_contracts.records import RecordReader
from data_contracts.schemas import PROPOSALS, PSEUDO_LABELS, SEEDS
from data_contracts.store import Store
from tests.runs.other_data import write_coco
from tests.runs.tiny_run import SHORT, TINY, done, record_of, wsis

pytestmark = pytest.mark.timeout(400)
CLASSES = ["cup", "fish", "kite"]
NEGATIVES = {"train": 2, "val": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/<class>/ with a folder of negatives, masked/ with masks.json, of which one image shows nothing."""
    made, root = tmp_path_factory.mktemp("coco"), tmp_path_factory.mktemp("own") / "photographs"
    for split, count in (("train", 8), ("val", 4)):
        write_coco(made, split, CLASSES, count)
    tree = json.loads((made / "annotations/instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in tree["categories"]}
    for image in tree["images"]:
        for number in {a["category_id"] for a in tree["annotations"] if a["image_id"] == image["id"]}:
            folder = root / "train" / names[number]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / "train" / image["file_name"], folder / f"t{image['file_name']}")
    (root / "train/_negative").mkdir()
    noise = np.random.default_rng(0).integers(60, 90, (3, 64, 80, 3)).astype(np.uint8)
    for i in range(NEGATIVES["train"]):
        cv2.imwrite(str(root / f"train/_negative/n{i}.png"), noise[i])
    shutil.move(made / "val", root / "masked")
    cv2.imwrite(str(root / "masked/nothing.png"), noise[2])
    masks = json.loads((made / "annotations/instances_val.json").read_text())
    masks["images"].append({"id": 99, "file_name": "nothing.png", "height": 64, "width": 80})
    (root / "masks.json").write_text(json.dumps(masks))
    return root


def test_folders_with_negatives_and_masks_on_val(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    settings = [
        f"data.root={root}",
        "data.val_annotations=masks.json",
        "data.val_images=masked",
        "data.format=auto",
    ]
    changes = [x for one in [*settings, *SHORT] for x in ("--set", one)]
    result = done(wsis("run", TINY, "--name", "own", "--store", store, *changes))
    assert f"data: folders in {root}: _negative, cup, fish, kite (data.format=folders)" in result.err
    assert (
        "true masks to measure with: train 0 of 10, val 5 of 5; pseudo labels are not scored, "
        "val predictions are scored" in result.err
    )

    entries = record_of(store, "own").entries
    assert {"evaluation.prediction@2", "evaluation.prm_baseline", "predictions.train@1"} <= set(entries)
    assert not any(key.startswith("evaluation.pseudo_labels") for key in entries)
    artefacts = {key: Store(store).open(entry.stage, entry.fingerprint) for key, entry in entries.items()}
    counts = artefacts["dataset"].manifest.counts
    assert (counts["train"], counts["train_negatives"], counts["val"], counts["val_negatives"]) == (
        10,
        2,
        5,
        1,
    )
    shown = {f"t{i:06d}" for i in range(1, 9)}
    assert set(_ids(artefacts["prm_seeds"].records(SEEDS))) == shown
    assert set(_ids(artefacts["pseudo_labels@2"].records(PSEUDO_LABELS))) == shown
    of_val = {"nothing", *(f"{i:06d}" for i in range(1, 5))}
    assert set(_ids(artefacts["proposals"].records(PROPOSALS))) == shown | of_val
    assert artefacts["predictions.train@1"].manifest.counts["images"] == len(shown)
    assert artefacts["prm_classifier"].manifest.counts["training_images"] == 10  # 5 % held back is none
    assert artefacts["evaluation.prediction@2"].manifest.counts["images"] == 5
    _everything_can_be_looked_at(store, tmp_path)


def _ids(records: RecordReader) -> list[str]:
    return list(records.ids)


def _everything_can_be_looked_at(store: Path, out: Path) -> None:
    for command in (
        ["show", "own", "dataset", "--images", 3, "--out", out / "dataset"],
        ["show", "own", "pseudo_labels@1", "--images", 2, "--out", out / "labels"],
        ["figures", "own", "--out", out / "figures"],
        ["diagnose", "own"],
        ["report", "own"],
        ["export", "own", "--out", out / "export", "--pseudo-labels", "--sets", "all"],
    ):
        done(wsis(*command, "--store", store))
    exported = json.loads((out / "export/pseudo_labels.json").read_text())
    assert not any("negative" in image["file_name"] for image in exported["images"])


def test_a_class_that_no_image_lacks_is_refused_before_anything_is_computed(
    root: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    shutil.copytree(root / "train/cup", one / "cup")
    result = wsis(
        "run", TINY, "--store", tmp_path / "store", "--set", "data.format=auto", "--set", f"data.root={one}"
    )
    assert result.code == 1
    assert "shows 'cup', so that image-level labels cannot teach it; add images without it" in result.err
    assert not any((tmp_path / "store").glob("*/*/manifest.json"))


def test_boxes_of_one_class_go_on(root: Path, tmp_path: Path) -> None:
    """YOLO's files; every image shows the class, and boxes say where."""
    made = tmp_path / "yolo"
    photographs = sorted((root / "train/cup").iterdir())[:4]
    for part in ("images/train", "labels/train"):
        (made / part).mkdir(parents=True)
    for path in photographs:
        shutil.copy(path, made / "images/train")
        (made / f"labels/train/{path.stem}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (made / "data.yaml").write_text("names: [cup]\n")
    settings = [f"data.root={made}", "data.format=auto", "data.supervision=box", "outer_iterations=1"]
    changes = [x for one in [*settings, *SHORT] for x in ("--set", one)]
    result = done(wsis("run", TINY, "--name", "boxes", "--store", tmp_path / "store", *changes))
    assert "nearly all of the 4 train images" not in result.err  # boxes say where
    assert "no val part: all of 4 images train" in result.err
    assert "prediction@1" in record_of(tmp_path / "store", "boxes").entries
