"""The peak response classifier: a fully convolutional backbone and a 1x1 convolution to class response maps.

Suffix legend: B images, C classes, H W pixels, h w class-response-map cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.backbones import Backbone, PretrainedSpec, build_backbone, load_strictly
from wsis.method.backbones.layers import BatchNormMode
from wsis.method.prm.peak_stimulation import peak_stimulation


class PeakResponseClassifier(nn.Module):
    """Images -> class response maps (Zhou et al., CVPR 2018, section 3.1).

    Args:
        backbone: a backbone whose :meth:`Backbone.head` can be called (Lite0: built ``with_head=True``).
        num_classes: C, without background.
        window: window of the local maxima, in cells.
    """

    def __init__(self, backbone: Backbone, num_classes: int, window: int = 3) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"num_classes: expected at least 1, got {num_classes}")
        self.backbone = backbone
        self.num_classes = num_classes
        self.window = window
        self.classifier = nn.Conv2d(backbone.head_channels, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """RGB images [B, 3, H, W] in 0..255 -> class response maps (logits) [B, C, h, w]."""
        maps: Tensor = self.classifier(self.backbone.head(self.backbone.normalise(images)))
        return maps

    def scores(self, class_response_maps: Tensor) -> Tensor:
        """Class logits [B, C] of class response maps, by peak stimulation."""
        return peak_stimulation(class_response_maps, self.window)

    def parameter_groups(self, backbone_rate: float, classifier_rate: float) -> list[dict[str, object]]:
        """Groups for an optimizer: the backbone's learning parameters, and the new layer's."""
        learning = [p for p in self.backbone.parameters() if p.requires_grad]
        return [
            {"params": learning, "lr": backbone_rate, "initial_lr": backbone_rate},
            {
                "params": list(self.classifier.parameters()),
                "lr": classifier_rate,
                "initial_lr": classifier_rate,
            },
        ]


@dataclass(frozen=True)
class ClassifierSpec:
    """What it takes to build a classifier again and load its weights; goes into the artefact as JSON.

    Attributes: as in :func:`wsis.method.backbones.build_backbone` and PeakResponseClassifier.
    """

    backbone: str
    num_classes: int
    batch_norm: BatchNormMode = "frozen_statistics"
    frozen_blocks: int = 0
    output_stride: int = 32
    window: int = 3

    def build(self, pretrained: PretrainedSpec) -> PeakResponseClassifier:
        """The classifier, its backbone with the ``pretrained`` weights (None: random, to be loaded over).

        Raises:
            InputError, MissingWeightsError: as build_backbone does.
        """
        backbone = build_backbone(
            self.backbone,
            pretrained,
            out_indices=(4,),
            batch_norm=self.batch_norm,
            frozen_blocks=self.frozen_blocks,
            output_stride=self.output_stride,
            with_head=True,
        )
        return PeakResponseClassifier(backbone, self.num_classes, self.window)

    def restore(self, weights: Mapping[str, Tensor], source: str) -> PeakResponseClassifier:
        """The trained classifier, in evaluation mode.

        Raises:
            MissingWeightsError: the weights are of another network; names ``source`` and the first tensor.
        """
        model = self.build(None)
        load_strictly(model, weights, source, lambda name: False)
        return model.eval()
