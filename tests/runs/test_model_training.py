"""`wsis train-contours`, `wsis train-ranker`: from what people drew to models that `wsis contours`, `proposals` use."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import ConfigError, DataError, StoreError
from data_contracts.schemas import PROPOSALS
from data_contracts.store import Store
from stages.proposals import train_ranker
from tests.boundary_folder import write_boundaries
from tests.runs.tiny_run import Result, done, wsis
from wsis.apps.model_training import build_settings, train

CONTOURS = [
    f"train_contours.{x}" for x in ("steps=2", "batch_size=1", "crop=64", "pretrained=null", "splits=[train]")
]
RANKER = [
    f"train_ranker.{x}"
    for x in (
        "contour=lab_gradient",
        "max_side=64",
        "max_regions=30",
        "epochs=2",
        "hidden=4",
        "held_out=0.25",
    )
]


def sets(items: list[str]) -> list[str]:
    return [x for item in [*items, "execution.threads=1"] for x in ("--set", item)]


def use(result: Result) -> list[str]:
    """The arguments that the command says use its model."""
    (line,) = [line for line in result.out.splitlines() if line.startswith("use it: ")]
    return shlex.split(line.removeprefix("use it: "))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, name in enumerate("abcd"):
        write_boundaries(tmp_path / "data", "train", name, seed)
    return tmp_path / "data"


@pytest.fixture
def photos(data: Path, tmp_path: Path) -> Path:
    write_boundaries(tmp_path / "others", "train", "p", 9)
    return tmp_path / "others" / "images"


def test_the_model_draws_contours_and_a_second_call_reuses_it(
    data: Path, photos: Path, tmp_path: Path
) -> None:
    model, store = tmp_path / "new folder" / "own.pt", ("--store", tmp_path / "store")
    first = done(wsis("train-contours", data, "--out", model, *store, *sets(CONTOURS)))
    assert use(first)[1::2] == ["proposals.contour=learned", f"proposals.contour_model={model}"]
    assert "supervised by: boundaries: train of the named folder" in first.out
    made = next((tmp_path / "store").rglob("contours.pt"))
    assert made.read_bytes() == model.read_bytes()
    before = made.stat().st_mtime_ns
    again = done(wsis("train-contours", data, *store, *sets(CONTOURS)))
    assert made.stat().st_mtime_ns == before
    assert use(again)[-1] == f"proposals.contour_model={made}"

    done(wsis("contours", photos, "--out", tmp_path / "maps", *use(first)))
    with Image.open(tmp_path / "maps" / "train" / "p.png") as drawn:
        assert drawn.size == (90, 70)


def test_the_ranker_ranks_proposals_and_says_what_it_learned_from(
    data: Path, photos: Path, tmp_path: Path
) -> None:
    model, store = tmp_path / "own.npz", tmp_path / "store"
    first = done(wsis("train-ranker", data, "--out", model, "--store", store, *sets(RANKER)))
    words = "boundaries: proposal ranking (regions of train of the named folder)"
    assert f"supervised by: {words}; contours: none: Lab gradient\n" in first.out
    made = next(store.rglob("ranker.npz"))
    assert made.read_bytes() == model.read_bytes()
    assert json.loads((made.parent / "held_out.json").read_text())["images"] == 1
    before = made.stat().st_mtime_ns
    done(wsis("train-ranker", data, "--store", store, *sets(RANKER)))
    assert made.stat().st_mtime_ns == before

    small = sets(["proposals.max_side=64", "proposals.max_regions=30"])
    done(wsis("proposals", photos, "--out", tmp_path / "plain", *small, *use(first)[:2]))
    done(wsis("proposals", photos, "--out", tmp_path / "ranked", *small, *use(first)))
    plain, ranked = (
        Store(tmp_path / name).open("proposals", path.parent.name)
        for name in ("plain", "ranked")
        for path in (tmp_path / name / "proposals").glob("*/manifest.json")
    )
    assert words in ranked.manifest.supervision and words not in plain.manifest.supervision
    bits = [one.records(PROPOSALS)["train/p"]["membership_bits"] for one in (plain, ranked)]
    assert not np.array_equal(*bits)


def test_a_ranker_of_masks_says_so(data: Path, tmp_path: Path) -> None:
    devkit = tmp_path / "devkit"
    for name in ("ImageSets/Segmentation", "JPEGImages", "SegmentationObject"):
        (devkit / name).mkdir(parents=True)
    (devkit / "ImageSets/Segmentation/mine.txt").write_text("a\nb\n")
    for name in "ab":
        (devkit / f"JPEGImages/{name}.jpg").write_bytes((data / f"images/train/{name}.jpg").read_bytes())
        with Image.open(data / f"images/train/{name}.jpg") as photograph:
            inside = np.asarray(photograph.convert("L")) > 120
        Image.fromarray(inside.astype(np.uint8)).save(devkit / f"SegmentationObject/{name}.png")
    chosen = sets([*RANKER, "train_ranker.source=voc_masks", "train_ranker.splits=[mine]"])
    result = done(wsis("train-ranker", devkit, "--store", tmp_path / "store", *chosen))
    assert "pixel labels: proposal ranking (masks of mine of the named folder)" in result.out


def test_ctrl_c_and_the_same_command_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("ranker", data, Store(tmp_path / "whole"), RANKER).model.read_bytes()
    real, calls = train_ranker.make_example, 0

    def stopping(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train_ranker, "make_example", stopping)
    command = ("train-ranker", data, "--store", tmp_path / "stopped", "--out", tmp_path / "r.npz")
    stopped = wsis(*command, *sets(RANKER))
    assert stopped.code == 130 and "the same command goes on from there" in stopped.err
    assert not (tmp_path / "r.npz").exists()
    done(wsis(*command, *sets(RANKER)))
    assert calls == 4  # the first photograph was not measured again
    assert (tmp_path / "r.npz").read_bytes() == whole


def test_other_settings_are_another_model(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = train("contours", data, store, CONTOURS)
    other = train("contours", data, store, [*CONTOURS, "seed=1"])
    assert first.artefact.fingerprint != other.artefact.fingerprint


def test_a_ranker_is_used_with_the_contours_it_was_trained_on(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    own = train("contours", data, store, CONTOURS).model
    learned = ["train_ranker.contour=learned", f"train_ranker.contour_model={own}"]
    ranker = train("ranker", data, store, [*RANKER, *learned])
    assert ranker.use == (
        "proposals.contour=learned",
        f"proposals.contour_model={own}",
        "proposals.ranking=learned",
        f"proposals.ranker_model={ranker.model}",
    )
    assert "ImageNet labels" in ranker.artefact.manifest.supervision


def test_what_is_wrong_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train_contours\.stepps: unknown key; did you mean 'steps'"):
        build_settings("contours", data, ["train_contours.stepps=3"])
    with pytest.raises(ConfigError, match="proposals"):
        build_settings("contours", data, ["proposals.max_side=3"])
    with pytest.raises(ConfigError, match=r"train_contours: unknown key; did you mean 'train_ranker'"):
        build_settings("ranker", data, ["train_contours.steps=3"])
    with pytest.raises(
        ConfigError, match=r"--set seed: expected a whole number at least 0 and below 2147483648, got -1"
    ):
        build_settings("ranker", data, ["seed=-1"])
    with pytest.raises(DataError, match="expected photographs"):
        train("contours", tmp_path / "none", Store(tmp_path / "store"), CONTOURS)


def test_a_place_that_cannot_be_written_is_found_before_the_training(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(ConfigError, match="--out: expected the name of a file, got the folder"):
        train("ranker", data, store, RANKER, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create"):
        train("ranker", data, store, RANKER, out=tmp_path / "file" / "r.npz")
    assert not list(tmp_path.rglob("ranker.npz"))
