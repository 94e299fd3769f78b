"""What the parts of `benchmarks/proposals.py` share: photographs, settings, figures to reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stages.proposals import proposals
from wsis.readers.files.images import decode_image

VOC_SIZE = (500, 375)  # width, height of most photographs of VOC


@dataclass(frozen=True)
class Photograph:
    """A photograph of a VOC devkit."""

    name: str
    root: Path

    @property
    def path(self) -> Path:
        """Its file."""
        return self.root / "JPEGImages" / f"{self.name}.jpg"

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB [H, W, 3]."""
        return load(self.path)

    @property
    def objects(self) -> NDArray[np.uint8]:
        """Instance numbers [H, W], 255 void. For measuring alone."""
        return np.asarray(Image.open(self.root / "SegmentationObject" / f"{self.name}.png"))


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        photographs: of the split, for quality.
        timed: photographs for all other parts.
        voc_sized: photographs of 500x375 pixels, and where they come from.
        config: the settings of the first row of every table.
    """

    photographs: Sequence[Photograph]
    timed: Sequence[Path]
    voc_sized: Sequence[Path]
    voc_origin: str
    config: proposals.Config

    @property
    def voc_config(self) -> proposals.Config:
        """The config at the full size of VOC's photographs, 1,000 proposals."""
        return changed(self.config, max_side=500, num_proposals=1000)


def photographs(root: Path, split: str, limit: int | None) -> list[Photograph]:
    """The first ``limit`` photographs of a split of the devkit that have masks."""
    names = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
    return [Photograph(name, root) for name in names[:limit]]


def load(path: Path) -> NDArray[np.uint8]:
    """A photograph, RGB [H, W, 3]."""
    return decode_image(path.read_bytes(), path.name)


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of them, evenly spread."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


def resized(paths: Sequence[Path], size: tuple[int, int], folder: Path) -> list[Path]:
    """The photographs cut to the shape of ``size`` (width, height) about their centre, at that size, as JPEG."""
    folder.mkdir(parents=True)
    made = []
    for path in paths:
        with Image.open(path) as image:
            fitted = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC)
        made.append(folder / f"{path.stem}.jpg")
        fitted.save(made[-1], quality=92)
    return made


def changed(config: proposals.Config, **changes: object) -> proposals.Config:
    """The config with other values, validated."""
    return proposals.Config.model_validate({**config.model_dump(), **changes})


@dataclass(frozen=True)
class Figure:
    """A measured value and the bound that it should keep."""

    name: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether it does."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def print_figures(figures: Sequence[Figure]) -> None:
    """The table of figures to reach."""
    print("\n## Figures to reach\n\n| | bound | measured | |\n|---|---:|---:|---|")
    for one in figures:
        sign = "≥" if one.at_least else "≤"
        verdict = "reached" if one.kept else "**missed**"
        print(f"| {one.name} | {sign} {one.bound:g}{one.unit} | {one.value:.3g}{one.unit} | {verdict} |")
