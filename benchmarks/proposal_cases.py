"""What the parts of `benchmarks/proposals.py` share: photographs, settings, figures to reach."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stages.proposals import proposals
from wsis.method.masks.rle import decode
from wsis.readers.files.images import decode_image

VOC_SIZE = (500, 375)  # width, height of most photographs of VOC


@dataclass(frozen=True)
class Photograph:
    """A photograph of a VOC devkit or of a COCO file.

    Attributes:
        name: without suffix; path: its file.
        objects: file of instance numbers [H, W], 255 void (VOC); None for COCO.
        segmentations: polygons or run lengths of each instance (COCO).
    """

    name: str
    path: Path
    objects: Path | None = None
    segmentations: Sequence[list[list[float]] | Mapping[str, object]] = ()

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB [H, W, 3]."""
        return load(self.path)

    def truth(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks [G, H, W] of its instances, void pixels [H, W]. For measuring alone."""
        if self.objects is not None:
            return masks_of(np.asarray(Image.open(self.objects)))
        with Image.open(self.path) as image:
            width, height = image.size
        masks = [_mask(one, height, width) for one in self.segmentations]
        filled = [mask for mask in masks if mask.any()]
        nothing = np.zeros((height, width), np.bool_)
        return np.stack(filled) if filled else np.zeros((0, height, width), np.bool_), nothing


def masks_of(objects: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks [G, H, W] and void pixels [H, W] of instance numbers [H, W], 255 void."""
    numbers = [k for k in np.unique(objects) if k not in (0, 255)]
    masks = np.stack([objects == k for k in numbers]) if numbers else np.zeros((0, *objects.shape), np.bool_)
    return masks, objects == 255


def _mask(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    counts = segmentation["counts"]
    return decode(counts.encode() if isinstance(counts, str) else counts, (height, width))


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
    """``limit`` photographs with masks, evenly spread over a split of a VOC devkit, or of a folder with COCO's
    ``annotations/instances_SPLIT.json`` and ``images``."""
    listed = root / "annotations" / f"instances_{split}.json"
    if listed.exists():
        found = _coco(root, listed)
    else:
        names = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        images, objects = root / "JPEGImages", root / "SegmentationObject"
        found = [Photograph(name, images / f"{name}.jpg", objects / f"{name}.png") for name in names]
    return found if limit is None else [found[i] for i in _spread_over(len(found), limit)]


def _coco(root: Path, listed: Path) -> list[Photograph]:
    content = json.loads(listed.read_text())
    segmentations = defaultdict(list)
    for one in content["annotations"]:
        if not one.get("iscrowd"):
            segmentations[one["image_id"]].append(one["segmentation"])
    return [
        Photograph(
            Path(one["file_name"]).stem, root / "images" / one["file_name"], None, segmentations[one["id"]]
        )
        for one in sorted(content["images"], key=lambda one: one["file_name"])
        if segmentations[one["id"]]
    ]


def load(path: Path) -> NDArray[np.uint8]:
    """A photograph, RGB [H, W, 3]."""
    return decode_image(path.read_bytes(), path.name)


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of them, evenly spread."""
    return [items[i] for i in _spread_over(len(items), count)]


def _spread_over(size: int, count: int) -> list[int]:
    return list(np.linspace(0, size - 1, min(count, size)).astype(int))


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
