"""Segment Anything's masks of one image, as `SamAutomaticMaskGenerator` gives them in `coco_rle`.

Kirillov et al., "Segment Anything", ICCV 2023. A list of masks (what its `amg.py --convert-to-rle` writes, NAME.json
for NAME.jpg), or an object with the list as `annotations` (SA-1B). Each has `segmentation` {size, counts} and
`predicted_iou`, which is its score.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.proposals.imports.coco_results import ResultMask, import_coco_results, parse_entry
from wsis.method.proposals.imports.complete import ImportSettings

_SCORE = "predicted_iou"
_SHAPE = "expected a JSON list of masks, or an object with it as annotations"


def sam_masks(data: bytes, where: str) -> list[ResultMask]:
    """The masks of a file, checked except for their runs.

    Raises:
        InputError: no JSON, no masks, or one without run lengths or `predicted_iou`; names `where` and the mask.
    """
    try:
        tree: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {_SHAPE}: {str(error) or type(error).__name__:.120}") from error
    found = tree.get("annotations") if isinstance(tree, dict) else tree
    if not isinstance(found, list) or not found:
        raise InputError(f"{where}: {_SHAPE}, got {'an empty list' if found == [] else type(found).__name__}")
    return [_mask(entry, f"{where}: mask {number}") for number, entry in enumerate(found)]


def _mask(entry: Any, where: str) -> ResultMask:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object, got {type(entry).__name__}")
    return parse_entry(entry, where, _SCORE)


def import_sam(
    data: bytes, image: NDArray[np.uint8], where: str, settings: ImportSettings | None = None
) -> ProposalSet:
    """The proposals of one image uint8 RGB [H, W, 3] from its file; see
    :func:`wsis.method.proposals.imports.coco_results.import_coco_results`.

    Raises:
        InputError: as :func:`sam_masks`; a mask of another size than the image, damaged runs, or no mask with a pixel.
    """
    return import_coco_results(sam_masks(data, where), image, where, settings)
