"""`import wsis`: what docs/python.md shows, and the same numbers as the commands and the stored records give."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import wsis
from data_contracts.errors import ArtefactMissingError, ConfigError, DataError
from data_contracts.runs import load_run, save_run
from data_contracts.schemas import GROUND_TRUTH
from data_contracts.store import Store
from tests.conftest import REPOSITORY
from tests.runs.tiny_run import TINY, copy_of, done
from tests.runs.tiny_run import wsis as command
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks import rle


@pytest.fixture(scope="module")
def run(tiny_store: Path) -> wsis.OpenedRun:
    return wsis.open_run("tiny", tiny_store)


def test_the_examples_of_the_documentation(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's text is one script; its run is the tiny one under another name."""
    store = Store(copy_of(tiny_store, tmp_path / "runs"))
    record = load_run(store, "tiny")
    record.name = "demo"
    save_run(store, record)
    shutil.copy(TINY, tmp_path / "my.yaml")
    cv2.imwrite(str(tmp_path / "photo.png"), wsis.open_run("demo", store.root).image("val_00000")[..., ::-1])
    monkeypatch.chdir(tmp_path)
    text = re.sub("^```.*$", "", (REPOSITORY / "docs/python.md").read_text(), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", None, None)
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    result = runner.run(test, out=said.append)
    assert result.attempted > 20 and not result.failed, "".join(said)


def test_the_examples_that_load_an_exported_model(tiny_store: Path, tmp_path: Path) -> None:
    """Those of docs/howto/predict.md and the lines that the command prints, each in a Python of its own, where nothing
    has imported wsis before: the order of imports counts."""
    printed = done(command("export", "tiny", "--out", tmp_path, "--store", tiny_store)).out.splitlines()[2:]
    image = wsis.open_run("tiny", tiny_store).image("val_00000")
    cv2.imwrite(str(tmp_path / "photo.jpg"), image[..., ::-1])
    page = (REPOSITORY / "docs/howto/predict.md").read_text()
    shown = re.findall("^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    drawn = (
        "import wsis.method.prediction\nfrom mmdet.apis import DetInferencer\n"
        'infer = DetInferencer("model.py", "weights.pth", device="cpu")\n'
        'print(infer("photo.jpg", out_dir="out")["predictions"][0]["scores"][0])'
    )
    for code in ("\n".join([*printed, "print(model.dataset_meta)"]), *shown, drawn):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0 and ran.stdout.strip(), ran.stderr
    assert (tmp_path / "out" / "vis" / "photo.jpg").is_file()


def test_import_loads_nothing_and_offers_what_it_names() -> None:
    code = "import sys, wsis; print(sorted({'numpy', 'torch', 'zarr', 'mmdet'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert all(getattr(wsis, name).__doc__ for name in wsis.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'opn_run'; it has .*open_run"):
        _ = wsis.opn_run


def test_predictions_are_scored_as_the_run_scored_them(run: wsis.OpenedRun) -> None:
    """Predicted again, and compared with the true masks: the row of the run to the last digit."""
    truths, pairs = run.truth().records(GROUND_TRUTH), []
    stored = run.predictions(2)
    for image in stored:
        found, again = stored[image], run.predict(run.image(image), iteration=2)
        for name, value in again.to_record().items():
            np.testing.assert_array_equal(value, found.to_record()[name])
        truth = GroundTruth.from_record(truths[image])
        true = wsis.Instances(rle.decode_many(truth.counts, truth.size), truth.labels)
        pairs.append((wsis.Instances(again.pasted(), again.labels, again.scores), true))
    (row,) = [r for r in run.results() if (r["kind"], r["outer_iteration"]) == ("prediction", 2)]
    scored = wsis.evaluate_masks(pairs, run.classes)
    assert {name: scored[name] for name in ("mAP", "per_class", "coco")} == {
        name: row[name] for name in ("mAP", "per_class", "coco")
    }
    sure = run.predict(run.image(image), score=float(again.scores[0]))
    assert len(sure) == int((again.scores >= again.scores[0]).sum())


def test_pseudo_labels_are_the_samples_of_the_stored_record(run: wsis.OpenedRun) -> None:
    labels = run.pseudo_labels()
    assert len(labels) == 12 and "train_00003" in list(labels)
    sets, record = labels["train_00003"], run.records("pseudo_labels@2")["train_00003"]
    assert [one.share * 2 for one in sets] == record["multiplicities"].tolist()  # K = 2
    ids = np.split(record["proposal_ids"], record["offsets"][1:-1])
    for one, rows in zip(sets, ids, strict=True):
        np.testing.assert_array_equal(one.masks, run.proposals()["train_00003"].masks(rows))
        assert one.classes == tuple(run.classes[label - 1] for label in one.labels)


def test_training_again_reuses_the_run(tiny_store: Path, tmp_path: Path) -> None:
    store = copy_of(tiny_store, tmp_path / "store")
    again = wsis.train(TINY, store=store)
    assert again.name == "tiny" and all(entry.reused for entry in again.record.entries.values())
    with pytest.raises(DataError, match=r"data\.root: expected a folder, got .*none"):
        wsis.train(TINY, {"data.format": "voc"}, data_root=tmp_path / "none", store=store, name="other")


def test_what_is_not_there_is_named(run: wsis.OpenedRun, tiny_store: Path) -> None:
    with pytest.raises(ArtefactMissingError, match=r"no run 'tin' .*did you mean 'tiny'"):
        wsis.open_run("tin", tiny_store)
    with pytest.raises(ConfigError, match=r"image: expected the name of one of 20 images.*val_9"):
        run.predictions()["val_9"]
