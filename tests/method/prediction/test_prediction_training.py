"""Training: exact resume after a stop and after SIGKILL, fine-tuning, and everything it refuses."""

import json
import logging.config
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from wsis.errors import InputError, MissingWeightsError, NonFiniteError
from wsis.method.prediction.loop.checkpoints import read_checkpoint, weights_checkpoint
from wsis.method.prediction.loop.training import CHECKPOINT_NAME, CURVE_NAME, TrainSettings, train
from wsis.method.prediction.models import build_model, starting_model

SETTINGS = TrainSettings(6, batch_size=2, warmup_steps=2, pretrained=None, checkpoint_steps=3)


class Stop(BaseException):
    """Stands for a kill: no handler of ordinary errors sees it."""


def _state(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(path)["state_dict"]
    return state


def _equal(a: Path, b: Path) -> bool:
    first, second = _state(a), _state(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("ema", [None, 0.1])
def test_a_stopped_and_resumed_run_is_bit_identical(
    ema: float | None, tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, ema_momentum=ema)
    seen: list[int] = []

    def stop(step: int, total: int, losses: Mapping[str, float]) -> None:
        seen.append(step)
        if step == 5:
            raise Stop

    whole = train(tiny_training, synthetic_source, settings, tmp_path / "whole")
    with pytest.raises(Stop):
        train(tiny_training, synthetic_source, settings, tmp_path / "stopped", progress=stop)
    assert read_checkpoint(tmp_path / "stopped" / CHECKPOINT_NAME)["meta"]["iter"] == 3
    # Other things are drawn in between: nothing may depend on the state of the process.
    torch.manual_seed(123)
    np.random.seed(123)
    steps: list[int] = []
    resumed = train(
        tiny_training,
        synthetic_source,
        replace(settings, workers=1),
        tmp_path / "stopped",
        progress=lambda step, total, losses: steps.append(step),
    )
    assert seen == [1, 2, 3, 4, 5] and steps == [4, 5, 6]
    assert _equal(whole, resumed)
    assert (whole.parent / CURVE_NAME).read_text() == (resumed.parent / CURVE_NAME).read_text()
    assert sorted(p.name for p in resumed.parent.iterdir()) == [CURVE_NAME, "weights.pth"]
    assert train(tiny_training, synthetic_source, settings, tmp_path / "whole") == whole  # nothing to do


def test_a_truncated_checkpoint_of_its_own_starts_afresh(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was written whole, so the disk damaged it: the steps are lost, the run is not."""

    def stop(step: int, total: int, losses: Mapping[str, float]) -> None:
        if step == 4:
            raise Stop

    steps: list[int] = []
    whole = train(tiny_training, synthetic_source, SETTINGS, tmp_path / "whole")
    with pytest.raises(Stop):
        train(tiny_training, synthetic_source, SETTINGS, tmp_path / "cut", progress=stop)
    checkpoint = tmp_path / "cut" / CHECKPOINT_NAME
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    again = train(
        tiny_training,
        synthetic_source,
        SETTINGS,
        tmp_path / "cut",
        progress=lambda step, total, losses: steps.append(step),
    )
    assert steps == [1, 2, 3, 4, 5, 6] and _equal(whole, again)
    assert "truncated or no checkpoint" in caplog.text and "training starts afresh" in caplog.text


_CHILD = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from conftest import SyntheticSource
from mmengine.config import Config
from wsis.method.prediction.loop.training import TrainSettings, train
settings = TrainSettings(6, batch_size=2, warmup_steps=2, pretrained=None, checkpoint_steps=3)
config = Config.fromfile(sys.argv[2])
train(config, SyntheticSource(), settings, Path(sys.argv[3]), progress=lambda i, n, l: print(i, flush=True))
"""


def test_a_killed_process_resumes_to_the_equal(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    config = tmp_path / "training.py"
    tiny_training.dump(str(config))
    training = Config.fromfile(str(config))
    whole = train(training, synthetic_source, SETTINGS, tmp_path / "whole")
    arguments = [sys.executable, "-W", "ignore", "-c", _CHILD, str(Path(__file__).parent), str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*arguments, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "4":
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / CHECKPOINT_NAME).exists()
    resumed = train(training, synthetic_source, SETTINGS, tmp_path / "killed")
    assert _equal(whole, resumed)


def test_training_lowers_the_loss_and_keeps_a_curve(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    weights = train(
        tiny_training,
        synthetic_source,
        replace(SETTINGS, total_steps=20, learning_rate=2e-3),
        tmp_path / "run",
    )
    curve = json.loads((weights.parent / CURVE_NAME).read_text())
    assert [point["step"] for point in curve] == [10, 20]
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert {"loss_rpn_cls", "loss_cls", "loss_bbox", "loss_mask", "self_diversity_class"} <= set(curve[0])


def test_fine_tuning_starts_from_the_given_weights(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    first = train(tiny_training, synthetic_source, replace(SETTINGS, total_steps=2), tmp_path / "first")
    still = replace(SETTINGS, total_steps=1, learning_rate=0.0, seed=5)
    second = train(tiny_training, synthetic_source, still, tmp_path / "second", init_weights=first)
    fresh = train(tiny_training, synthetic_source, still, tmp_path / "fresh")
    assert _equal(first, second) and not _equal(first, fresh)


def test_a_diverging_run_stops_and_names_the_images(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    settings = replace(
        SETTINGS,
        learning_rate=1e25,
        optimizer="sgd",
        clip_norm=None,
        warmup_steps=0,
        checkpoint_steps=1,
        total_steps=9,
    )
    with pytest.raises(
        NonFiniteError, match=r"non-finite|became (nan|inf|-inf).*at step \d, images image-\d, image-\d"
    ):
        train(tiny_training, synthetic_source, settings, tmp_path / "run")
    assert not (tmp_path / "run" / "weights.pth").exists()


def test_the_device_must_exist(tiny_training: Config, synthetic_source: Any, tmp_path: Path) -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(
        InputError, match=f"asks for '{missing}', but torch .* sees {torch.cuda.device_count()} CUDA"
    ):
        train(tiny_training, synthetic_source, replace(SETTINGS, device=missing), tmp_path / "run")
    with pytest.raises(InputError, match="'fp16' needs a CUDA device"):
        train(tiny_training, synthetic_source, replace(SETTINGS, precision="fp16"), tmp_path / "run")


def test_weights_of_other_classes_are_refused(
    tiny_training: Config, synthetic_source: Any, make_source: Any, tmp_path: Path
) -> None:
    model = build_model(tiny_training)
    path = tmp_path / "other.pth"
    torch.save(weights_checkpoint(model.state_dict(), ("cat", "dog", "cow")), path)
    with pytest.raises(
        InputError,
        match=r"expected the run's classes \['square', 'disc', 'bar'\], got \['cat', 'dog', 'cow'\]",
    ):
        train(tiny_training, synthetic_source, SETTINGS, tmp_path / "run", init_weights=path)


def test_damaged_or_foreign_weights_are_refused(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    model = build_model(tiny_training)
    good = weights_checkpoint(model.state_dict(), synthetic_source.classes)
    path = tmp_path / "weights.pth"

    def refused(message: str) -> None:
        with pytest.raises(MissingWeightsError, match=message):
            starting_model(tiny_training, synthetic_source.classes, None, init_weights=path)

    refused("no such file")
    torch.save(good, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused("truncated or no checkpoint")
    name = "roi_head.bbox_head.fc_cls.weight"
    torch.save({**good, "state_dict": {k: v for k, v in good["state_dict"].items() if k != name}}, path)
    refused(f"no tensor '{name}'")
    torch.save({**good, "state_dict": {**good["state_dict"], name: torch.zeros(7, 32)}}, path)
    refused(rf"'{name}' expected shape \(4, 32\), got \(7, 32\)")
    torch.save({**good, "state_dict": {**good["state_dict"], "extra": torch.zeros(1)}}, path)
    refused("'extra' is no tensor of MaskRCNN")
    torch.save({"weights": 1}, path)
    refused("expected a dict with 'state_dict'")


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    torch.save({"state_dict": {"a": _Malicious(victim)}}, path)
    with pytest.raises(MissingWeightsError, match="asks to run code"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"state_dict": _Malicious(victim)}, protocol=2))
    with pytest.raises(MissingWeightsError, match="code"):
        read_checkpoint(path)
    assert not victim.exists()


def test_mmengines_own_histories_are_read(tmp_path: Path) -> None:
    history = HistoryBuffer()
    history.update(1.5)
    torch.save({"state_dict": {}, "message_hub": {"log_scalars": {"loss": history}}}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")["message_hub"]["log_scalars"]["loss"]
    assert read.data[0].tolist() == [1.5] and read.mean() == 1.5


class _Attribute:
    """Pickles as getattr(HistoryBuffer, "__init__"): the only door that histories need, tried on another name."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (HistoryBuffer, "__init__")


def test_other_attributes_of_histories_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "x": _Attribute()}, tmp_path / "a.pth")
    with pytest.raises(MissingWeightsError, match=r"attribute '__init__'.*not allowed"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_checkpoint_of_another_configuration_is_refused(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    def stop(step: int, total: int, losses: Mapping[str, float]) -> None:
        if step == 4:
            raise Stop

    with pytest.raises(Stop):
        train(tiny_training, synthetic_source, SETTINGS, tmp_path / "run", progress=stop)
    with pytest.raises(InputError, match="belongs to a training with another configuration"):
        train(tiny_training, synthetic_source, replace(SETTINGS, learning_rate=1e-4), tmp_path / "run")


def test_a_missing_backbone_is_an_error_before_training(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, pretrained=str(tmp_path / "nowhere.pth"))
    with pytest.raises(MissingWeightsError, match=r"no file .*nowhere\.pth"):
        train(tiny_training, synthetic_source, settings, tmp_path / "run")
    tiny_training.model.backbone = dict(type="MobileNetV2", out_indices=(2, 4, 6))
    with pytest.raises(MissingWeightsError, match="expected a backbone out of EfficientNetLite0, ResNet"):
        starting_model(tiny_training, ("a",), "imagenet")


def test_a_second_training_in_one_process_survives_a_logging_setup(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    train(tiny_training, synthetic_source, SETTINGS, tmp_path / "first")
    # What Prefect does when a flow starts: it closes every handler that `logging` knows of.
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    second = train(tiny_training, synthetic_source, SETTINGS, tmp_path / "second")
    assert _equal(second, tmp_path / "first" / second.name)
