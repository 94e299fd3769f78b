"""Scalars for TensorBoard: written while training, a resumed training goes on, nothing without the package."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import wsis.engine.settings
from data_contracts.errors import ConfigError
from wsis.engine.scalars import scalars
from wsis.engine.stage import Execution


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_resumed_training_goes_on_where_its_checkpoint_is(tmp_path: Path) -> None:
    with scalars(tmp_path, "abc", "prediction@1", 0) as write:
        for step in (1, 2, 3, 4):
            write(step, {"loss": 1 / step})
    with scalars(tmp_path, "abc", "prediction@1", 2) as write:  # killed, its checkpoint was of step 2
        for step in (3, 4, 5):
            write(step, {"loss": 10.0 * step, "held_back": 0.5})
    found = shown(tmp_path / "abc" / "prediction@1")
    assert found["loss"] == [(1, 1.0), (2, 0.5), (3, 30.0), (4, 40.0), (5, 50.0)]
    assert found["held_back"] == [(3, 0.5), (4, 0.5), (5, 0.5)]


def test_nothing_is_written_where_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scalars(None, "abc", "prediction@1", 0) as write:
        write(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_the_package_is_asked_for_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Execution(device="cpu", tensorboard=tmp_path).check()
    monkeypatch.setattr(wsis.engine.settings, "tensorboard_is_installed", lambda: False)
    Execution(device="cpu").check()
    with pytest.raises(
        ConfigError, match=r"execution\.tensorboard: expected the package tensorboard .*install wsis"
    ):
        Execution(device="cpu", tensorboard=tmp_path).check()
