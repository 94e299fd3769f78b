"""Small scenes shared by the tests of wsis.method.proposals."""

import numpy as np


def scene(height=60, width=90, seed=0):
    """A textured ground with two textured discs and a bar, uint8 RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), (70, 120, 60), float)
    discs = (((y - 20) ** 2 + (x - 25) ** 2) < 150, ((y - 35) ** 2 + (x - 65) ** 2) < 220)
    image[discs[0]], image[discs[1]] = (200, 60, 50), (60, 60, 190)
    image[50:55, 5:85] = (230, 220, 90)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8), np.stack(discs)


def voronoi(height, width, cells, seed):
    """Superpixel map [h, w] of connected cells (4-connected parts of a Voronoi diagram)."""
    from wsis.method.proposals.imports.cells import connected_cells

    rng = np.random.default_rng(seed)
    at = np.stack([rng.integers(0, height, cells), rng.integers(0, width, cells)], 1)
    y, x = np.mgrid[:height, :width]
    nearest = ((y[..., None] - at[:, 0]) ** 2 + (x[..., None] - at[:, 1]) ** 2).argmin(-1)
    return connected_cells(nearest)
