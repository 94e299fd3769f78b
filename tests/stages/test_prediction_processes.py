"""Training in two processes (gloo, CPU) is training in one on the same global batch."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from data_contracts.atomic import remove_temporaries
from stages.prediction import prediction
from stages.prediction.mmdet_training import DetectorSteps
from stages.prediction.settings import DETECTOR_NAME
from tests.engine.stage_processes import kill, wait_for, workers_of
from tests.method.prediction.conftest import tiny_config as tiny_config
from tests.method.prediction.stored_labels import context, make_inputs
from wsis.engine.training import CHECKPOINT_NAME, CURVE_NAME
from wsis.method.prediction.checkpoints import read_checkpoint
from wsis.method.prediction.data.batches import derived_seed


def _weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(path)["state_dict"]
    return state


def _furthest(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def _each_image_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one process normalise losses and sample regions image by image, as two with an image each do."""

    def step(self: DetectorSteps, index: int) -> dict[str, float]:
        (data,), parsed = self.batches.at(index), []
        for rank in (0, 1):
            torch.manual_seed(derived_seed(self.seed, index, *([rank] if rank else [])))
            own = {name: values[rank : rank + 1] for name, values in data.items()}
            losses = self.model(**self.model.data_preprocessor(own, True), mode="loss")
            parsed.append(self.model.parse_losses(losses))
        self.descend((parsed[0][0] + parsed[1][0]) / 2, index)
        return {name: (parsed[0][1][name] + parsed[1][1][name]).item() / 2 for name in sorted(parsed[0][1])}

    monkeypatch.setattr(DetectorSteps, "step", step)


SETTINGS: dict[str, Any] = dict(
    pretrained=None, image_size=96, steps=3, max_epochs=99, batch_size=2, warmup_steps=1, data_workers=0
)
CHILD = """
import sys
from pathlib import Path
from stages.prediction import prediction
from tests.method.prediction.stored_labels import context, opened
folder = Path(sys.argv[1])
config = prediction.Config.model_validate_json(sys.argv[2])
prediction.run(opened(folder), config, context(folder / "two", 1))
"""


def test_the_stage_in_two_processes_killed_and_resumed_equals_one(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    sgd: dict[str, Any] = dict(optimizer="sgd", learning_rate=0.02)
    config = prediction.Config(model=str(tiny_config), processes=2, **SETTINGS, **sgd)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path), config.model_dump_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for((tmp_path / "two" / CHECKPOINT_NAME).exists, process, seconds=500.0)
        children = workers_of(process)
        kill(process)
    wait_for(lambda: not any(child.is_running() for child in children), seconds=20)
    assert len(children) == 2 and not (tmp_path / "two" / DETECTOR_NAME).exists()

    heard: list[str] = []
    given = context(tmp_path / "two", 1, listener=lambda text, share: heard.append(text))
    prediction.run(inputs, config, given)
    assert "prediction@1" in heard and len(given.worker_memory) == 2
    remove_temporaries(given.workdir)  # as the store does: the kill may come in the middle of a write
    names = {CURVE_NAME, DETECTOR_NAME, "model.py", "model.json"}
    assert {path.name for path in given.workdir.iterdir()} == names

    alone = context(tmp_path / "one", 1)
    _each_image_on_its_own(monkeypatch)
    prediction.run(inputs, config.model_copy(update={"processes": 1}), alone)
    distance = _furthest(
        _weights(tmp_path / "two" / DETECTOR_NAME), _weights(tmp_path / "one" / DETECTOR_NAME)
    )
    assert distance < 1e-5
    together, single = (
        json.loads((folder / CURVE_NAME).read_text()) for folder in (given.workdir, alone.workdir)
    )
    assert together == [pytest.approx(entry, rel=1e-4, abs=1e-5) for entry in single]


def test_the_batch_is_shared_and_one_process_leaves_the_identity() -> None:
    with pytest.raises(ValidationError, match=r"batch_size: expected a multiple of processes \(3\), got 4"):
        prediction.Config(processes=3)
    one, two = prediction.Config(), prediction.Config(processes=2)
    assert "processes" not in one.identity() and two.identity() == {**one.identity(), "processes": 2}


def test_parts_one_after_the_other_are_what_several_processes_compute(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    sgd: dict[str, Any] = dict(optimizer="sgd", learning_rate=0.02)
    config = prediction.Config(model=str(tiny_config), gradient_accumulation=2, **SETTINGS, **sgd)
    parts, alone = context(tmp_path / "parts", 1), context(tmp_path / "one", 1)
    prediction.run(inputs, config, parts)
    _each_image_on_its_own(monkeypatch)
    prediction.run(inputs, config.model_copy(update={"gradient_accumulation": 1}), alone)
    weights = [_weights(given.workdir / DETECTOR_NAME) for given in (parts, alone)]
    assert _furthest(*weights) < 1e-5
    curves = [json.loads((given.workdir / CURVE_NAME).read_text()) for given in (parts, alone)]
    assert curves[0] == [pytest.approx(entry, rel=1e-4, abs=1e-5) for entry in curves[1]]


def test_one_part_leaves_the_identity_and_parts_are_equally_large() -> None:
    one, two = prediction.Config(), prediction.Config(gradient_accumulation=2)
    assert two.identity() == {**one.identity(), "gradient_accumulation": 2}
    with pytest.raises(ValidationError, match=r"processes x gradient_accumulation \(8\), got 4"):
        prediction.Config(processes=2, gradient_accumulation=4)
