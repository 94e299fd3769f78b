"""Images, proposals and scores that `benchmarks/conditional.py` works on: made at random, or of a photograph.

Suffix legend: P proposals, S superpixels, K samples, J score columns (0 = background), h w size of the map.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from wsis.method.conditional.graph import ProposalGraph, build_graph
from wsis.method.conditional.inference import Slots
from wsis.method.masks.superpixels import adjacency
from wsis.method.proposals import MCGConfig, generate
from wsis.readers.files.images import decode_image

CONTAINMENT = 0.5  # t of Algorithm 1


@dataclass(frozen=True)
class Sizes:
    """What a row works on; `photograph` stands in for the random map where it is given.

    Attributes:
        height, width: pixels of the superpixel map.
        superpixels, proposals: S and P asked for; a photograph may give fewer.
        samples: K.
        annotated: annotated classes, J - 1.
        channels: feature channels, of `pooling` alone.
    """

    height: int
    width: int
    superpixels: int
    proposals: int
    samples: int = 10
    annotated: int = 4
    channels: int = 32
    photograph: str | None = None


@dataclass(frozen=True)
class Regions:
    """Superpixels int32 [h, w], contour float32 [h, w], membership bool [P, S] and the superpixel graph."""

    superpixels: np.ndarray
    contour: np.ndarray
    membership: np.ndarray
    edges: np.ndarray
    edge_contours: np.ndarray
    edge_lengths: np.ndarray

    def graph(self) -> ProposalGraph:
        """The proposals as the conditional network takes them."""
        edges = (self.edges, self.edge_contours, self.edge_lengths)
        return build_graph(self.superpixels, self.membership, *edges)


def regions(sizes: Sizes, seed: int = 0) -> Regions:
    """The regions of `sizes.photograph`, or random ones: Voronoi cells, and ellipses of them as proposals."""
    if sizes.photograph is not None:
        return _of_photograph(sizes)
    rng = np.random.default_rng(seed)
    points = rng.random((sizes.superpixels, 2)) * [sizes.height, sizes.width]
    pixels = np.stack(np.mgrid[: sizes.height, : sizes.width], -1).reshape(-1, 2) + 0.5
    used, cells = np.unique(cKDTree(points).query(pixels)[1], return_inverse=True)
    centres = points[used]
    radius = np.exp(rng.uniform(np.log(0.04), np.log(0.45), (sizes.proposals, 2)))
    middle = rng.integers(0, len(centres), sizes.proposals)
    reach = radius * min(sizes.height, sizes.width)
    membership = np.stack(
        [(((centres - centres[m]) / r) ** 2).sum(1) <= 1 for m, r in zip(middle, reach, strict=True)]
    )
    superpixels = cells.reshape(sizes.height, sizes.width).astype(np.int32)
    contour = (0.2 * rng.random(superpixels.shape)).astype(np.float32)
    return Regions(superpixels, contour, membership, *adjacency(superpixels, contour))


def _of_photograph(sizes: Sizes) -> Regions:
    path = Path(str(sizes.photograph))
    config = MCGConfig(
        max_side=max(sizes.height, sizes.width),
        max_regions=sizes.superpixels,
        num_proposals=sizes.proposals,
    )
    found = generate(decode_image(path.read_bytes(), path.name), config)
    strongest = np.zeros(found.membership.shape[1], np.float32)
    np.maximum.at(strongest, found.edges.ravel(), np.repeat(found.edge_contours / found.edge_lengths, 2))
    contour = strongest[found.superpixels]  # a contour by pixel, which the dense reference needs
    return Regions(found.superpixels, contour, found.membership, *adjacency(found.superpixels, contour))


def slots(graph: ProposalGraph, annotated: int) -> Slots:
    """Image-level annotation: one slot for each annotated class."""
    return Slots(torch.arange(1, annotated + 1), graph.contains(CONTAINMENT))


def scores(graph: ProposalGraph, sizes: Sizes, background: float, seed: int = 0) -> Tensor:
    """Random refined scores float32 [K, P, J]; `background` is added to column 0."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(sizes.samples, graph.num_proposals, 1 + sizes.annotated, generator=generator)
    drawn[..., 0] += background
    return drawn
