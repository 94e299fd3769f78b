"""The learned contour detector: an EfficientNet-Lite0 U-Net with a refinement at full resolution.

Suffix legend: B images, C channels, H W image size.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from wsis.method.backbones import PretrainedSpec
from wsis.method.backbones.lite_unet import LiteUNet, NormBlock, resize_as

_STRIDE = 32
_WIDTHS = (
    96,
    64,
    48,
    32,
)  # decoder channels at strides 32, 16, 8, 4; side logits at the last two and at stride 2
_CHANNELS = 32  # at stride 2
_FINE_CHANNELS = 16  # at full resolution


class ContourNetwork(nn.Module):
    """Images -> logit of a boundary at each pixel, and the side logits that supervise the decoder.

    Args:
        pretrained: weights of the encoder, see `wsis.method.backbones.build_backbone`.
    """

    def __init__(self, pretrained: PretrainedSpec) -> None:
        super().__init__()
        self.features = LiteUNet(
            pretrained,
            stride=2,
            channels=_CHANNELS,
            widths=_WIDTHS,
            frozen_blocks=0,
            batch_norm="frozen_statistics",
        )
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in (*_WIDTHS[2:], _CHANNELS))
        self.image = NormBlock(3, _FINE_CHANNELS)
        self.refine = NormBlock(_FINE_CHANNELS + _CHANNELS, _FINE_CHANNELS)
        self.out = nn.Conv2d(_FINE_CHANNELS, 1, 1)
        for layer in (*self.sides, self.out):  # boundaries are rare: start from their frequency
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, -2.0)

    def forward(self, images: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..255 -> logits [B, H, W]. Any size: padded by replication to strides of 32."""
        return self.with_sides(images)[0]

    def with_sides(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, H, W] and the side logits [B, h, w] at strides 8, 4 and 2 (of the padded image)."""
        height, width = images.shape[-2:]
        padded = functional.pad(images.float(), (0, -width % _STRIDE, 0, -height % _STRIDE), mode="replicate")
        decoded = self.features.decode(padded)[-len(self.sides) :]
        sides = [layer(x)[:, 0] for layer, x in zip(self.sides, decoded, strict=True)]
        fine = self.image(self.features.encoder.normalise(padded))
        fine = self.refine.of_joined(fine, resize_as(decoded[-1], fine))
        return self.out(fine)[:, 0, :height, :width], sides

    def parameter_groups(self, learning_rate: float, encoder_factor: float) -> list[dict[str, Any]]:
        """Encoder (``encoder_factor`` times the rate) and the rest, with `initial_lr` for schedules."""
        encoder = self.features.backbone_parameters()
        inside = {id(parameter) for parameter in encoder}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        rate = learning_rate * encoder_factor
        return [
            {"params": encoder, "lr": rate, "initial_lr": rate},
            {"params": rest, "lr": learning_rate, "initial_lr": learning_rate},
        ]
