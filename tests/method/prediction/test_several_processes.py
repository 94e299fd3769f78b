"""Training in two processes (gloo, CPU), of torchrun or of the stage, is training in one on the same global batch."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from pydantic import ValidationError

from stages.prediction import prediction
from tests.engine.stage_processes import kill, wait_for, workers_of
from tests.method.prediction.stored_labels import context, make_inputs
from wsis.method.prediction.data.batches import derived_seed
from wsis.method.prediction.loop.checkpoints import read_checkpoint
from wsis.method.prediction.loop.training import (
    CHECKPOINT_NAME,
    CURVE_NAME,
    WEIGHTS_NAME,
    TrainSettings,
    train,
)

SETTINGS = TrainSettings(
    3, batch_size=1, warmup_steps=1, pretrained=None, optimizer="sgd", learning_rate=0.02
)
CHILD = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from conftest import SyntheticSource
from mmengine.config import Config
from wsis.method.prediction.loop.training import TrainSettings, train
settings = TrainSettings(
    3, batch_size=1, warmup_steps=1, pretrained=None, optimizer="sgd", learning_rate=0.02, checkpoint_steps=2
)
def stop(step, total, losses):
    if step > int(sys.argv[4]):
        sys.exit("stopped")
train(Config.fromfile(sys.argv[2]), SyntheticSource(), settings, Path(sys.argv[3]), progress=stop)
"""


def _weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(path)["state_dict"]
    return state


def _furthest(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def _each_image_on_its_own(monkeypatch: pytest.MonkeyPatch, seed: int = SETTINGS.seed) -> None:
    """Make one process normalise losses and sample regions image by image, as two with an image each do."""
    step = 0

    def train_step(model: Any, data: Mapping[str, Any], optim_wrapper: Any) -> dict[str, float]:
        nonlocal step
        parsed = []
        for rank in (0, 1):
            torch.manual_seed(derived_seed(seed, step, *([rank] if rank else [])))
            own = {name: values[rank : rank + 1] for name, values in data.items()}
            losses = model._run_forward(model.data_preprocessor(own, True), mode="loss")
            parsed.append(model.parse_losses(losses))
        step += 1
        optim_wrapper.update_params((parsed[0][0] + parsed[1][0]) / 2)
        return {name: (parsed[0][1][name].item() + parsed[1][1][name].item()) / 2 for name in parsed[0][1]}

    monkeypatch.setattr(BaseModel, "train_step", train_step)


def test_two_processes_stopped_and_resumed_equal_one(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, script = tmp_path / "training.py", tmp_path / "child.py"
    tiny_training.dump(str(config))
    script.write_text(CHILD)
    two = tmp_path / "two"
    launch = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
    ]
    command = [*launch, str(script), str(Path(__file__).parent), str(config), str(two)]

    def start(steps: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(steps)], env=environment, capture_output=True, text=True, timeout=280
        )

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    assert "stopped" in start(2).stderr
    assert read_checkpoint(two / CHECKPOINT_NAME)["meta"]["iter"] == 2
    ended = start(3)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert sorted(p.name for p in two.iterdir()) == [CURVE_NAME, WEIGHTS_NAME]

    training = Config.fromfile(str(config))
    half = train(training, synthetic_source, SETTINGS, tmp_path / "half")
    _each_image_on_its_own(monkeypatch)
    whole = train(training, synthetic_source, replace(SETTINGS, batch_size=2), tmp_path / "whole")
    distance = _furthest(_weights(two / WEIGHTS_NAME), _weights(whole))
    assert distance < 1e-5
    assert _furthest(_weights(half), _weights(whole)) > 100 * distance  # one share alone goes elsewhere
    together, alone = (json.loads((folder / CURVE_NAME).read_text()) for folder in (two, whole.parent))
    assert together == [pytest.approx(entry, rel=1e-4, abs=1e-5) for entry in alone]


STAGE_SETTINGS: dict[str, Any] = dict(
    pretrained=None, image_size=96, steps=3, max_epochs=99, batch_size=2, warmup_steps=1, data_workers=0
)
STAGE_CHILD = """
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
    config = prediction.Config(model=str(tiny_config), processes=2, **STAGE_SETTINGS, **sgd)
    command = [sys.executable, "-W", "ignore", "-c", STAGE_CHILD, str(tmp_path), config.model_dump_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for((tmp_path / "two" / CHECKPOINT_NAME).exists, process, seconds=500.0)
        children = workers_of(process)
        kill(process)
    wait_for(lambda: not any(child.is_running() for child in children), seconds=20)
    assert len(children) == 2 and not (tmp_path / "two" / WEIGHTS_NAME).exists()

    heard: list[str] = []
    given = context(tmp_path / "two", 1, listener=lambda text, share: heard.append(text))
    prediction.run(inputs, config, given)
    assert "prediction@1" in heard and len(given.worker_memory) == 2
    names = {CURVE_NAME, WEIGHTS_NAME, "model.py", "model.json"}
    assert {path.name for path in given.workdir.iterdir()} == names

    alone = context(tmp_path / "one", 1)
    _each_image_on_its_own(monkeypatch, derived_seed(alone.seed, 1) % 2**31)
    prediction.run(inputs, config.model_copy(update={"processes": 1}), alone)
    distance = _furthest(_weights(tmp_path / "two" / WEIGHTS_NAME), _weights(tmp_path / "one" / WEIGHTS_NAME))
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
