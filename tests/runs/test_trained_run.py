"""`wsis predict` and `wsis export` on the finished tiny run: what is written, what fails alone, what is refused."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO

from data_contracts.records import RecordReader
from data_contracts.runs import save_run
from data_contracts.schemas import DETECTIONS, PROPOSALS, PSEUDO_LABELS, Schema
from data_contracts.store import Artefact, Store
from stages.prediction import predictions
from tests.runs.own_photographs import TURNED, encoded, good_folder, odd_folder, scene
from tests.runs.tiny_run import RUN, copy_of, done, record_of, wsis
from wsis.engine.per_image import read_failures
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.paste import paste_masks
from wsis.method.masks.proposal_set import Regions
from wsis.method.prediction.inference import Detector
from wsis.method.prediction.training_objects import TrainingObjects
from wsis.readers.files.images import decode_image

pytestmark = pytest.mark.timeout(300)
CLASSES = ("cup", "fish", "kite", "mushroom")
SCORE = 0.1  # the tiny network is sure of nothing


def records_of(store: Path, key: str, schema: Schema) -> RecordReader:
    entry = record_of(store).entries[key]
    return Store(store).open(entry.stage, entry.fingerprint).records(schema)


def predictions_of(store: Path, before: Path) -> Artefact:
    """The artefact of predictions that one store has and the other has not."""
    (new,) = {p.parent.name for p in (store / "predictions").glob("*/manifest.json")} - {
        p.parent.name for p in (before / "predictions").glob("*/manifest.json")
    }
    return Store(store).open("predictions", new)


@pytest.fixture(scope="module")
def odd(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of everything, what the command said, its store and its folder of output."""
    root = tmp_path_factory.mktemp("predicted")
    sizes, words = odd_folder(root / "photos")
    store = copy_of(tiny_store, root / "store")
    result = wsis("predict", RUN, root / "photos", "--out", root / "out", "--store", store, "--score", SCORE)
    return root, sizes, words, result


# -- predict ----------------------------------------------------------------------------------------------
def test_photographs_that_fail_do_so_alone(odd, tiny_store: Path) -> None:
    root, sizes, words, result = odd
    assert result.code == 1 and "Traceback" not in result.err
    assert (
        f"error: {len(words)} of {len(words) + len(sizes)} photographs failed, the others are done"
        in result.err
    )
    artefact = predictions_of(root / "store", tiny_store)
    failed = read_failures(artefact.path)
    assert set(failed) == set(words)
    for image_id, message in failed.items():
        assert words[image_id].split(": ")[-1] in message and image_id in message
        assert f"  - {message}\n" in result.err
    assert artefact.manifest.counts["images"] == len(sizes)
    assert artefact.manifest.counts["failed"] == list(failed.values())
    assert artefact.manifest.parents["dataset"].stage == "photographs"
    for kind in ("overlays", "labels"):
        found = {str(p.relative_to(root / "out" / kind)) for p in (root / "out" / kind).rglob("*.*")}
        assert found == {f"{image_id}.png" for image_id in sizes}
    assert done(wsis("verify", "--store", root / "store")).out.endswith(" 0 problems\n")


def test_results_and_label_maps_are_the_detections(odd, tiny_store: Path) -> None:
    root, sizes, words, _ = odd
    records = predictions_of(root / "store", tiny_store).records(DETECTIONS)
    results = json.loads((root / "out" / "results.json").read_text())
    names = {"sub/good": "sub/good.JPG", "turned": "turned.jpg"}
    at = overlapping = 0
    for image_id in records.ids:
        if image_id in words:
            continue
        found, size = records[image_id], sizes[image_id]
        sure = found["scores"] >= np.float32(SCORE)
        mine = results[at : at + int(sure.sum())]
        at += len(mine)
        masks = paste_masks(found["masks"][sure], found["boxes"][sure], size)
        expected = np.zeros(size, int)
        for i in range(len(mine))[::-1]:  # the best score is painted last
            expected[masks[i]] = i + 1
        overlapping += int((masks.sum(0) > 1).sum())
        with Image.open(root / "out" / "labels" / f"{image_id}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected)
        for i, (result, mask) in enumerate(zip(mine, masks, strict=True)):
            assert result["image_id"] == result["file_name"] == names.get(image_id, f"{image_id}.png")
            assert result["instance"] == i + 1 and result["category_id"] == found["labels"][sure][i]
            assert result["category_name"] == CLASSES[result["category_id"] - 1]
            assert result["score"] == pytest.approx(float(found["scores"][sure][i]))
            assert result["segmentation"]["size"] == list(size)
            x1, y1, x2, y2 = found["boxes"][sure][i].tolist()
            assert result["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
            reference = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
            assert result["segmentation"]["counts"] == reference
    assert at == len(results) > 10 and overlapping
    assert sizes["turned"] == (60, 40)  # EXIF


def test_pycocotools_takes_the_results_to_their_images_and_to_no_numbered_ones(odd) -> None:
    root, sizes, _, result = odd
    images = COCO(str(root / "out" / "images.json"))
    assert (
        "\nimage_id: file names, as in images.json; for the ids of a COCO file: --ids FILE.json\n"
        in result.out
    )
    assert {(i["height"], i["width"]) for i in images.imgs.values()} == set(sizes.values())
    assert [images.cats[j]["name"] for j in (1, 2, 3, 4)] == list(CLASSES)
    found = images.loadRes(str(root / "out" / "results.json"))
    for annotation in found.anns.values():
        assert images.imgs[annotation["image_id"]]["file_name"] == annotation["file_name"]
    images.dataset["images"] = [{**one, "id": i} for i, one in enumerate(images.dataset["images"], start=1)]
    images.createIndex()
    with pytest.raises(AssertionError, match="Results do not correspond to current coco set"):
        images.loadRes(str(root / "out" / "results.json"))


def test_ids_of_a_coco_file_that_numbers_otherwise(own_store: Path, tmp_path: Path) -> None:
    images = good_folder(tmp_path / "photos", 3)
    tree = {
        "info": {},
        "images": [{"id": number, "file_name": f"val/p{i:02d}.png"} for i, number in enumerate((30, 1, 2))],
        "annotations": [],
        "categories": [{"id": 10 * j, "name": name} for j, name in enumerate(CLASSES[::-1], start=1)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(tree))
    command = ("predict", RUN, images, "--out", tmp_path / "out", "--store", own_store, "--score", SCORE)
    result = done(wsis(*command, "--ids", tmp_path / "truth.json"))
    assert f"image_id and category_id: those of {tmp_path / 'truth.json'}" in result.out
    truth = COCO(str(tmp_path / "truth.json"))
    found = truth.loadRes(str(tmp_path / "out" / "results.json"))
    assert found.anns
    for annotation in found.anns.values():
        assert truth.imgs[annotation["image_id"]]["file_name"] == "val/" + annotation["file_name"]
        assert truth.cats[annotation["category_id"]]["name"] == annotation["category_name"]
    (images / "new.png").write_bytes((images / "p00.png").read_bytes())
    refused = wsis(*command, "--ids", tmp_path / "truth.json")
    assert refused.code == 1 and "of the 4 photographs, got none of 1: new.png" in refused.err


def test_overlays_show_the_photograph_as_it_is_held(odd) -> None:
    root, sizes, *_ = odd
    for image_id, (height, width) in sizes.items():
        with Image.open(root / "out" / "overlays" / f"{image_id}.png") as picture:
            picture.load()
            assert max(picture.size) == 1024 and (picture.width > picture.height) == (width > height)


def test_a_higher_score_reuses_the_detections_and_writes_fewer(odd, tmp_path: Path) -> None:
    root, sizes, _, first = odd
    before = json.loads((root / "out" / "results.json").read_text())
    score = sorted(r["score"] for r in before)[len(before) // 2]
    options = ("--store", root / "store", "--score", score)
    again = wsis("predict", RUN, root / "photos", "--out", tmp_path / "out", *options)
    assert again.code == 1 and f"of {len(sizes)} photographs (was there already): " in again.out
    assert again.err[again.err.index("error: ") :] == first.err[first.err.index("error: ") :]
    after = json.loads((tmp_path / "out" / "results.json").read_text())
    assert after == [r for r in before if r["score"] >= score] and 0 < len(after) < len(before)


def test_interrupted_it_goes_on_and_writes_the_same(
    own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, calls, predict = good_folder(tmp_path / "photos", 5), [], Detector.predict

    def interrupted(self: Detector, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # in the second shard of two
            raise KeyboardInterrupt
        return predict(self, *arguments)

    command = ("predict", RUN, images, "--store", own_store, "--score", SCORE)
    monkeypatch.setattr(Detector, "predict", interrupted)
    stopped = wsis(*command, "--out", tmp_path / "out")
    assert stopped.code == 130 and "interrupted; what is committed is kept" in stopped.err
    assert not (tmp_path / "out" / "results.json").exists()
    resumed = done(wsis(*command, "--out", tmp_path / "out"))
    assert "2 of 5 images are there already" in resumed.err and len(calls) == 4 + 3
    done(wsis(*command, "--out", tmp_path / "whole", "--store", copy_of(own_store, tmp_path / "other")))
    written = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.*"))
    assert len(written) == 12
    for name in written:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_earlier_iteration_and_settings(own_store: Path, tmp_path: Path) -> None:
    images = good_folder(tmp_path / "photos", 1)
    record = record_of(own_store)
    record.config_name = "quick"
    save_run(Store(own_store), record)
    more = ("--store", own_store, "--iteration", 1, "--score", 0, "--set", "predictions.max_detections=3")
    result = done(wsis("predict", RUN, images, "--out", tmp_path / "out", *more))
    assert f"the network knows {len(CLASSES)} classes: {', '.join(CLASSES)}\n" in result.err
    assert "predictions@1: " in result.err
    assert "3 instances of score 0 or more, by outer iteration 1, as asked for: " in result.out
    assert (
        result.out.count("quick only shows that everything works: masks of so short a training say little\n")
        == 1
    )
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 3


def test_all_photographs_fail(own_store: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").write_bytes(encoded(scene(40, 60), "JPEG", TURNED)[:-200])
    refused = wsis("predict", RUN, tmp_path / "photos", "--out", tmp_path / "out", "--store", own_store)
    assert refused.code == 1 and "error: 1 of 1 photograph failed" in refused.err
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == []


def test_a_labelled_data_set_tolerates_nothing(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes, where: str) -> Any:
        if where == "val_00001":
            return decode_image(data[:-30], where)
        return decode_image(data, where)

    monkeypatch.setattr("wsis.views.dataset.decode_image", broken)
    refused = wsis(
        "stage", "predictions.val", "--run", RUN, "--iteration", 2, "--force", "--store", own_store
    )
    assert refused.code == 1 and "\nerror: val_00001: the image is cut short" in refused.err


# -- export -----------------------------------------------------------------------------------------------
def test_mmdetection_loads_the_exported_model_with_equal_results(
    odd, tiny_store: Path, tmp_path: Path
) -> None:
    from mmdet.apis import (  # after wsis.method.prediction, which installs operators
        inference_detector,
        init_detector,
    )

    root, *_ = odd
    result = done(wsis("export", RUN, "--out", tmp_path / "model", "--store", tiny_store))
    model, weights, *lines = result.out.splitlines()
    assert lines[0].startswith("import wsis.method.prediction ") and f"init_detector({model!r}, " in lines[1]
    assert lines[2].endswith("with wsis installed beside it for the backbone EfficientNetLite0")
    assert "model of outer iteration 2, the last; --iteration takes another" in result.err
    assert [Path(model).name, Path(weights).name] == ["model.py", "weights.pth"]
    carried = Config.fromfile(model).training_objects
    made = Store(tiny_store).open("prediction", record_of(tiny_store).entries["prediction@2"].fingerprint)
    assert TrainingObjects(**carried) == predictions.objects_of(made)
    network = init_detector(model, weights, device="cpu")
    assert tuple(network.dataset_meta["classes"]) == CLASSES
    image = decode_image((root / "photos" / "turned.jpg").read_bytes(), "turned")
    theirs = inference_detector(network, np.ascontiguousarray(image[..., ::-1])).pred_instances
    ours = predictions_of(root / "store", tiny_store).records(DETECTIONS)["turned"]
    assert len(ours["scores"]) == 10  # the run's max_detections; the plain config's is 100
    assert ours["scores"] == pytest.approx(theirs.scores[:10].numpy(), abs=1e-4)
    assert (ours["labels"] - 1).tolist() == theirs.labels[:10].tolist()


@pytest.mark.parametrize(("sets", "t"), [("frequent", 2), ("all", 1)])
def test_pseudo_labels_are_coco_instances(tiny_store: Path, tmp_path: Path, sets: str, t: int) -> None:
    more = ("--pseudo-labels", "--sets", sets, "--iteration", t, "--store", tiny_store)
    result = done(wsis("export", RUN, "--out", tmp_path / "out", *more))
    coco = COCO(str(tmp_path / "out" / "pseudo_labels.json"))
    labels = records_of(tiny_store, f"pseudo_labels@{t}", PSEUDO_LABELS)
    proposals = records_of(tiny_store, "proposals", PROPOSALS)
    assert f"{len(coco.anns)} instances in {len(coco.imgs)} image entries: " in result.out
    assert f"pseudo labels of outer iteration {t}, as asked for" in result.err
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert (
        coco.dataset["info"]["outer_iteration"] == t and "image labels" in coco.dataset["info"]["supervision"]
    )
    several = Counter(entry["source_image"] for entry in coco.imgs.values())
    for image_id in labels.ids:
        samples = SampleSet.from_record(labels[image_id])
        entries = [e for e in coco.imgs.values() if e["source_image"] == image_id]
        wanted = samples.multiplicities.tolist() if sets == "all" else [samples.multiplicities.max()]
        assert [e["multiplicity"] for e in entries] == wanted
        assert [e["weight"] for e in entries] == [n / 2 for n in wanted]  # k: 2
        for index, entry in enumerate(entries):
            assert (entry["file_name"], entry["height"], entry["width"]) == (f"{image_id}.png", 64, 80)
            annotations = coco.loadAnns(coco.getAnnIds(entry["id"]))
            masks, classes = (
                samples.masks(index, Regions.from_record(proposals[image_id])),
                samples.unique(index)[1],
            )
            assert [a["category_id"] for a in annotations] == classes.tolist()
            for annotation, mask in zip(annotations, masks, strict=True):
                reference = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                assert coco.annToRLE(annotation)["counts"] == reference["counts"].decode()
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
                assert annotation["bbox"] == box and annotation["area"] == mask.sum()
    assert (max(several.values()) > 1) == (sets == "all")


@pytest.mark.parametrize("sets", ["frequent", "all"])
def test_pseudo_labels_keep_the_ids_of_the_users_annotations(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sets: str
) -> None:
    """As a COCO data set has them: here numbered from 900 down, classes in tens."""
    ids = records_of(tiny_store, "pseudo_labels@2", PSEUDO_LABELS).ids
    numbers = {image_id: 900 - i for i, image_id in enumerate(ids)}
    monkeypatch.setattr("wsis.apps.exports.source_ids", lambda dataset: numbers)
    categories = {"train": {name: 10 * j for j, name in enumerate(CLASSES, start=1)}}
    monkeypatch.setattr("wsis.apps.exports.source_categories", lambda dataset: categories)
    more = ("--pseudo-labels", "--sets", sets, "--store", tiny_store)
    done(wsis("export", RUN, "--out", tmp_path / "out", *more))
    coco = COCO(str(tmp_path / "out" / "pseudo_labels.json"))
    assert coco.getCatIds() == [10, 20, 30, 40] and set(coco.catToImgs) <= {10, 20, 30, 40}
    for entry in coco.imgs.values():
        own = numbers[entry["source_image"]]
        assert entry["id"] == own if sets == "frequent" else re.fullmatch(rf"{own}#\d+", entry["id"])
        assert entry.get("source_id", own) == own
    assert {a["image_id"] for a in coco.anns.values()} <= set(coco.imgs)


# -- refusals ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "tony", "photos"], 1, r"no run 'tony' in .*; runs there: tiny"),
        (["predict", RUN, "none"], 1, "expected a folder or an image file, got none"),
        (["predict", RUN, "."], 2, r"--out: expected a place outside the photographs in \., got out"),
        (["predict", RUN, "photos", "--iteration", 7], 2, r"holds no 'prediction@7'; it holds dataset, "),
        (["predict", RUN, "photos", "--score", 2], 2, "Invalid value for '--score'"),
        (["predict", RUN, "photos", "--set", "predictions.nms=1"], 2, r"predictions\.nms: unknown key"),
        (
            ["predict", RUN, "photos", "--tiles", "some"],
            2,
            r"predictions\.tiles: expected auto, whole or a whole number .*, got 'some'",
        ),
        (
            ["predict", RUN, "photos", "--tiles", 500, "--size", 700],
            2,
            r"size: expected null beside a number",
        ),
        (["export", "tony"], 1, r"no run 'tony' in .*; runs there: tiny"),
        (["export", RUN, "--sets", "all"], 2, "--sets: expected --pseudo-labels beside it"),
        (["export", RUN, "--pseudo-labels", "--iteration", 9], 2, r"holds no 'pseudo_labels@9'; it holds "),
    ],
)
def test_refusals(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    good_folder(tmp_path / "photos", 1)
    refused = wsis(*arguments, "--out", "out", "--store", tiny_store)
    assert refused.code == code and re.search(message, refused.err), refused.err
    assert "Traceback" not in refused.err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_folder_that_cannot_be_made(tiny_store: Path, tmp_path: Path, command: str) -> None:
    images = good_folder(tmp_path / "photos", 1)
    (tmp_path / "file").touch()
    more = [images] if command == "predict" else []
    refused = wsis(command, RUN, *more, "--out", tmp_path / "file" / "out", "--store", tiny_store)
    assert refused.code == 1 and f"error: cannot create {tmp_path / 'file' / 'out'}" in refused.err


def test_a_run_without_a_prediction_network(own_store: Path, tmp_path: Path) -> None:
    record = record_of(own_store)
    for key in [k for k in record.entries if k.startswith("prediction@")]:
        del record.entries[key]
    save_run(Store(own_store), record)
    images = good_folder(tmp_path / "photos", 1)
    for command in (["predict", RUN, images], ["export", RUN]):
        refused = wsis(*command, "--out", tmp_path / "out", "--store", own_store)
        assert refused.code == 2 and "run tiny holds no prediction yet; it holds dataset, " in refused.err
    assert not (tmp_path / "out").exists() and not (own_store / "photographs").exists()
    done(wsis("export", RUN, "--pseudo-labels", "--out", tmp_path / "out", "--store", own_store))


def test_a_truncated_checkpoint(own_store: Path, tmp_path: Path) -> None:
    fingerprint = record_of(own_store).entries["prediction@2"].fingerprint
    weights = own_store / "prediction" / fingerprint / "weights.pth"
    weights.write_bytes(weights.read_bytes()[:-1000])
    images = good_folder(tmp_path / "photos", 1)
    for command in (["predict", RUN, images], ["export", RUN]):
        refused = wsis(*command, "--out", tmp_path / "out", "--store", own_store)
        assert refused.code == 1 and re.search(r"weights\.pth: expected \d+ bytes, got \d+", refused.err)
    assert not (tmp_path / "out").exists()
