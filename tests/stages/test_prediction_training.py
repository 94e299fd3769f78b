"""The training of the prediction network: exact resume, fine-tuning, and the arithmetic of MMEngine's own loop."""

import json
import logging.config
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, build_optim_wrapper
from torch import nn

from stages.prediction.mmdet_training import parameter_groups
from stages.prediction.settings import DETECTOR_NAME, PredictionConfig, config_file, model_spec
from stages.prediction.training import train_network
from tests.method.prediction.conftest import tiny_config as tiny_config
from tests.method.prediction.stored_labels import context
from tests.method.prediction.synthetic_source import SyntheticSource
from wsis.engine.optimisation import chained_rates
from wsis.engine.training import CHECKPOINT_NAME, CURVE_NAME, seed_everything
from wsis.errors import NonFiniteError
from wsis.method.prediction.checkpoints import read_checkpoint
from wsis.method.prediction.config import plain_config, training_config
from wsis.method.prediction.models import build_model

FILES = [CURVE_NAME, "model.json", "model.py", DETECTOR_NAME]


class Stop(BaseException):
    """Stands for a kill: no handler of ordinary errors sees it."""


@pytest.fixture
def config(tiny_config: Path) -> PredictionConfig:
    return PredictionConfig(
        model=str(tiny_config), pretrained=None, image_size=96, batch_size=2, warmup_steps=2, data_workers=0
    )


def train(config: PredictionConfig, folder: Path, steps: int = 6, init_weights: Path | None = None) -> Path:
    """Train on synthetic images; a checkpoint after every step."""
    train_network(SyntheticSource(), config, steps, context(folder, 1), init_weights)
    return folder / DETECTOR_NAME


def stop_at(config: PredictionConfig, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until so many steps are done, and leave the folder as a kill would."""

    def seed(*key: int) -> None:
        if key[2] == step:
            raise Stop
        seed_everything(*key)

    with monkeypatch.context() as patch:
        patch.setattr("wsis.engine.training.seed_everything", seed)
        with pytest.raises(Stop):
            train(config, folder)


def _equal(a: Path, b: Path) -> bool:
    first, second = (read_checkpoint(path)["state_dict"] for path in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("ema", [None, 0.1])
def test_a_stopped_and_resumed_run_is_equal_to_the_byte(
    ema: float | None, config: PredictionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With workers as without."""
    config = config.model_copy(update={"ema_momentum": ema})
    train(config, tmp_path / "whole")
    stop_at(config, tmp_path / "stopped", 4, monkeypatch)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == [CHECKPOINT_NAME]
    # Other things are drawn in between: nothing may depend on the state of the process.
    torch.manual_seed(123)
    np.random.seed(123)
    train(config.model_copy(update={"data_workers": 1}), tmp_path / "stopped")
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_killed_after_its_weights_it_does_not_train_again(
    config: PredictionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config, tmp_path / "run")
    (tmp_path / "run" / "model.json").unlink()
    (tmp_path / "run" / CHECKPOINT_NAME).write_bytes(b"the last")
    monkeypatch.setattr("wsis.engine.training.seed_everything", lambda *key: pytest.fail("a step"))
    train(config, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES


def test_half_a_training_of_an_earlier_version_starts_afresh(
    config: PredictionConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint was MMEngine's; nothing of it may reach the artefact."""
    given = context(tmp_path / "run", 1)
    (given.workdir / "mmengine").mkdir()
    (given.workdir / "mmengine" / "log").touch()
    (given.workdir / "checkpoint.pth").write_bytes(b"MMEngine's")
    given.progress._quiet = False
    train_network(SyntheticSource(), config, 1, given)
    assert sorted(path.name for path in given.workdir.iterdir()) == FILES
    assert "checkpoint.pth is of an earlier version; this stage starts afresh" in capsys.readouterr().err


def test_training_lowers_the_loss_and_keeps_a_curve(config: PredictionConfig, tmp_path: Path) -> None:
    train(config.model_copy(update={"learning_rate": 2e-3}), tmp_path / "run", steps=20)
    curve = json.loads((tmp_path / "run" / CURVE_NAME).read_text())
    assert [point["step"] for point in curve] == [10, 20]
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert {"loss_rpn_cls", "loss_cls", "loss_bbox", "loss_mask", "self_diversity_class"} <= set(curve[0])


def test_fine_tuning_starts_from_the_given_weights(config: PredictionConfig, tmp_path: Path) -> None:
    first = train(config, tmp_path / "first", steps=2)
    still = config.model_copy(update={"learning_rate": 0.0})
    assert _equal(first, train(still, tmp_path / "second", steps=1, init_weights=first))
    assert not _equal(first, train(still, tmp_path / "fresh", steps=1))


def test_a_diverging_run_stops_and_names_the_images(config: PredictionConfig, tmp_path: Path) -> None:
    wild = dict(learning_rate=1e25, optimizer="sgd", clip_gradient=None, warmup_steps=0)
    with pytest.raises(
        NonFiniteError,
        match=r"prediction@1: .*(non-finite|became (nan|inf|-inf)).*at step \d, images image-\d, image-\d",
    ):
        train(config.model_copy(update=wild), tmp_path / "run", steps=9)
    assert not (tmp_path / "run" / DETECTOR_NAME).exists()


def test_a_second_training_in_one_process_survives_a_logging_setup(
    config: PredictionConfig, tmp_path: Path
) -> None:
    first = train(config, tmp_path / "first", steps=2)
    # What Prefect does when a flow starts: it closes every handler that `logging` knows of.
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert _equal(first, train(config, tmp_path / "second", steps=2))


# -- the arithmetic of MMEngine, of which stored weights were made ----------------------------------------------
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (3, 1), (9, 4), (1200, 60), (7, 0)])
@pytest.mark.parametrize("cosine", [True, False])
def test_rates_are_mmengines_bit_by_bit(total: int, warmup: int, cosine: bool) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=3e-4 * 0.3)
    common: dict[str, Any] = {"by_epoch": False}
    schedule: list[Any] = []
    if warmup:
        schedule.append(LinearLR(optimizer, start_factor=0.01, begin=0, end=warmup, **common))
    if cosine:
        schedule.append(
            CosineAnnealingLR(optimizer, begin=warmup, end=total, T_max=total - warmup, eta_min=0.0, **common)
        )
    else:
        milestones = sorted({max(1, total * 2 // 3), max(1, total * 8 // 9)})
        schedule.append(MultiStepLR(optimizer, milestones=milestones, gamma=0.1, **common))
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for one in schedule:
            one.step()
    assert chained_rates(3e-4 * 0.3, total, warmup, cosine) == expected


def test_rates_and_decay_of_every_parameter_are_mmengines(config: PredictionConfig) -> None:
    spec = model_spec(config, ("a", "b"))
    mmdet: Config = training_config(plain_config(config_file(config.model), spec), spec)
    mmdet.model.neck.norm_cfg = {"type": "BN"}  # a norm outside the backbone
    model = build_model(mmdet)
    wrapper = build_optim_wrapper(
        model,
        {
            "optimizer": {"type": "AdamW", "lr": config.learning_rate, "weight_decay": config.weight_decay},
            "paramwise_cfg": {
                "custom_keys": {"backbone": {"lr_mult": config.backbone_factor}},
                "norm_decay_mult": 0.0,
            },
        },
    )

    def by_parameter(groups: list[dict[str, Any]]) -> dict[int, tuple[float, float]]:
        return {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}

    own = by_parameter(parameter_groups(model, config))
    assert own == by_parameter(wrapper.optimizer.param_groups)
    assert len(set(own.values())) == 3
