"""Training in two processes of torchrun (gloo, CPU) is training in one on the same global batch."""

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

from wsis.mmdet_ext.batches import derived_seed
from wsis.mmdet_ext.checkpoints import read_checkpoint
from wsis.mmdet_ext.training import CHECKPOINT_NAME, CURVE_NAME, WEIGHTS_NAME, TrainSettings, train

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
from wsis.mmdet_ext.training import TrainSettings, train
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


def _each_image_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one process normalise losses and sample regions image by image, as two with an image each do."""
    step = 0

    def train_step(model: Any, data: Mapping[str, Any], optim_wrapper: Any) -> dict[str, float]:
        nonlocal step
        parsed = []
        for rank in (0, 1):
            torch.manual_seed(derived_seed(SETTINGS.seed, step, *([rank] if rank else [])))
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
