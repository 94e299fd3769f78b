"""The conditional network: features -> noise -> ReLU -> proposal scores F^k_{u,j} (paper 3.2, C.1).

Suffix legend: B images, K samples, P proposals, S superpixels, C classes, J score columns (0 = background),
D feature channels, h w feature size, n = h*w cells.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wsis.errors import InputError, NonFiniteError
from wsis.method.backbones.lite_unet import FeatureExtractor
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.pooling import Pooling, pool_proposals

Precision = Literal["float32", "bfloat16", "float16"]
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class HeadConfig:
    """Settings of the score head.

    Attributes:
        num_classes: C.
        pooling: see `pooling.pool_proposals`.
        background_margin: initial value of a learned constant of the background's map inside the proposal, so that an
            image-normalised score is sum(c - b) / (H*W): ground inside a proposal costs. 0 leaves it out.
        background_bias: initial value of the background's constant score (the bias of the paper's 1x1 convolution after
            global average pooling). An image-normalised score is proportional to area, so small proposals sit at this
            constant; near 0 they win by dozens, and learning drowns in them. Below eps * clamp (3.0) all of
            them stay inside the reach of loss-augmented inference, which suits eps < 0; central differences need more.
        temperature: initial value of the learned scale of the pooled maps.
        noise_scale: initial standard deviation of the noise channel's weights.
    """

    num_classes: int
    pooling: Pooling = "image"
    background_margin: float = 0.0
    background_bias: float = 2.0
    temperature: float = 10.0
    noise_scale: float = 1.0


class ConditionalNetwork(nn.Module):
    """Scores of the proposals under K noise samples; the features are computed once per image.

    The noise enters as one more channel, followed by a 1x1 convolution back to D channels and a ReLU. A 1x1
    convolution is linear, so its feature part is computed once and w_noise * z^k added for each sample. After
    the ReLU everything is linear: the class convolution comes first, then the sum over superpixels.

    Args:
        precision: of the feature extractor's arithmetic (autocast); everything from the noise on is float32.
    """

    def __init__(
        self, extractor: FeatureExtractor, config: HeadConfig, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        if config.num_classes < 1:
            raise InputError(f"num_classes: expected >= 1, got {config.num_classes}")
        channels = extractor.channels
        self.extractor, self.config, self.precision = extractor, config, precision
        self.mix = nn.Conv2d(channels, channels, 1)
        self.noise_weight = nn.Parameter(torch.randn(channels) * config.noise_scale)
        self.classify = nn.Linear(channels, config.num_classes + 1)
        nn.init.normal_(self.classify.weight, std=0.03)
        nn.init.zeros_(self.classify.bias)
        margin = torch.zeros(config.num_classes + 1)
        margin[0] = config.background_margin
        self.margin = nn.Parameter(margin, requires_grad=config.background_margin != 0)
        with torch.no_grad():
            self.classify.bias[0] = config.background_bias
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))

    def features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..255 -> mixed features before noise and ReLU, float32 [B, D, h, w]."""
        dtype = _AUTOCAST.get(self.precision)
        with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            mixed: Tensor = self.mix(self.extractor(images))
        return mixed.float()

    def class_maps(self, features: Tensor, noise: Tensor, columns: Tensor) -> Tensor:
        """Class maps of one image after noise and ReLU.

        Args:
            features: float [D, h, w], one image of `features`.
            noise: float [K, h, w].
            columns: int64 [J], classes to score, 0 = background.

        Returns:
            float [K, J, h, w].
        """
        samples, (height, width) = len(noise), features.shape[1:]
        hidden = torch.relu(
            features.flatten(1)[None] + self.noise_weight[None, :, None] * noise.flatten(1)[:, None]
        )
        maps = self.classify.weight[columns] @ hidden + self.margin[columns][:, None]
        return maps.reshape(samples, len(columns), height, width)

    def proposal_scores(
        self, features: Tensor, noise: Tensor, matrix: Tensor, graph: ProposalGraph, classes: Tensor
    ) -> Tensor:
        """Return F^k_{u,j}, float32 [K, P, J], for the background and the given classes.

        Args:
            features: float [D, h, w], the valid part of one image's `features`.
            noise: float [K, h, w].
            matrix: sparse [S, h*w] of `pooling.pool_matrix`.
            graph: the image's proposals.
            classes: int64 [J - 1] in 1..C; the annotated classes, or all.

        Raises:
            NonFiniteError: a feature or a score is NaN or infinite.
        """
        if not torch.isfinite(features).all():  # ReLU would hide -inf
            raise NonFiniteError("conditional network: a feature is NaN or infinite")
        columns = torch.cat([classes.new_zeros(1), classes])
        maps = self.class_maps(features, noise, columns)
        samples = len(noise)
        sums = torch.sparse.mm(matrix, maps.flatten(0, 1).flatten(1).T)
        pixels = graph.size[0] * graph.size[1]
        pooled = pool_proposals(sums, graph.membership, graph.areas, pixels, self.config.pooling)
        pooled = pooled.reshape(-1, samples, len(columns)).transpose(0, 1)
        scores = pooled * self.log_temperature.exp() + self.classify.bias[columns]
        if not torch.isfinite(scores).all():
            raise NonFiniteError("conditional network: a proposal score is NaN or infinite")
        return scores

    def parameter_groups(self, learning_rate: float, backbone_factor: float) -> list[dict[str, object]]:
        """Parameter groups for an optimizer: the pretrained part learns `backbone_factor` times slower."""
        slow = self.extractor.backbone_parameters()
        known = {id(parameter) for parameter in slow}
        fast = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        groups: list[dict[str, object]] = [{"params": fast, "lr": learning_rate}]
        if slow:
            groups.append({"params": slow, "lr": learning_rate * backbone_factor})
        return groups
