"""Memory of a training step, counted before it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.prediction import mmdet_training
from stages.prediction.settings import PredictionConfig, config_file, model_spec
from tests.gpu.laid_as_on_a_gpu import laid_as_on_a_gpu
from wsis.method.prediction.config import plain_config, training_config
from wsis.method.prediction.memory import largest_batch, step_bytes
from wsis.method.prediction.models import build_model

GIB = 2**30


def config_of(model: str) -> Any:
    settings = PredictionConfig(
        model=model, pretrained=None, self_diversity=0.5, image_size=1333, shorter_size=800
    )
    spec = model_spec(settings, ("a", "b"))
    return training_config(plain_config(config_file(model), spec), spec)


def test_of_mmdetections_r50_it_is_what_a_gpu_was_measured_to_take():
    config = config_of("mask_rcnn_r50_fpn")
    found = step_bytes(config, (800, 1216), 16, 1, False)
    assert found / GIB == pytest.approx(23.8, rel=0.05)  # docs/howto/gpu.md
    half = step_bytes(config, (800, 1216), 8, 1, False)
    assert found / 2 < half < 0.52 * found
    assert 0.5 < step_bytes(config, (800, 1216), 16, 1, True) / found < 0.6


def test_what_autograd_keeps_is_counted_as_it_is_with_data():
    config = config_of("mask_rcnn_lite0_fpn")
    model: Any = build_model(config).train()
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    def regions(count: int, cells: int) -> torch.Tensor:
        return torch.rand(count, channels, cells, cells, requires_grad=True)

    sampler = config.model.train_cfg.rcnn.sampler.sampler
    # as on a GPU, whose memory is counted: there BatchNorms are not folded
    with laid_as_on_a_gpu(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = model.extract_feat(torch.rand(1, 3, 224, 288))
        channels = features[0].shape[1]
        outputs = [model.rpn_head(features), model.roi_head.bbox_head(regions(sampler.num, 7))]
        outputs.append(model.roi_head.mask_head(regions(int(sampler.num * sampler.pos_fraction), 14)))
    held = sum(storage.nbytes() for storage in kept.values())
    weights = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = step_bytes(config, (224, 288), 1, 2, False) - 4 * (weights + 3 * trained)
    assert found == pytest.approx(1.05 * held, rel=0.01)
    assert len(outputs) == 3


def test_images_high_and_wide_meet_in_a_batch():
    assert largest_batch([(375, 500), (500, 375)], [(1333, 800)]) == (1088, 1088)
    assert largest_batch([(375, 500)], [(1333, 800), (1333, 640)]) == (800, 1088)


class Source:
    """Two images."""

    def __len__(self) -> int:
        return 2

    def image_size(self, index: int) -> tuple[int, int]:
        return (375, 500)


@pytest.mark.parametrize(("free", "said"), [(24, "18.9 GiB are free"), (40, "40.0 GiB are free")])
def test_a_step_that_does_not_fit_is_said_with_what_helps(
    free: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    there = 18.9 if free == 24 else free
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(there * GIB), free * GIB))
    settings = PredictionConfig(
        model="mask_rcnn_r50_fpn",
        pretrained=None,
        self_diversity=0.5,
        image_size=1333,
        shorter_size=800,
        batch_size=16,
        optimizer="sgd",
    )
    spec = model_spec(settings, ("a",))
    line = mmdet_training._memory_line(
        settings, spec, config_of("mask_rcnn_r50_fpn"), Source(), torch.device("cuda")
    )
    assert said in line and "16 images of 800 x 1088" in line
    assert line.startswith("warning: ") == (free == 24)
    assert ("gradient_accumulation=2 helps" in line) == (free == 24)
