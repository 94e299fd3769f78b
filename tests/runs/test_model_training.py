"""`wsis train-contours`: from what people drew to a model that `wsis contours` and `wsis proposals` use."""

import shlex
from pathlib import Path

import pytest
from PIL import Image

from data_contracts.errors import ConfigError, DataError, StoreError
from data_contracts.store import Store
from tests.boundary_folder import write_boundaries
from tests.runs.tiny_run import Result, done, wsis
from wsis.apps.model_training import build_settings, train

CONTOURS = [
    f"train_contours.{x}" for x in ("steps=2", "batch_size=1", "crop=64", "pretrained=null", "splits=[train]")
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


def test_other_settings_are_another_model(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = train(data, store, CONTOURS)
    other = train(data, store, [*CONTOURS, "seed=1"])
    assert first.artefact.fingerprint != other.artefact.fingerprint


def test_what_is_wrong_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"train_contours\.stepps: unknown key; did you mean 'train_contours\.steps'"
    ):
        build_settings(data, ["train_contours.stepps=3"])
    with pytest.raises(ConfigError, match="proposals"):
        build_settings(data, ["proposals.max_side=3"])
    with pytest.raises(
        ConfigError, match=r"--set seed: expected a whole number at least 0 and below 2147483648, got -1"
    ):
        build_settings(data, ["seed=-1"])
    with pytest.raises(DataError, match="expected photographs"):
        train(tmp_path / "none", Store(tmp_path / "store"), CONTOURS)


def test_a_place_that_cannot_be_written_is_found_before_the_training(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(ConfigError, match="--out: expected the name of a file, got the folder"):
        train(data, store, CONTOURS, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create"):
        train(data, store, CONTOURS, out=tmp_path / "file" / "c.pt")
    assert not list(tmp_path.rglob("rankec.pt"))
