"""Small random problems shared by the tests of the conditional distribution and of the dissimilarity."""

from typing import Any

import numpy as np
import torch

from wsis.method.conditional.graph import ProposalGraph, build_graph
from wsis.method.conditional.noise import noise_cells, upsampled


def noise_maps(samples: int, size: tuple[int, int], **given: Any) -> torch.Tensor:
    """K noise maps, float32 [K, H, W] in [0, 1]; the rest as of `noise_cells`."""
    return upsampled(noise_cells(samples, size, **given), size)


def block_superpixels(rows: int, columns: int, block: int, rng: np.random.Generator) -> np.ndarray:
    """A jittered grid of superpixels, int32 [rows*block, columns*block], ids 0..rows*columns-1."""
    grid = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    pixels = np.repeat(np.repeat(grid, block, 0), block, 1)
    for _ in range(2 * rows * columns):  # hand a pixel to its right neighbour's superpixel
        y, x = rng.integers(0, pixels.shape[0]), rng.integers(0, pixels.shape[1] - 1)
        if (pixels == pixels[y, x]).sum() > 1:
            pixels[y, x] = pixels[y, x + 1]
    return pixels


def superpixel_edges(superpixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges int [E, 2] and lengths float [E] of the superpixel graph, by plain loops."""
    found: dict[tuple[int, int], int] = {}
    height, width = superpixels.shape
    for y in range(height):
        for x in range(width):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < height and other[1] < width and superpixels[y, x] != superpixels[other]:
                    key = tuple(sorted((int(superpixels[y, x]), int(superpixels[other]))))
                    found[key] = found.get(key, 0) + 1
    edges = np.array(sorted(found), dtype=np.int32).reshape(-1, 2)
    return edges, np.array([found[tuple(e)] for e in edges.tolist()], dtype=np.float32)


def random_case(
    seed: int,
    proposals: int = 12,
    rows: int = 4,
    columns: int = 5,
    block: int = 4,
    max_neighbours: int = 6,
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], ProposalGraph]:
    """Return superpixels, membership bool [P, S], (edges, contours, lengths) and the graph of a random problem."""
    rng = np.random.default_rng(seed)
    superpixels = block_superpixels(rows, columns, block, rng)
    edges, lengths = superpixel_edges(superpixels)
    contours = (rng.random(len(edges)) * 0.2 * lengths).astype(np.float32)
    membership = rng.random((proposals, rows * columns)) < rng.uniform(0.1, 0.6, (proposals, 1))
    membership[np.arange(proposals), rng.integers(0, rows * columns, proposals)] = True
    graph = build_graph(superpixels, membership, edges, contours, lengths, max_neighbours)
    return superpixels, membership, (edges, contours, lengths), graph


def dense_masks(superpixels: np.ndarray, membership: np.ndarray) -> torch.Tensor:
    """Dense masks float [P, h, w]."""
    return torch.from_numpy(membership[:, superpixels].astype(np.float32))
