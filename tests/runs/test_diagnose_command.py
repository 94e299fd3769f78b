"""`wsis diagnose` on the finished tiny run: agrees with the evaluation, writes nothing, says what is not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_contracts.records import RecordReader
from data_contracts.runs import save_run
from data_contracts.schemas import GROUND_TRUTH, PROPOSALS
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, done, record_of, wsis
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import Regions

pytestmark = pytest.mark.timeout(300)


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size)
        for p in sorted(folder.rglob("*"))
    }


def diagnosis(store: Path, *options: object) -> dict:
    return json.loads(done(wsis("diagnose", RUN, "--store", store, "--json", *options)).out)


def without(store: Path, *beginnings: str, **config: object) -> None:
    """Take nodes out of the run's record, as if they had not been computed yet."""
    record = record_of(store)
    for key in [k for k in record.entries if k.startswith(beginnings)]:
        del record.entries[key]
    record.config |= config
    save_run(Store(store), record)


@pytest.fixture(scope="module")
def whole(tiny_store: Path) -> dict:
    before = state_of(tiny_store)
    found = diagnosis(tiny_store)
    assert state_of(tiny_store) == before
    return found


def reader(store: Path, key: str, schema) -> RecordReader:
    entry = record_of(store).entries[key]
    return Store(store).open(entry.stage, entry.fingerprint).records(schema)


def test_pseudo_labels_as_the_evaluation_counts_them(whole: dict, tiny_store: Path) -> None:
    entries = record_of(tiny_store).entries
    for row in whole["pseudo_labels"]:
        entry = entries[f"evaluation.pseudo_labels@{row['iteration']}"]
        artefact = Store(tiny_store).open(entry.stage, entry.fingerprint)
        expected = json.loads(artefact.file("instance_quality.json").read_text())
        mean = expected.pop("mean_best_iou")
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["mean_over_k"] == pytest.approx(mean) and row["best_of_k"] >= mean
    assert [row["iteration"] for row in whole["pseudo_labels"]] == [1, 2]


def test_the_best_proposal_of_each_instance_as_dense_masks_say(whole: dict, tiny_store: Path) -> None:
    truths, proposals = (
        reader(tiny_store, "ground_truth", GROUND_TRUTH),
        reader(tiny_store, "proposals", PROPOSALS),
    )
    best = []
    for image_id in (i for i in truths.ids if i.startswith("train")):
        regions, truth = Regions.from_record(proposals[image_id]), GroundTruth.from_record(truths[image_id])
        masks = regions.masks(np.arange(len(regions)))
        for true in rle.decode_many(truth.counts, truth.size):
            best.append(((masks & true).sum(axis=(1, 2)) / (masks | true).sum(axis=(1, 2))).max())
    groups = {name: entry["groups"][0] for name, entry in whole["proposals"].items()}
    assert groups["all"]["best_iou"] == pytest.approx(sum(best) / len(best))
    assert groups["all"]["recall"]["0.50"] == pytest.approx(sum(b >= 0.5 for b in best) / len(best))
    assert groups["all"]["best_iou"] >= groups["filtered"]["best_iou"] >= groups["limited"]["best_iou"] > 0
    assert whole["proposals"]["limited"]["per_image"] <= 20  # conditional.max_proposals
    first = [whole["proposals"][f"first_{n}"]["groups"][0]["best_iou"] for n in (100, 300, 1000)]
    assert first == [pytest.approx(groups["all"]["best_iou"])] * 3  # there are 40 at most
    assert "pool" not in whole["proposals"] and whole["boxes"] is None


def test_every_stage_is_measured(whole: dict) -> None:
    assert whole["absent"] == [] and whole["status"] == "completed"
    assert whole["data"]["train"]["images"] == 12 and whole["data"]["val"]["images"] == 8
    seeds = whole["seeds"]
    assert sum(seeds[n] for n in ("inside", "other_class", "background", "void")) == pytest.approx(1)
    assert sum(seeds["classes_with"].values()) == pytest.approx(1)
    assert [d["key"] for d in whole["detections"]] == [
        "predictions.train@1",
        "predictions.val@1",
        "predictions.val@2",
    ]
    first, second = (fall["steps"] for fall in whole["waterfalls"])
    assert {s["step"] for s in first} - {s["step"] for s in second} == {
        "target from a seed",
        "prediction on train",
    }
    for steps in (first, second):
        assert sum(s["loss"] or 0 for s in steps) == pytest.approx(1 - steps[-1]["iou"])


def test_text_and_file(tiny_store: Path, tmp_path: Path, whole: dict) -> None:
    result = done(
        wsis("diagnose", RUN, "--store", tiny_store, "--per-class", "--out", tmp_path / "d" / "x.json")
    )
    assert json.loads((tmp_path / "d" / "x.json").read_text()) == whole
    for text in (
        "Where accuracy is lost",
        "\nmushroom ",
        "predictions.train@1",
        "VOC mAP",
    ):
        assert text in result.out
    assert whole["conclusion"] in " ".join(result.out.split())
    assert max(map(len, result.out.splitlines())) <= 80
    assert "\nmushroom " not in done(wsis("diagnose", RUN, "--store", tiny_store)).out


def test_candidates_before_selection(tiny_store: Path) -> None:
    """Of the images asked for alone, from the photographs: they hold every proposal, so none is better."""
    found = diagnosis(tiny_store, "--pool", "--images", 3, "--split", "train")
    sets = found["proposals"]
    assert sets["pool"]["per_image"] > sets["all"]["per_image"]
    assert sets["pool"]["groups"][0]["best_iou"] >= sets["all"]["groups"][0]["best_iou"]
    steps = [step["step"] for step in found["waterfalls"][0]["steps"]]
    assert steps[1:4] == ["best of superpixels", "best in the pool", "best proposal"]
    everyone = found["groups"]["train"][0]["iou"]
    assert everyone["superpixels"] >= everyone["pool"] >= everyone["proposal"] > 0


def test_imported_proposals_have_no_pool(own_store: Path, tmp_path: Path) -> None:
    without(own_store, "nothing", proposals={"source": "coco_results", "file": str(tmp_path / "p.json")})
    refused = wsis("diagnose", RUN, "--store", own_store, "--pool")
    assert refused.code == 2 and "got proposals.source=coco_results" in refused.err


def test_a_part_of_the_images(tiny_store: Path) -> None:
    few = diagnosis(tiny_store, "--images", 3, "--split", "train")
    assert few["data"]["train"] | {"instances": 0} == {"images": 3, "of": 12, "instances": 0}
    assert few["data"]["val"]["images"] == 0 and [d["key"] for d in few["detections"]] == [
        "predictions.train@1"
    ]
    named = diagnosis(tiny_store, "--image", "val_00003.png", "--image", "train_0000[12]")
    assert [named["data"][one]["images"] for one in ("train", "val")] == [2, 1]
    refused = wsis("diagnose", RUN, "--store", tiny_store, "--image", "val_00003", "--images", 2)
    assert refused.code == 2 and "--images: expected without --image, got both" in refused.err
    only = diagnosis(tiny_store, "--split", "val")
    assert only["seeds"] is None and only["pseudo_labels"] == [] and len(only["detections"]) == 2


def test_an_unfinished_run(own_store: Path, whole: dict) -> None:
    """After iteration 1's pseudo labels; then before the proposals; then before anything to measure."""
    without(own_store, "prediction", "conditional@2", "pseudo_labels@2", "evaluation")
    found = diagnosis(own_store)
    assert found["pseudo_labels"] == whole["pseudo_labels"][:1] and found["detections"] == []
    assert "pseudo_labels@2" in found["absent"] and "predictions.val@1" in found["absent"]
    assert [s["step"] for s in found["waterfalls"][0]["steps"]][-1] == "mean over K"
    without(own_store, "conditional", "pseudo_labels")
    found = diagnosis(own_store)  # targets of seeds by the configuration
    assert found["groups"]["train"][0]["iou"]["seed_target"] == pytest.approx(
        whole["groups"]["train"][0]["iou"]["seed_target"]
    )
    assert str(found["conclusion"]).startswith("Before the first outer iteration: most is lost from")
    without(own_store, "prm", "proposals")
    text = done(wsis("diagnose", RUN, "--store", own_store)).out
    assert "not there yet: proposals, prm_seeds, pseudo_labels@1,2, predictions.train@1" in text
    assert text.endswith("Nothing is there yet that could lose accuracy.\n")


def test_a_run_without_ground_truth(own_store: Path) -> None:
    without(own_store, "ground_truth", "evaluation")
    refused = wsis("diagnose", RUN, "--store", own_store)
    assert refused.code == 1 and f"no ground truth yet: wsis stage ground_truth --run {RUN}" in refused.err
    without(own_store, "ground_truth", evaluate=False)
    refused = wsis("diagnose", RUN, "--store", own_store)
    assert refused.code == 2 and f"wsis stage ground_truth --run {RUN} --set evaluate=true" in refused.err
    done(wsis("stage", "ground_truth", "--run", RUN, "--set", "evaluate=true", "--store", own_store))
    assert diagnosis(own_store)["pseudo_labels"]


def test_a_damaged_artefact_is_named(own_store: Path) -> None:
    entry = record_of(own_store).entries["pseudo_labels@2"]
    victim = next((own_store / entry.stage / entry.fingerprint).rglob("c/0"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    refused = wsis("diagnose", RUN, "--store", own_store)
    assert refused.code == 1 and f"{entry.stage}/{entry.fingerprint}" in refused.err
    assert "Traceback" not in refused.err


def test_bad_options(tiny_store: Path, tmp_path: Path) -> None:
    assert wsis("diagnose", "nobody", "--store", tiny_store).code == 1
    assert "no run 'nobody'" in wsis("diagnose", "nobody", "--store", tiny_store).err
    assert wsis("diagnose", RUN, "--images", 0, "--store", tiny_store).code == 2
    assert wsis("diagnose", RUN, "--split", "test", "--store", tiny_store).code == 2
    refused = wsis("diagnose", RUN, "--out", tmp_path, "--store", tiny_store)
    assert refused.code == 2 and "--out: expected the name of a file" in refused.err


# -- report and figures -----------------------------------------------------------------------------------
def test_the_report_with_its_diagnosis(tiny_store: Path, tmp_path: Path, whole: dict) -> None:
    options = ("--store", tiny_store, "--images", 0)
    done(wsis("report", RUN, "--diagnose", "--out", tmp_path / "with", *options))
    page = (tmp_path / "with" / "report.html").read_text()
    for text in ("<h2>Diagnosis</h2>", whole["conclusion"], "where accuracy is lost", "prediction on val"):
        assert text in page
    done(wsis("report", RUN, "--out", tmp_path / "without", *options))
    assert "<h2>Diagnosis</h2>" not in (tmp_path / "without" / "report.html").read_text()


def test_a_report_written_again_keeps_a_diagnosis_of_the_same_artefacts(
    own_store: Path, tmp_path: Path, whole: dict
) -> None:
    command = ("report", RUN, "--out", tmp_path, "--store", own_store, "--images", 0)
    done(wsis(*command, "--diagnose"))
    page = (tmp_path / "report.html").read_text()
    again = done(wsis(*command))
    assert "with the diagnosis of the page before: it is of the same artefacts" in again.err
    assert (tmp_path / "report.html").read_text() == page and whole["conclusion"] in page

    kept = (tmp_path / "diagnosis.json").read_bytes()
    (tmp_path / "diagnosis.json").write_bytes(kept[:100])
    said = done(wsis(*command)).err
    assert "without a diagnosis: " in said and "diagnosis.json cannot be read" in said
    assert "<h2>Diagnosis</h2>" not in (tmp_path / "report.html").read_text()

    (tmp_path / "diagnosis.json").write_bytes(kept)
    record = record_of(own_store)
    del record.entries["evaluation.prediction@2"]
    save_run(Store(own_store), record)
    said = done(wsis(*command)).err
    assert "is of other artefacts" in said and f"wsis report {RUN} --diagnose makes it anew" in said
    assert "<h2>Diagnosis</h2>" not in (tmp_path / "report.html").read_text()


def test_figures_are_written_beside_the_store(tiny_store: Path, tmp_path: Path) -> None:
    before = state_of(tiny_store)
    out = done(wsis("figures", RUN, "--store", tiny_store, "--out", tmp_path / "f", "--images", 2)).out
    names = [Path(line).name for line in out.splitlines()]
    assert len(names) == 8
    assert {"figure2.png", "figure4.png", "sheet_train.png", "sheet_val.png"} <= set(names)
    assert sorted(names) == sorted(p.name for p in (tmp_path / "f").iterdir())
    named = ("--image", "train_00003", "--image", "val_00002")
    out = done(wsis("figures", RUN, "--store", tiny_store, "--out", tmp_path / "g", *named)).out
    assert out.count("train_00003") == out.count("val_00002") == 1 and len(out.splitlines()) == 4
    assert state_of(tiny_store) == before


def test_figures_that_cannot_be_drawn(own_store: Path, tmp_path: Path) -> None:
    command = ("figures", RUN, "--store", own_store, "--out", tmp_path / "f")
    refused = wsis(*command, "--image", "nobody")
    assert refused.code == 2 and "--image: expected the name of one of 20 images, or a pattern" in refused.err
    refused = wsis(*command, "--image", "val_00002", "--images", 2)
    assert refused.code == 2 and "--images: expected without --image" in refused.err
    without(own_store, "pseudo_labels", "prediction")
    refused = wsis(*command)
    assert refused.code == 2 and "expected pseudo labels (train) or predictions (val)" in refused.err
