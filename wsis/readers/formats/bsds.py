"""BSDS500: photographs and the boundaries that several people drew on them.

Layout: images/{train,val}/ID.jpg and boundaries/{train,val}/ID.png, bit i of a pixel set where annotator i
drew a boundary.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from wsis.readers.files.digests import named_content
from wsis.readers.files.folder_files import Problems, read_bytes, sha256
from wsis.readers.files.images import decode_image, decode_indices


@dataclass(frozen=True)
class BoundaryExample:
    """image: RGB uint8 [H, W, 3]; annotators: uint8 [H, W], bit i for annotator i."""

    image_id: str
    image: NDArray[np.uint8]
    annotators: NDArray[np.uint8]


def boundary_files(root: Path, splits: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """(photograph, boundary map) of every image of the splits, by split and name.

    Raises:
        DataError: naming each split that is empty and each photograph without a boundary map.
    """
    problems, pairs = Problems(), []
    for split in splits:
        images = sorted((root / "images" / split).glob("*.jpg"))
        if not images:
            problems.add(f"expected photographs {root / 'images' / split}/*.jpg, got none")
        for path in images:
            drawn = root / "boundaries" / split / f"{path.stem}.png"
            if not drawn.is_file():
                problems.add(f"image {path.stem}: the boundary map {drawn} is missing")
            pairs.append((path, drawn))
    problems.raise_if_any(f"boundary data {root}")
    return pairs


def read_examples(root: Path, splits: tuple[str, ...]) -> list[BoundaryExample]:
    """All images of the splits.

    Raises:
        DataError: listing the files that are missing or broken, and maps of another size or without a boundary.
    """
    problems, examples = Problems(), []
    for photograph, drawn in boundary_files(root, splits):
        with problems.collect():
            name = photograph.stem
            image = decode_image(read_bytes(photograph, f"image {name}"), name)
            annotators = decode_indices(read_bytes(drawn, f"boundaries of image {name}"), str(drawn))
            if annotators.shape != image.shape[:2]:
                raise DataError(
                    f"image {name}: expected a boundary map of {image.shape[:2]}, got {annotators.shape}"
                )
            if not annotators.any():
                raise DataError(f"image {name}: expected a boundary in {drawn}, got none")
            examples.append(BoundaryExample(name, image, annotators))
    problems.raise_if_any(f"boundary data {root}")
    return examples


def digest(root: Path, splits: tuple[str, ...]) -> str:
    """Digest of the files, by name and content."""
    paths = [path for pair in boundary_files(root, splits) for path in pair]
    return sha256(
        b"".join(named_content(f"{one.parent.name}/{one.name}", one, f"image {one.stem}") for one in paths)
    )
