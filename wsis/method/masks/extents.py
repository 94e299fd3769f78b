"""How many things an image shows and how large they are: what settings depend on, in four numbers and one line."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def extents(areas: Sequence[NDArray[np.floating]], images: Sequence[float]) -> dict[str, float]:
    """Numbers for a manifest; empty where no image shows anything.

    Args:
        areas: of each image the areas of its things, float [N], pixels.
        images: the area of each image, pixels.

    Returns:
        `an_image` (median) and `at_most` (largest) number of things of the images that show some, `median_side`
        (square root of the area, pixels) and `median_share` (of the image's area) of the things.
    """
    numbers = [len(one) for one in areas if len(one)]
    if not numbers:
        return {}
    sides = np.sqrt(np.concatenate([np.asarray(one, float) for one in areas]))
    shares = np.concatenate(
        [np.asarray(one, float) / whole for one, whole in zip(areas, images, strict=True)]
    )
    return {
        "an_image": float(np.median(numbers)),
        "at_most": float(max(numbers)),
        "median_side": round(float(np.median(sides)), 1),
        "median_share": round(float(np.median(shares)), 5),
    }


def extents_line(found: dict[str, float], things: str) -> str:
    """That in words; `things` is what was counted."""
    if not found:
        return f"no {things}"
    return (
        f"{things} an image: {found['an_image']:g} (median), at most {found['at_most']:g}; median side "
        f"{found['median_side']:g} pixels, {100 * found['median_share']:.2g} % of the image"
    )
