"""`wsis train-contours`: from boundaries to a model that `wsis contours` draws with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import ConfigError, DataError
from data_contracts.store import Store
from flows.contour_training import build_settings, train
from tests.boundary_folder import write_boundaries

SMALL = [
    f"train_contours.{x}" for x in ("steps=2", "batch_size=1", "crop=64", "pretrained=null", "splits=[train]")
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_boundaries(tmp_path / "data", "train", "a", 0)
    return tmp_path / "data"


def test_the_model_draws_contours_and_a_second_call_reuses_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli import app

    sets = [x for item in [*SMALL, "execution.threads=1"] for x in ("--set", item)]
    model, store = tmp_path / "own.pt", ["--store", str(tmp_path / "store")]
    app(["train-contours", str(data), "--out", str(model), *store, *sets], standalone_mode=False)
    assert f"proposals.contour_model={model}" in capsys.readouterr().out
    made = next((tmp_path / "store").rglob("contours.pt"))
    assert made.read_bytes() == model.read_bytes()
    before = made.stat().st_mtime_ns
    app(["train-contours", str(data), *store, *sets], standalone_mode=False)
    assert made.stat().st_mtime_ns == before

    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "photos" / "p.png")
    chosen = ["--set", "proposals.contour=learned", "--set", f"proposals.contour_model={model}"]
    app(
        ["contours", str(tmp_path / "photos"), "--out", str(tmp_path / "maps"), *chosen],
        standalone_mode=False,
    )
    with Image.open(tmp_path / "maps" / "p.png") as drawn:
        assert drawn.size == (60, 40)


def test_other_settings_are_another_model(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first, _ = train(data, store, SMALL)
    other, _ = train(data, store, [*SMALL, "seed=1"])
    assert first.fingerprint != other.fingerprint


def test_what_is_wrong_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train_contours\.stepps: unknown key; did you mean 'steps'"):
        build_settings(data, ["train_contours.stepps=3"])
    with pytest.raises(ConfigError, match="proposals"):
        build_settings(data, ["proposals.max_side=3"])
    with pytest.raises(DataError, match="expected photographs"):
        train(tmp_path / "none", Store(tmp_path / "store"), SMALL)
