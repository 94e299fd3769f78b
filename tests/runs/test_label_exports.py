"""`wsis export --pseudo-labels` for annotation tools: which images, and our own readers give the masks back."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, done, record_of, wsis
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import Regions
from wsis.readers.config import DataConfig, open_source

pytestmark = pytest.mark.timeout(300)
CLASSES = ("cup", "fish", "kite", "mushroom")
TOOLS = ("yolo-seg", "labelme", "label-studio")


def records_of(store: Path, key: str, schema: Any) -> Any:
    entry = record_of(store).entries[key]
    return Store(store).open(entry.stage, entry.fingerprint).records(schema)


@pytest.fixture(scope="module")
def labels(tiny_store: Path) -> dict[str, tuple[float, list[tuple[str, np.ndarray]]]]:
    """Image -> how far its samples disagree, class and mask of each instance of its most frequent set."""
    records = records_of(tiny_store, "pseudo_labels@2", PSEUDO_LABELS)
    proposals = records_of(tiny_store, "proposals", PROPOSALS)
    found = {}
    for image_id in records.ids:
        samples = SampleSet.from_record(records[image_id])
        masks = samples.masks(0, Regions.from_record(proposals[image_id]))
        names = [CLASSES[number - 1] for number in samples.unique(0)[1]]
        some = [(name, mask) for name, mask in zip(names, masks, strict=True) if mask.any()]
        found[image_id] = (float(records[image_id]["diversity"][0]), some)
    return found


def export(store: Path, out: Path, *more: object) -> Any:
    return wsis("export", RUN, "--out", out, "--pseudo-labels", *more, "--store", store)


def read_back(out: Path, tool: str) -> Any:
    """The exported folder as data; what Label Studio is told as a prediction, a person has accepted."""
    if tool == "label-studio":
        tasks = json.loads((out / "tasks.json").read_text())
        for task in tasks:
            task["annotations"] = task.pop("predictions")
        (out / "tasks.json").write_text(json.dumps(tasks))
    return open_source(DataConfig.model_validate({"root": out, "val_split": None}))


@pytest.mark.parametrize("tool", ["coco", *TOOLS])
def test_our_readers_give_the_masks_back(tiny_store: Path, tmp_path: Path, labels: Any, tool: str) -> None:
    said = done(export(tiny_store, tmp_path / "out", "--format", tool, "--with-images"))
    count = sum(len(some) for _, some in labels.values())
    assert re.search(rf"{count} instances in {len(labels)} image(s| entries): ", said.out)
    source = read_back(tmp_path / "out", tool)
    assert set(source.image_ids("train")) == set(labels)
    dataset = records_of(tiny_store, "dataset", DATASET)
    for image_id, (_, some) in labels.items():
        assert source.image(image_id).encoded == dataset[image_id]["encoded"].tobytes()
        truth = source.truth_of(image_id)
        got = [source.classes[number - 1] for number in truth.labels]
        assert got == [name for name, _ in some]
        wanted = [rle.encode(mask) for _, mask in some]
        if tool in ("coco", "label-studio"):
            assert list(truth.masks) == wanted
        else:
            ious = np.diag(rle.iou(truth.masks, wanted, (64, 80)))
            assert ious.min(initial=1.0) >= 0.98


def test_what_a_person_sees_in_label_studio(tiny_store: Path, tmp_path: Path, labels: Any) -> None:
    done(export(tiny_store, tmp_path, "--format", "label_studio", "--image-path", "https://x.org/a?f="))
    assert not (tmp_path / "images").exists()
    tree = ElementTree.parse(tmp_path / "label_config.xml").getroot()
    assert [label.get("value") for label in tree.iter("Label")] == list(CLASSES)
    brush = tree.find("BrushLabels")
    assert brush is not None and tree.find("Image").get("value") == "$image"  # type: ignore[union-attr]
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for task in tasks:
        image_id = Path(task["data"]["image"]).stem.rpartition("=")[2]
        (prediction,) = task["predictions"]
        assert task["data"]["image"].startswith("https://x.org/a?f=") and "annotations" not in task
        assert prediction["score"] == pytest.approx(1 - labels[image_id][0])
        assert prediction["model_version"] == "wsis tiny, outer iteration 2"
        names = {(one["from_name"], one["to_name"]) for one in prediction["result"]}
        assert names <= {(brush.get("name"), brush.get("toName"))}


@pytest.mark.parametrize("tool", ["coco", *TOOLS])
def test_the_worst_and_those_named(tiny_store: Path, tmp_path: Path, labels: Any, tool: str) -> None:
    done(export(tiny_store, tmp_path / "worst", "--worst", 3, "--format", tool))
    order = sorted(labels, key=lambda i: -labels[i][0])
    assert images_in(tmp_path / "worst", tool) == set(order[:3])
    first, second = sorted(labels)[:2]
    done(
        export(tiny_store, tmp_path / "named", "--image", first, "--image", f"{second}.png", "--format", tool)
    )
    assert images_in(tmp_path / "named", tool) == {first, second}
    if tool in ("coco", "label-studio"):
        done(export(tiny_store, tmp_path / "all", "--worst", 1000, "--format", tool))
        assert images_in(tmp_path / "all", tool) == set(labels)


def images_in(out: Path, tool: str) -> set[str]:
    if tool == "coco":
        images = json.loads((out / "pseudo_labels.json").read_text())["images"]
        return {Path(one["file_name"]).stem for one in images}
    if tool == "label-studio":
        urls = [one["data"]["image"] for one in json.loads((out / "tasks.json").read_text())]
        assert all(url.startswith("/data/local-files/?d=") for url in urls)
        return {Path(url.partition("=")[2]).stem for url in urls}
    return {path.stem for path in out.rglob("*.json" if tool == "labelme" else "*.txt")}


def test_the_worst_stand_first_and_say_how_bad(tiny_store: Path, tmp_path: Path, labels: Any) -> None:
    said = done(export(tiny_store, tmp_path, "--worst", 4))
    found = [one["diversity"] for one in json.loads((tmp_path / "pseudo_labels.json").read_text())["images"]]
    assert found == sorted((value for value, _ in labels.values()), reverse=True)[:4]
    assert re.search(r"the 4 of \d+ images whose samples disagree most: mean 1 - IoU", said.err)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "xml"], "--format: expected one of coco, yolo-seg, labelme, label-studio, got 'xml'"),
        (["--worst", 0], "Invalid value for '--worst'"),
        (["--worst", 2, "--image", "a"], "--worst: expected without --image, got both"),
        (
            ["--image", "nothing"],
            "--image: expected the name of one of .* images, or a pattern, got 'nothing'",
        ),
        (
            ["--format", "label-studo"],
            r"got 'label-studo'; did you mean 'label-studio'\?",
        ),
        (["--format", "labelme", "--sets", "all"], "--sets: expected --format coco, got labelme"),
        (
            ["--format", "yolo-seg", "--image-path", "x"],
            "--image-path: expected --format labelme or .* got yolo-seg",
        ),
        (["--image-path", "x"], "--image-path: expected --format labelme or label-studio, got coco"),
    ],
)
def test_refusals(tiny_store: Path, tmp_path: Path, more: list[object], message: str) -> None:
    refused = export(tiny_store, tmp_path / "out", *more)
    assert refused.code == 2 and re.search(message, refused.err), refused.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option", [("--format", "coco"), ("--worst", 3), ("--image", "a"), ("--with-images",)]
)
def test_options_of_labels_alone(tiny_store: Path, tmp_path: Path, option: tuple[object, ...]) -> None:
    refused = wsis("export", RUN, "--out", tmp_path / "out", *option, "--store", tiny_store)
    assert refused.code == 2 and f"{option[0]}: expected --pseudo-labels beside it" in refused.err


def test_val_images_have_no_pseudo_labels(tiny_store: Path, tmp_path: Path, labels: Any) -> None:
    other = next(i for i in records_of(tiny_store, "dataset", DATASET).ids if i not in labels)
    refused = export(tiny_store, tmp_path / "out", "--image", other)
    assert refused.code == 2 and f"got {other}, which have no pseudo labels" in refused.err
