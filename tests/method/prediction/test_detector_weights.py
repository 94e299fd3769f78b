"""Weights as MMDetection has them: what is refused, and that no code runs."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from wsis.errors import InputError, MissingWeightsError
from wsis.method.prediction.checkpoints import encode_weights, read_checkpoint
from wsis.method.prediction.models import build_model, checked_device, starting_model


def test_the_device_must_exist() -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(
        InputError, match=f"asks for '{missing}', but torch .* sees {torch.cuda.device_count()} CUDA"
    ):
        checked_device(missing)


def test_weights_of_other_classes_are_refused(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(encode_weights(build_model(tiny_training).state_dict(), ("cat", "dog", "cow")))
    with pytest.raises(
        InputError,
        match=r"expected the run's classes \['square', 'disc', 'bar'\], got \['cat', 'dog', 'cow'\]",
    ):
        starting_model(tiny_training, synthetic_source.classes, None, init_weights=path)


def test_damaged_or_foreign_weights_are_refused(
    tiny_training: Config, synthetic_source: Any, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(encode_weights(build_model(tiny_training).state_dict(), synthetic_source.classes))
    good = read_checkpoint(path)
    path.unlink()

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


def test_a_missing_backbone_is_an_error(tiny_training: Config, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"no file .*nowhere\.pth"):
        starting_model(tiny_training, ("a", "b", "c"), str(tmp_path / "nowhere.pth"))
    tiny_training.model.backbone = dict(type="MobileNetV2", out_indices=(2, 4, 6))
    with pytest.raises(
        MissingWeightsError,
        match=r"expected a backbone out of EfficientNetLite0, .*, ResNet",
    ):
        starting_model(tiny_training, ("a",), "imagenet")
