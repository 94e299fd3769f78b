"""Proposals as COCO results: import of the masks of any source (SAM's included), and the same way out.

An entry is ``{"image_id", "file_name", "category_id", "segmentation": {"size": [H, W], "counts"}, "score"}``;
counts are COCO's run lengths, compressed (text) or not (a list). Here stands what concerns one image; files
are the reader's. Suffix legend: H W image, h w working size, P proposals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.flips import Enlarge, Shrink, compress, flips_of_runs
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.masks.rle import run_lengths
from wsis.method.proposals.generator.generation import working_image
from wsis.method.proposals.imports.complete import ImportSettings, complete_masks

_CATEGORY = 1  # "object": proposals have no class


@dataclass(frozen=True)
class ResultMask:
    """One entry, checked except for its runs.

    Attributes:
        size: (H, W) of the mask.
        counts: compressed counts, or run lengths int64 [R].
        score: finite, any scale; higher is better.
        where: the entry's place, for messages.
    """

    size: tuple[int, int]
    counts: bytes | NDArray[np.int64]
    score: float
    where: str

    @property
    def is_empty(self) -> bool:
        """Whether the runs can only be background: there is one of them, or the others are of no pixels."""
        if isinstance(self.counts, bytes):
            return sum(not (byte - 48) & 0x20 for byte in self.counts) == 1  # each run ends with such a byte
        return not self.counts[1::2].any()


def parse_entry(entry: Mapping[str, Any], where: str, score_field: str = "score") -> ResultMask:
    """The mask and score of one entry; its other fields are not looked at.

    Raises:
        InputError: segmentation is absent or no run lengths, its size or counts are of another type, or the score
            is absent, no number or not finite; names `where` and the field.
    """
    segmentation, score = entry.get("segmentation"), entry.get(score_field)
    if not isinstance(segmentation, Mapping):
        got = "polygons" if isinstance(segmentation, list) else repr(segmentation)[:80]
        raise InputError(f"{where}: segmentation: expected run lengths {{size, counts}}, got {got}")
    size = segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(_is_whole(n, 1) for n in size):
        raise InputError(f"{where}: segmentation.size: expected [height, width], got {size!r:.80}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not _is_finite(score):
        hint = (
            " (predicted_iou is there: give it as score, or take proposals.source=sam)"
            if score is None and score_field != "predicted_iou" and "predicted_iou" in entry
            else ""
        )
        raise InputError(f"{where}: {score_field}: expected a finite number, got {score!r:.80}{hint}")
    return ResultMask((size[0], size[1]), _counts(segmentation.get("counts"), where), float(score), where)


def _counts(counts: Any, where: str) -> bytes | NDArray[np.int64]:
    if isinstance(counts, str) and counts.isascii() and counts:
        return counts.encode()
    if isinstance(counts, list) and counts and all(_is_whole(n, 0) for n in counts):
        return np.array(counts, np.int64)
    raise InputError(
        f"{where}: segmentation.counts: expected compressed run lengths (text) or a list of whole numbers, "
        f"got {counts!r:.80}"
    )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond floats
        return False


def check_size(mask: ResultMask, size: tuple[int, int], image: str) -> None:
    """A mask must be of its image's ``size`` (H, W) after EXIF rotation.

    Raises:
        InputError: naming ``image`` and the entry.
    """
    if mask.size == size:
        return
    turned = (
        "; the mask lies on its side: was it made without the EXIF rotation?"
        if mask.size == size[::-1]
        else ""
    )
    raise InputError(
        f"{image}: {mask.where}: segmentation.size: expected the image's size {list(size)} (height, width), "
        f"got {list(mask.size)}{turned}"
    )


def import_coco_results(
    masks: Sequence[ResultMask], image: NDArray[np.uint8], where: str, settings: ImportSettings | None = None
) -> ProposalSet:
    """The proposals of one image from all its masks.

    Masks are taken at the working size (the longer side at most ``settings.max_side``) by the project's
    nearest-neighbour rule; superpixels are the connected cells of their overlay there, at most
    ``settings.max_cells``. Near duplicates stay; a mask without a pixel at the working size is dropped. Neither
    time nor memory depends on the image's area, beyond that of the image itself.

    Args:
        image: uint8 RGB [H, W, 3], for the contour on the superpixel graph.
        where: what the masks belong to, for messages.
    Raises:
        InputError: a mask of another size than the image, damaged runs, or no mask with a pixel.
    """
    settings = settings or ImportSettings()
    size = (image.shape[0], image.shape[1])
    small = working_image(image, settings.max_side)
    shrink = Shrink(size, (small.shape[0], small.shape[1]))
    flips = []
    for mask in masks:
        check_size(mask, size, where)
        try:
            runs = run_lengths(mask.counts) if isinstance(mask.counts, bytes) else mask.counts
            flips.append(shrink(flips_of_runs(runs, size)))
        except InputError as error:
            raise InputError(f"{where}: {mask.where}: segmentation.{error}") from error
    scores = np.array([mask.score for mask in masks], np.float64)
    return complete_masks(flips, scores, small, size, where, settings)


def coco_results(proposals: ProposalSet, image_id: int | str, file_name: str) -> list[dict[str, Any]]:
    """The proposals of one image as COCO results, best first, masks at the original size.

    :func:`import_coco_results` with ranking "file" and the generator's ``max_side`` gives the same masks back.
    """
    enlarge = Enlarge(proposals.superpixels, proposals.image_size)
    return [
        {
            "image_id": image_id,
            "file_name": file_name,
            "category_id": _CATEGORY,
            "segmentation": {
                "size": list(proposals.image_size),
                "counts": compress(enlarge(members), proposals.image_size).decode(),
            },
            "score": float(score),
        }
        for members, score in zip(proposals.membership, proposals.scores, strict=True)
    ]
