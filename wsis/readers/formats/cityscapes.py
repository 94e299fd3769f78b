"""Cityscapes' own rules: where its instance maps lie, and what their numbers mean.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016. A pixel is 1000 times its
class plus the number of its instance; of a group that nobody took apart, the class alone.
"""

from pathlib import Path

LEFT, FINE = "leftImg8bit", "gtFine"
_CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_IGNORED = {29, 30}  # caravan, trailer: left out of its own evaluation


def is_cityscapes(root: Path) -> bool:
    """Whether a data root has its two folders."""
    return (root / LEFT).is_dir() and (root / FINE).is_dir()


def its_instances(image: str) -> str:
    """The instance map of an image of the left camera, both below the root."""
    stem = image.removeprefix(f"{LEFT}/").rpartition(f"_{LEFT}")[0]
    return f"{FINE}/{stem}_{FINE}_instanceIds.png"


def cityscapes_class(number: int) -> str | None:
    """Class of an instance by its number; empty for groups and what is not evaluated; None for what has no instance."""
    kind = number // 1000 if number >= 1000 else number
    if kind in _IGNORED or (kind in _CLASSES and number < 1000):
        return ""
    return _CLASSES.get(kind)
