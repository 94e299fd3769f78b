"""`wsis correct` on the finished tiny run: corrected images are certain in the iterations that follow, others go on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsis as package
from data_contracts.runs import save_run
from data_contracts.schemas import PSEUDO_LABELS
from data_contracts.store import Store
from tests.runs.tiny_run import RUN, TINY, copy_of, done, fingerprints, manifest_of, record_of, wsis
from wsis.method.masks import rle
from wsis.views.run import Run

pytestmark = pytest.mark.timeout(300)


def exported(store: Path, out: Path) -> dict[str, Any]:
    """The pseudo labels of the last iteration, as a person gets them to correct."""
    done(wsis("export", RUN, "--pseudo-labels", "--out", out, "--store", store))
    tree: dict[str, Any] = json.loads((out / "pseudo_labels.json").read_text())
    return tree


def corrected(tree: dict[str, Any], out: Path) -> tuple[Path, list[str]]:
    """Three images: one as a rectangle and a disc, one as nothing, one as it was; the file, and their ids."""
    images = tree["images"][:3]
    height, width = images[0]["height"], images[0]["width"]
    masks = np.zeros((2, height, width), bool)
    masks[0, 5:30, 7:40] = True
    y, x = np.mgrid[:height, :width]
    masks[1] = (y - 45) ** 2 + (x - 60) ** 2 < 100
    drawn = [
        {
            "id": 1000 + i,
            "image_id": images[0]["id"],
            "category_id": tree["categories"][i]["id"],
            "segmentation": {"size": [height, width], "counts": rle.encode(mask).decode()},
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
        }
        for i, mask in enumerate(masks)
    ]
    kept = [a for a in tree["annotations"] if a["image_id"] == images[2]["id"]]
    path = out / "corrected.json"
    path.write_text(json.dumps({**tree, "images": images, "annotations": [*drawn, *kept]}))
    return path, [image["source_image"] for image in images]


@pytest.fixture(scope="module")
def gone_on(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A copy of the run that was corrected after its two iterations."""
    folder = tmp_path_factory.mktemp("corrected")
    store = copy_of(tiny_store, folder / "store")
    path, ids = corrected(exported(store, folder), folder)
    result = done(wsis("correct", RUN, path, "--store", store))
    return store, path, ids, result


def test_what_was_there_stays_and_one_iteration_more_learns_from_it(gone_on, tiny_store: Path) -> None:
    store, _, _, result = gone_on
    before, after = fingerprints(tiny_store), fingerprints(store)
    assert before.items() <= after.items()
    new = after.keys() - before.keys()
    assert new >= {"corrections", "corrected_proposals", "pseudo_labels@3", "prediction@3"}
    assert "3 of 12 training images that show a class have given masks (" in result.err
    assert result.err.count("3 of 12") == 1
    assert "1 of the images without any: negatives from now on" in result.err
    assert "iterations 1 to 2 stay, iteration 3 is the first" in result.err
    assert record_of(store).config["outer_iterations"] == 3


def test_corrected_images_are_certain_to_the_pixel(gone_on) -> None:
    store, path, ids, _ = gone_on
    labels = package.open_run(RUN, store=str(store)).pseudo_labels(3)
    tree = json.loads(path.read_text())
    for image, image_id in zip(tree["images"], ids, strict=True):
        (only,) = labels[image_id]
        drawn = [a for a in tree["annotations"] if a["image_id"] == image["id"]]
        size = image["height"], image["width"]
        counts = [a["segmentation"]["counts"].encode() for a in drawn]
        np.testing.assert_array_equal(only.masks, rle.decode_many(counts, size))
        names = {c["id"]: c["name"] for c in tree["categories"]}
        assert list(only.classes) == [names[a["category_id"]] for a in drawn]
        assert only.share == 1.0


def test_other_images_are_sampled_as_ever(gone_on) -> None:
    store, _, ids, _ = gone_on
    entry = record_of(store).entries["pseudo_labels@3"]
    records = Store(store).open(entry.stage, entry.fingerprint).records(PSEUDO_LABELS)
    others = [i for i in records.ids if i not in ids]
    assert len(others) == 9 and max(int(records[i]["distinct"][0]) for i in others) > 1
    assert manifest_of(store, "pseudo_labels@3").counts["images_with_given_masks"] == 3


def test_the_lineage_says_masks_from_then_on(gone_on) -> None:
    store, *_ = gone_on
    said = "masks of some training images"
    assert said in manifest_of(store, "prediction@3").supervision
    assert said not in manifest_of(store, "prediction@2").supervision


def test_results_say_what_each_share_learned_from_and_how_good_it_is(gone_on, tiny_store: Path) -> None:
    store, *_ = gone_on
    learned = "training images, by what they learn from: iterations 1 to 2: labels 12; "
    learned += "iteration 3: labels 9, given masks 3"
    shown = done(wsis("results", RUN, "--store", store)).out
    assert learned in " ".join(shown.split())
    assert "images: val 8, train 12 or 3 or 9" in shown
    rows = json.loads(done(wsis("results", RUN, "--json", "--store", store)).out)
    assert "given masks, weak labels: pseudo labels of images that learn from either" in shown
    kinds = [(row["kind"], row["images"]) for row in rows if row["outer_iteration"] == 3]
    assert kinds == [("pseudo_labels", 12), ("given_masks", 3), ("weak_labels", 9), ("prediction", 8)]
    assert [row for row in rows if (row["outer_iteration"] or 0) < 3] == json.loads(
        done(wsis("results", RUN, "--json", "--store", tiny_store)).out
    )
    diagnosed = done(wsis("diagnose", RUN, "--split", "train", "--store", store)).out
    assert learned in " ".join(diagnosed.split())
    assert "\ngiven masks  " in diagnosed and "\nweak labels  " in diagnosed
    plain = done(wsis("results", RUN, "--store", tiny_store)).out
    assert "learn from" not in plain and "weak labels" not in plain


def test_everything_that_reads_a_run_reads_this_one(gone_on, tmp_path: Path) -> None:
    store, _, ids, _ = gone_on
    for command in (
        ("report", RUN),
        ("figures", RUN),
        ("show", RUN),
        ("diagnose", RUN, "--images", 4),
        ("verify",),
    ):
        more = ("--out", tmp_path / command[0]) if command[0] in ("report", "figures") else ()
        done(wsis(*command, *more, "--store", store))
    tree = exported(store, tmp_path)
    first = [a for a in tree["annotations"] if a["image_id"] == tree["images"][0]["id"]]
    assert len(first) == 2 and tree["images"][0]["source_image"] == ids[0]


def test_columns_fit_the_long_names_of_corrected_stages(gone_on) -> None:
    store, *_ = gone_on
    lines = done(wsis("show", RUN, "--store", store)).out.splitlines()
    head = next(line for line in lines if line.startswith("stage "))
    rows = [line for line in lines if line.split(" ")[0] in fingerprints(store)]
    assert any(" corrected_proposals/" in line for line in rows)
    assert {len(line) for line in rows} == {len(head)}
    assert {line[head.index("artefact") - 2 :][:2] for line in rows} == {"  "}


def test_it_goes_on_without_the_file_and_without_doing_anything_twice(gone_on, tmp_path: Path) -> None:
    store, path, *_ = gone_on
    again = copy_of(store, tmp_path / "store")
    hidden = path.rename(path.with_suffix(".away"))
    try:
        result = done(wsis("run", "--name", RUN, "--store", again))
        assert "not at hand; the run goes on from what the store has of it" in result.err
        assert fingerprints(again) == fingerprints(store)
        assert all(entry.reused for entry in record_of(again).entries.values())
    finally:
        hidden.rename(path)


def test_the_given_masks_are_counted_and_the_command_of_before_is_told_of_them(gone_on) -> None:
    store, *_ = gone_on
    line = "data.masks: 3 of 12 training images that show a class have given masks; training learns from them as "
    assert (
        f"{line}certain, from iteration 3 on"
        in done(wsis("run", "--name", RUN, "--dry-run", "--store", store)).err
    )
    refused = wsis("run", TINY, "--name", RUN, "--store", store)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert f"run {RUN!r} was given masks (wsis correct, data.masks; iteration 3 is the first" in refused.err
    assert f"`wsis run --name {RUN}` goes on with them" in refused.err and "→" not in refused.err
    other = wsis("run", TINY, "--name", RUN, "--set", "conditional.k=3", "--store", store)
    assert other.code == 2 and "conditional.k: " in other.err and "data.masks: True → False" in other.err
    done(wsis("run", TINY, "--name", RUN, "--replace", "--dry-run", "--store", store))


def test_the_command_reads_the_file_once_and_says_once_what_it_holds(
    gone_on, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's check reads it where no command has; the stage, in a process that may be another, reads it itself."""
    _, path, *_ = gone_on

    def again(*arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("wsis.runs.plan_checks.read_given", again)
    said = done(wsis("correct", RUN, path, "--dry-run", "--store", tiny_store)).err
    assert said.count("3 of 12 training images that show a class have given masks") == 1


def test_a_second_correction_is_laid_over_the_first(gone_on, tmp_path: Path) -> None:
    store, path, ids, _ = gone_on
    again = copy_of(store, tmp_path / "store")
    tree = json.loads(path.read_text())
    second = tmp_path / "second.json"
    first = tree["images"][0]
    second.write_text(json.dumps({**tree, "images": [first], "annotations": tree["annotations"][:1]}))
    result = done(wsis("correct", RUN, second, "--store", again, "--dry-run"))
    assert result.err.count("3 of 12 training images that show a class have given masks") == 1
    assert "pseudo_labels@3" in result.out
    assert fingerprints(again) == fingerprints(store)
    done(wsis("correct", RUN, second, "--store", again))
    (only,) = package.open_run(RUN, store=str(again)).pseudo_labels(3)[ids[0]]
    assert len(only.masks) == 1 and record_of(again).config["outer_iterations"] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t["categories"][0].update(name="dragon"),
            "unknown class 'dragon'.*; expected one of cup, fish",
        ),
        (lambda t: t["categories"][0].update(name="cups"), r"unknown class 'cups'.*; did you mean 'cup'\?"),
        (lambda t: t["images"][0].update(height=1), r"expected height and width \(64, 80\)"),
        (
            lambda t: [i.update(file_name="elsewhere/none.png") for i in t["images"]],
            "expected training images that show a class, got 3 others",
        ),
        (lambda t: t["annotations"][0]["segmentation"].update(counts="1"), "segmentation"),
        (lambda t: t.pop("images"), "field 'images': expected a list"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_changes(gone_on, tmp_path, change, said) -> None:
    import re

    store, path, *_ = gone_on
    tree = json.loads(path.read_text())
    change(tree)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(tree))
    before = record_of(store)
    result = wsis("correct", RUN, bad, "--store", store)
    assert result.code != 0 and re.search(said, result.err), result.err
    assert str(bad) in result.err and "data.masks" not in result.err
    assert record_of(store) == before


def test_masks_against_the_label_are_said(gone_on, tiny_store: Path, tmp_path: Path) -> None:
    store, path, ids, _ = gone_on
    dataset = Run.load(Store(tiny_store), RUN)
    labelled = {i: {dataset.classes[n - 1] for n in dataset.images[i]["labels"].tolist()} for i in ids}
    tree = json.loads(path.read_text())
    tree["annotations"] = tree["annotations"][:1]
    agreeing, other = sorted(labelled[ids[0]])[0], sorted({*dataset.classes} - labelled[ids[0]])[0]
    for name in (agreeing, other):
        tree["categories"] = [{"id": tree["annotations"][0]["category_id"], "name": name}]
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(tree))
    known, place = ", ".join(n for n in dataset.classes if n in labelled[ids[0]]), ("--dry-run", "--store")
    said = done(wsis("correct", RUN, tmp_path / f"{other}.json", *place, tiny_store)).err
    assert (
        f"warning: given masks of classes that the label does not name, in 1 of {len(ids)} images: " in said
    )
    assert f"(mask of {other}, labelled {known})" in said and "mend the one that is wrong" in said
    assert "warning" not in done(wsis("correct", RUN, tmp_path / f"{agreeing}.json", *place, tiny_store)).err
    (new,) = {"cup", "fish"} - labelled[ids[0]]  # of the two masks that `corrected` draws
    (warned,) = manifest_of(store, "corrections").counts["warnings"]
    assert f"mask of {new}, labelled {known}" in warned


def test_a_run_at_work_is_not_corrected(gone_on, tmp_path: Path) -> None:
    store, path, *_ = gone_on
    again = Store(copy_of(store, tmp_path / "store"))
    record = record_of(again.root)
    record.status = "running"
    save_run(again, record)
    result = wsis("correct", RUN, path, "--store", again.root)
    assert result.code == 2 and "expected one that is not at work" in result.err
    assert record_of(again.root) == record


def test_masks_from_the_start_are_mixed_supervision_in_one_run(
    gone_on, tiny_store: Path, tmp_path: Path
) -> None:
    _, path, ids, _ = gone_on
    mixed = copy_of(tiny_store, tmp_path / "store")
    tiny = Path(__file__).with_name("tiny.yaml")
    refused = wsis("run", tiny, "--store", mixed, "--set", f"data.masks={path}")
    assert refused.code == 2 and "data.masks: False → True" in refused.err
    done(wsis("run", tiny, "--name", "mixed", "--store", mixed, "--set", f"data.masks={path}"))
    labels = package.open_run("mixed", store=str(mixed)).pseudo_labels(1)
    assert all(len(labels[i]) == 1 for i in ids)
    shared = fingerprints(mixed, "mixed").items() & fingerprints(tiny_store).items()
    assert {"dataset", "proposals", "prm_classifier", "prm_seeds"} <= dict(shared).keys()
    assert manifest_of(mixed, "conditional@1", "mixed").counts["images"] < 12
