"""Stage `train_contours`: reads boundaries, learns, resumes exactly, refuses bad data before it trains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from data_contracts.errors import DataError
from data_contracts.store import Store
from stages.proposals import train_contours
from tests.boundary_folder import write_boundaries
from wsis.engine.stage import Execution, execute
from wsis.method.proposals.contours.detectors import LearnedContours
from wsis.method.proposals.contours.weights import load_network


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(3):
        write_boundaries(tmp_path / "data", "train", f"t{index}", index)
    write_boundaries(tmp_path / "data", "val", "v0", 9)
    return tmp_path / "data"


def _config(root: Path, **changes: Any) -> train_contours.Config:
    small = {
        "splits": ("train",),
        "pretrained": None,
        "steps": 4,
        "batch_size": 2,
        "crop": 64,
        "warmup_steps": 1,
    }
    return train_contours.Config(root=root, **{**small, **changes})


def _train(config: train_contours.Config, store: Path, **kwargs: Any) -> Any:
    execution = Execution(device="cpu", threads=1)
    return execute(train_contours.STAGE, config, {}, Store(store), execution=execution, **kwargs).artefact


def test_the_model_file_is_a_detector(root: Path, tmp_path: Path) -> None:
    artefact = _train(_config(root), tmp_path / "store")
    detector = LearnedContours(artefact.file(train_contours.MODEL_NAME))
    assert detector(np.zeros((20, 30, 3), np.uint8), 1.0).shape == (20, 30)
    assert artefact.manifest.counts["images"] == 3
    assert list(artefact.manifest.supervision) == ["boundaries: train of the named folder"]


def test_an_interrupted_training_gives_the_same_weights(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(root, steps=12)
    whole = _train(config, tmp_path / "whole").file(train_contours.MODEL_NAME)
    real, calls = train_contours.contour_loss, 0

    def stopping(*args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(train_contours, "contour_loss", stopping)
    often = Execution(device="cpu", threads=1, checkpoint_seconds=1e-6)
    store = Store(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        execute(train_contours.STAGE, config, {}, store, execution=often)
    calls = 100
    resumed = execute(train_contours.STAGE, config, {}, store, execution=often).artefact
    assert calls == 101  # the checkpoint after step 11 was used
    first = load_network(whole).state_dict()
    second = load_network(resumed.file(train_contours.MODEL_NAME)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_other_boundaries_are_another_artefact(root: Path) -> None:
    config = _config(root)
    before = train_contours.content_digest(config)
    drawn = root / "boundaries" / "train" / "t1.png"
    pixels = np.asarray(Image.open(drawn)).copy()
    pixels[0, 0] = 1
    Image.fromarray(pixels).save(drawn)
    assert train_contours.content_digest(config) != before
    assert train_contours.content_digest(_config(root, splits=("val",))) != before


def test_everything_wrong_with_the_data_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected photographs .*none/images/train"):
        train_contours.content_digest(_config(tmp_path / "none"))
    (root / "boundaries" / "train" / "t0.png").unlink()
    with pytest.raises(DataError, match=r"image t0: the boundary map .* is missing"):
        _train(_config(root), tmp_path / "store")
    Image.fromarray(np.zeros((70, 90), np.uint8)).save(root / "boundaries" / "train" / "t0.png")
    Image.fromarray(np.ones((5, 9), np.uint8)).save(root / "boundaries" / "train" / "t1.png")
    (root / "images" / "train" / "t2.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DataError) as caught:
        _train(_config(root), tmp_path / "store")
    for part in (
        "image t0: expected a boundary",
        r"image t1: expected a boundary map of (70, 90), got (5, 9)",
        "t2",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"smallest": 2.0, "largest": 1.0}, {"crop": 100}, {"splits": ()}, {"splits": ("test",)}]
)
def test_bad_settings_are_refused(root: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        _config(root, **change)


def test_a_real_photograph_is_read(bsds_root: Path) -> None:
    from wsis.readers.formats.bsds import boundary_files, read_examples

    assert len(boundary_files(bsds_root, ("train", "val"))) == 300
    one = read_examples(bsds_root, ("val",))[0]
    assert one.image.shape[:2] == one.annotators.shape and one.annotators.max() >= 0b1111
