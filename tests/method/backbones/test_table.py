"""A backbone is its class and one row: the classifier, its peak response maps and the detector then know its name."""

from itertools import pairwise

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from wsis.method.backbones import BACKBONES, Backbone, BackboneRow, build_backbone
from wsis.method.backbones.layers import ConvStep, ReluStep, Steps
from wsis.method.prediction.models import _load_backbone
from wsis.method.prm.classifier import ClassifierSpec
from wsis.method.prm.peak_backprop import peak_response_maps


class Plain(Backbone):
    """Five convolutions of stride 2, each with BatchNorm and ReLU."""

    channels = (4, 4, 4, 4, 4)
    head_channels = 4
    mean, std = (127.0,) * 3, (128.0,) * 3

    def __init__(
        self, out_indices=(4,), batch_norm="frozen", frozen_blocks=0, output_stride=32, with_head=False
    ) -> None:
        super().__init__(out_indices, batch_norm)
        sizes = [3, *self.channels]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in self.channels)
        self.freeze([*self.convs[:frozen_blocks], *self.norms[:frozen_blocks]])

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            images = norm(conv(images)).relu()
            features.append(images)
        return [features[i] for i in self.out_indices]

    def head(self, images: Tensor) -> Tensor:
        return self(images)[-1]

    def head_steps(self) -> Steps:
        pairs = zip(self.convs, self.norms, strict=True)
        return tuple(step for pair in pairs for step in (ConvStep(*pair), ReluStep()))


def test_a_backbone_is_a_class_and_a_row(tmp_path, monkeypatch):
    torch.manual_seed(3)
    learned = Plain().state_dict()
    torch.save(
        {f"module.{k}": v for k, v in learned.items()} | {"fc.bias": torch.zeros(7)}, tmp_path / "p.pth"
    )
    row = BackboneRow(
        Plain,
        lambda: str(tmp_path / "p.pth"),
        mmdet={"type": "Plain"},
        rename=lambda state: {k.removeprefix("module."): v for k, v in state.items()},
        unused=("fc.",),
    )
    monkeypatch.setitem(BACKBONES, "plain", row)
    model = ClassifierSpec("plain", 3).build("imagenet").eval()
    model.classifier.weight.data.abs_()  # so that the peak has a source
    assert all(torch.equal(model.backbone.state_dict()[k], v) for k, v in learned.items())
    maps = peak_response_maps(model, torch.rand(1, 3, 64, 64) * 255, torch.tensor([[0, 2, 1, 1]]))
    assert (maps.shape == (1, 64, 64) and maps.sum() in (0, 1)) or torch.isclose(
        maps.sum(), torch.tensor(1.0)
    )
    detectors = build_backbone("plain", None)
    _load_backbone(detectors, {"type": "Plain"}, "imagenet")
    assert torch.equal(detectors.convs[4].weight, learned["convs.4.weight"])


def test_backbones_of_the_table_can_stand_in_a_detectors_config():
    assert all(row.mmdet["type"] in MODELS.module_dict for row in BACKBONES.values())
