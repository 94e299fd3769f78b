"""From stored arrays and image bytes to network inputs: one description shared by training and sampling.

Suffix legend: B images, K samples, P proposals, H W image, h w network input.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from wsis.errors import InputError
from wsis.method.conditional.architectures import NetworkConfig
from wsis.method.conditional.filtering import boxed_rows, overlapping_rows, seed_superpixels
from wsis.method.conditional.graph import ProposalGraph
from wsis.method.conditional.noise import Noise, noise_cells, score_noise
from wsis.method.dissimilarity.image_problem import ImageArrays, ProblemConfig, network_size
from wsis.method.dissimilarity.objective import ImageProblem
from wsis.method.dissimilarity.seed_groups import SeedGroup
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig, seed_targets
from wsis.method.dissimilarity.targets import Targets
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.prm.seeds import Seeds
from wsis.method.proposals.boxes.candidates import CANDIDATES
from wsis.method.random_words import random_word

Record = Mapping[str, np.ndarray]


class SamplingConfig(ProblemConfig, NetworkConfig):
    """All that is needed beside the weights to draw samples as in training."""

    k: int = Field(
        10, ge=1, le=256, description="samples of an image (paper: 10); 1: pointwise PW_c, without any noise"
    )
    image_size: int = Field(256, ge=32, le=2048, description="longer side of the network input")
    noise_grid: int = Field(4, ge=0, le=256, description="cells a side; 0: independent noise at every pixel")
    score_noise: float = Field(
        0.1, ge=0, description="scale of Gumbel noise on the scores in training; paper: 0; see pseudo_labels"
    )
    max_proposals: int = Field(
        300,
        ge=1,
        le=20_000,
        description="proposals kept after the filter, by objectness; with boxes 16 a box at least",
    )
    seed_threshold: float = Field(
        0.3, ge=0, le=1, description="share of a seed map's maximum that counts as seed"
    )


def filtered_rows(proposals: ProposalSet, seeds: Seeds, config: SamplingConfig) -> np.ndarray:
    """Rows of the proposals that take part (paper 6.2), int64 [n] ascending, n >= 1 if there is any proposal.

    Under box supervision (every seed has its box) those that fit a box, else those that overlap a seed.
    """
    if len(seeds.boxes):
        limit = max(config.max_proposals, CANDIDATES * len(seeds.boxes))
        return boxed_rows(proposals.boxes, seeds.boxes, config.box_threshold, limit)
    hit = seed_superpixels(
        proposals.superpixels,
        seeds.peaks,
        seeds.peak_response_maps,
        proposals.image_size,
        proposals.membership.shape[1],
        config.seed_threshold,
    )
    return overlapping_rows(proposals.membership, hit, config.max_proposals)


def arrays_of_image(dataset: Record, proposals: ProposalSet, seeds: Seeds, kept: np.ndarray) -> ImageArrays:
    """Arrays of one image from its stored records and the rows of the proposals kept by the filter."""
    boxes = seeds.boxes
    return ImageArrays(
        superpixels=proposals.superpixels,
        membership=proposals.membership[kept],
        proposal_boxes=proposals.boxes[kept],
        proposal_scores=proposals.scores[kept],
        edges=proposals.edges,
        edge_contours=proposals.edge_contours,
        edge_lengths=proposals.edge_lengths,
        labels=dataset["labels"],
        boxes=boxes,
        box_labels=seeds.peaks[: len(boxes), 0],
    )


def targets_of_seeds(
    graph: ProposalGraph,
    arrays: ImageArrays,
    dataset: Record,
    seeds: Seeds,
    num_classes: int,
    config: SeedTargetConfig,
    grouped: Callable[[], list[SeedGroup]] | None = None,
) -> Targets:
    """The seeds of one image as targets y_p, from its stored records and the graph of the proposals kept by the filter.

    Raises:
        InputError: see `seed_targets`.
    """
    boxes = None
    if len(arrays.boxes):
        overlap = torch.from_numpy(box_iou(arrays.proposal_boxes, arrays.boxes).astype(np.float32))
        boxes = torch.from_numpy(arrays.proposal_scores), overlap
    return seed_targets(
        graph,
        arrays.superpixels,
        seeds.peaks,
        seeds.peak_response_maps,
        seeds.class_response_maps,
        seeds.response_classes,
        (int(dataset["size"][0]), int(dataset["size"][1])),
        num_classes,
        config,
        boxes,
        grouped,
    )


def resized(image: np.ndarray, max_side: int) -> Tensor:
    """RGB uint8 [H, W, 3] -> uint8 [3, h, w], longer side about `max_side`, both multiples of 32.

    Raises:
        InputError: not an RGB uint8 image with at least one pixel.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"image: expected uint8 [H, W, 3] with pixels, got {image.dtype} {image.shape}")
    height, width = network_size((image.shape[0], image.shape[1]), max_side)
    shrinks = height * width < image.shape[0] * image.shape[1]
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))


def image_batch(
    images: Sequence[Tensor], flipped: Sequence[bool], size: tuple[int, int] | None = None
) -> Tensor:
    """Stack images uint8 [3, h, w] to uint8 [B, 3, H, W]: mirrored where asked, zeros on the right and below.

    Args:
        size: H and W, where the images are a part of a larger batch; None: what these images need.
    """
    height, width = size or (max(i.shape[1] for i in images), max(i.shape[2] for i in images))
    batch = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
    for row, image, flip in zip(batch, images, flipped, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image.flip(-1) if flip else image
    return batch


def image_noise(problem: ImageProblem, config: SamplingConfig, key: Sequence[int]) -> Noise:
    """Noise of K samples that is a function of `key` alone (seed, outer iteration, step or image, ...).

    One sample, the pointwise PW_c of Table 3, has all-zero maps and no noise of the scores.
    """
    pointwise = config.k == 1
    word = random_word(*key) & 0x7FFF_FFFF_FFFF_FFFF
    generator = torch.Generator().manual_seed(word)
    size = problem.feature_size
    cells = noise_cells(config.k, size, grid=config.noise_grid, zero=pointwise, generator=generator)
    if pointwise or config.score_noise == 0:
        return Noise(cells)
    shape = (config.k, problem.graph.num_proposals, 1 + len(problem.classes))
    return Noise(cells, score_noise(shape, config.score_noise, generator))


def image_key(image_id: str) -> int:
    """A stable integer of an image id, so that an image's samples do not depend on the order of images."""
    return zlib.crc32(image_id.encode())
