"""Photographs with the regions that people see in them, to learn a ranking of proposals from.

Two sources. `bsds_regions`: boundaries that people drew (see `bsds`); a region is what one person's boundaries
enclose. `voc_masks`: instances of a VOC devkit, which are pixel labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.method.proposals.generator.ranker_training import TrueRegions, drawn_regions, true_regions
from wsis.readers.files.digests import named_content
from wsis.readers.files.folder_files import Problems, inside, plain_name, read_bytes, sha256
from wsis.readers.files.images import decode_image, decode_indices
from wsis.readers.formats import bsds
from wsis.readers.formats.voc_format import VOID, read_split

RegionSource = Literal["bsds_regions", "voc_masks"]


@dataclass(frozen=True)
class RegionFiles:
    """A photograph, and the file with its boundaries or instance numbers."""

    image_id: str
    photograph: Path
    labels: Path


def region_files(source: RegionSource, root: Path, splits: tuple[str, ...]) -> list[RegionFiles]:
    """Files of every image of the splits.

    Raises:
        DataError: naming the splits that are empty or missing and the files that are.
    """
    if source == "bsds_regions":
        return [RegionFiles(photo.stem, photo, drawn) for photo, drawn in bsds.boundary_files(root, splits)]
    problems, files = Problems(), []
    for split in splits:
        with problems.collect():
            name = plain_name(split, "splits")
            listed = inside(root, f"ImageSets/Segmentation/{name}.txt", "splits")
            for image_id in read_split(listed, f"split {name!r}", problems):
                one = RegionFiles(
                    image_id,
                    inside(root, f"JPEGImages/{image_id}.jpg", "JPEGImages"),
                    inside(root, f"SegmentationObject/{image_id}.png", "SegmentationObject"),
                )
                for path in (one.photograph, one.labels):
                    if not path.is_file():
                        problems.add(f"image {image_id}: the file {path} is missing")
                files.append(one)
    problems.raise_if_any(f"masks of {root}")
    return files


def read_regions(
    source: RegionSource, files: RegionFiles, smallest: float
) -> tuple[NDArray[np.uint8], list[TrueRegions]]:
    """The photograph uint8 RGB [H, W, 3] and, for each person who labelled it, the true regions of at least
    ``smallest`` of the image.

    Raises:
        DataError: a file is damaged, or the label map is of another size.
    """
    name = files.image_id
    image = decode_image(read_bytes(files.photograph, f"image {name}"), name)
    labels = decode_indices(read_bytes(files.labels, f"labels of image {name}"), str(files.labels))
    if labels.shape != image.shape[:2]:
        raise DataError(f"image {name}: expected a label map of {image.shape[:2]}, got {labels.shape}")
    if source == "bsds_regions":
        return image, drawn_regions(labels, smallest)
    void = labels == VOID
    return image, [true_regions(np.where(void, 0, labels), void, smallest)]


def digest(files: Sequence[RegionFiles]) -> str:
    """Digest of the files, by name and content."""
    return sha256(
        b"".join(
            named_content(path.name, path, f"image {one.image_id}")
            for one in files
            for path in (one.photograph, one.labels)
        )
    )
