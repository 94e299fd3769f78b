"""A BSDS-shaped folder of drawn rectangles."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_boundaries(root: Path, split: str, name: str, seed: int) -> None:
    """One photograph of a bright rectangle, and its outline as two annotators drew it."""
    rng = np.random.default_rng(seed)
    image = np.full((70, 90, 3), 60, np.uint8)
    top, left = rng.integers(5, 30, 2)
    image[top : top + 30, left : left + 40] = 190
    drawn = np.zeros((70, 90), np.uint8)
    drawn[top, left : left + 40] = drawn[top + 29, left : left + 40] = 3
    drawn[top : top + 30, left] = drawn[top : top + 30, left + 39] = 3
    for folder, array, suffix in (("images", image, "jpg"), ("boundaries", drawn, "png")):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / folder / split / f"{name}.{suffix}")
