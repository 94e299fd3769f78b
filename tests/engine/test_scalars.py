"""Scalars for TensorBoard: written while training, a resumed training goes on, nothing without the package."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from pydantic import ValidationError
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


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_the_package_is_asked_for_before_any_work(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Execution.model_validate({"device": "cpu", package: "place"})
    monkeypatch.setattr(wsis.engine.settings, "find_spec", lambda name: ModuleSpec(name, None, origin="here"))
    asked.check()
    # none, or a folder of that name in the current one: W&B makes such a folder
    for found in (None, ModuleSpec(package, None)):
        monkeypatch.setattr(wsis.engine.settings, "find_spec", lambda name, found=found: found)
        Execution(device="cpu").check()
        with pytest.raises(
            ConfigError,
            match=rf"execution\.{package}: expected the package {package} .*install wsis\[{package}\]",
        ):
            asked.check()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("mlflow", ""), ("mlflow", "http://me:secret@host:5000"), ("wandb", "a/b/c"), ("wandb", "")],
)
def test_an_address_that_cannot_be_is_refused(setting: str, value: str) -> None:
    with pytest.raises(ValidationError, match=setting):
        Execution.model_validate({setting: value})
    assert Execution(mlflow="http://host:5000", wandb="me/birds").wandb == "me/birds"
