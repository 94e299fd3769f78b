"""The conditional network: features -> noise -> ReLU -> proposal scores F^k_{u,j} (paper 3.2, C.1).

Suffix legend: B images, K samples, P proposals, S superpixels, C classes, J score columns (0 = background),
D feature channels, h w feature size, n = h*w cells.
"""

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.backbones.lite_unet import FeatureExtractor
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.pooling import Pooling, pool_proposals
from wsis.method.settings import Precision, Settings

BACKBONE_FACTOR = 0.1  # on the learning rate of pretrained weights
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class HeadConfig(Settings):
    """Settings of the score head.

    `background_bias` is the bias of the paper's 1x1 convolution after global average pooling. An image-normalised score
    is proportional to area, so small proposals sit at this constant; near 0 they win by dozens, and learning drowns in
    them. Below eps * CLAMP (3.0) all of them stay inside the reach of loss-augmented inference.
    """

    pooling: Pooling = Field(
        "image",
        description="a proposal's sum of features is divided by: image: the image's pixels (paper); root: the root of "
        "the product of these and its own",
    )
    background_bias: float = Field(
        2.0,
        description="initial constant score of the background; within 3 epsilon, the reach of the task loss",
    )
    temperature: float = Field(30.0, gt=0, description="initial scale of the scores, then learned")


class ConditionalNetwork(nn.Module):
    """Scores of the proposals under K noise samples; the features are computed once per image.

    The noise enters as one more channel, followed by a 1x1 convolution back to D channels and a ReLU. A 1x1
    convolution is linear, so its feature part is computed once and w_noise * z^k added for each sample. After
    the ReLU everything is linear: the class convolution comes first, then the sum over superpixels.

    Args:
        num_classes: C.
        precision: of the feature extractor's arithmetic (autocast); everything from the noise on is float32.

    Raises:
        InputError: there is no class.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        num_classes: int,
        config: HeadConfig,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"num_classes: expected >= 1, got {num_classes}")
        channels = extractor.channels
        self.extractor, self.config, self.precision = extractor, config, precision
        self.mix = nn.Conv2d(channels, channels, 1)
        self.noise_weight = nn.Parameter(torch.randn(channels))
        self.classify = nn.Linear(channels, num_classes + 1)
        nn.init.normal_(self.classify.weight, std=0.03)
        nn.init.zeros_(self.classify.bias)
        with torch.no_grad():
            self.classify.bias[0] = config.background_bias
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.register_load_state_dict_pre_hook(_without_margin)

    def features(self, images: Tensor) -> Tensor:
        """Images uint8 or float [B, 3, H, W] in 0..255 -> mixed features before noise and ReLU, float32
        [B, D, h, w]."""
        images = images if images.is_floating_point() else images.float()
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
            float [n, K, J], a row a cell.
        """
        # channels come last, as they lie in memory: no step copies what it reads
        cells, noise_of_cells = features.flatten(1).T[:, None], noise.flatten(1).T[:, :, None]
        hidden = torch.addcmul(cells, noise_of_cells, self.noise_weight).relu_()
        return hidden @ self.classify.weight[columns].T

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

        Features that are not finite may give finite scores, since the ReLU hides minus infinity: see
        `wsis.method.finite`.
        """
        columns = torch.cat([classes.new_zeros(1), classes])
        maps = self.class_maps(features, noise, columns)
        samples = len(noise)
        sums = torch.sparse.mm(matrix, maps.flatten(1))
        pixels = graph.size[0] * graph.size[1]
        pooled = pool_proposals(sums, graph.membership, graph.areas, pixels, self.config.pooling)
        pooled = pooled.reshape(-1, samples, len(columns)).transpose(0, 1)
        return pooled * self.log_temperature.exp() + self.classify.bias[columns]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, object]]:
        """Parameter groups for an optimizer: the pretrained part learns slower, by `BACKBONE_FACTOR`."""
        slow = self.extractor.backbone_parameters()
        known = {id(parameter) for parameter in slow}
        fast = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        groups: list[dict[str, object]] = [{"params": fast, "lr": learning_rate}]
        if slow:
            groups.append({"params": slow, "lr": learning_rate * BACKBONE_FACTOR})
        return groups


def _without_margin(_: nn.Module, weights: dict[str, Any], *__: Any) -> None:
    """Weights of wsis 0.1 have a `margin` too, zero in every run that can be opened (`wsis.views.stored_configs`)."""
    weights.pop("margin", None)
