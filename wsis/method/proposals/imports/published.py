"""Import of published proposals: MCG's ``.mat`` files and COB's ``maskmat``.

Files are untrusted: reading them builds arrays and runs nothing, and everything read is checked before use.
Legend: H W image, P proposals, S superpixels.
"""

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError
from wsis.method.masks.flips import flips_of_mask
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.proposals.imports.cells import MAX_CELLS
from wsis.method.proposals.imports.complete import ImportSettings, complete, complete_masks
from wsis.method.proposals.imports.mat_files import load_variables, whole_numbers


def import_mcg(
    data: bytes, image: NDArray[np.uint8], where: str, settings: ImportSettings | None = None
) -> ProposalSet:
    """An MCG file: ``superpixels`` [H, W] with ids 1..S, ``labels`` P lists of ids, ``scores`` [P].

    Proposals that list no superpixel are dropped.

    Args:
        data: the file's bytes.
        image: uint8 RGB [H, W, 3], for the contour on the superpixel graph.
        where: what the file belongs to, for messages.
    Raises:
        InputError: not a MAT file of version 5 to 7, a variable missing or of another type, an id out of
            range, a size unlike the image's, a score that is not finite, no proposal with superpixels.
    """
    variables = load_variables(data, ("superpixels", "labels", "scores"), where)
    superpixels = whole_numbers(variables["superpixels"], f"{where}: superpixels")
    size = _check_size(superpixels.shape, image, f"{where}: superpixels")
    count, lowest = int(superpixels.max()), int(superpixels.min())
    if lowest < 1 or count > MAX_CELLS:
        raise InputError(f"{where}: superpixels: expected ids in 1..{MAX_CELLS}, got {lowest}..{count}")
    cells = _cells(variables["labels"], where, "labels")
    lists = [
        whole_numbers(one, f"{where}: labels of proposal {row}").ravel() for row, one in enumerate(cells)
    ]
    membership = _membership(lists, count, where)
    used, dense = np.unique(superpixels, return_inverse=True)
    return complete(
        dense.reshape(size).astype(np.int32),
        membership[:, used - 1],
        _scores(variables["scores"], len(membership), where),
        image,
        size,
        where,
        settings or ImportSettings(),
    )


def import_cob(
    data: bytes, image: NDArray[np.uint8], where: str, settings: ImportSettings | None = None
) -> ProposalSet:
    """A COB file: ``maskmat``, a cell of P masks [H, W] (or one array [H, W, P]), and ``scores`` [P] if there.

    Superpixels are the connected regions that no mask divides. Arguments and errors as :func:`import_mcg`;
    ranking "file" without ``scores`` takes the masks in the file's order.
    """
    variables = load_variables(data, ("maskmat",), where, optional=("scores",))
    stored = variables["maskmat"]
    cells = list(np.moveaxis(stored, 2, 0)) if stored.ndim == 3 else _cells(stored, where, "maskmat")
    scores = np.arange(len(cells), 0, -1, dtype=np.float64)
    if "scores" in variables:
        scores = _scores(variables["scores"], len(cells), where)
    masks = []
    for row, cell in enumerate(cells):
        place = f"{where}: maskmat {row}"
        values = whole_numbers(cell, place)
        _check_size(values.shape, image, place)
        masks.append(flips_of_mask(values > 0))
    size = (image.shape[0], image.shape[1])
    return complete_masks(masks, scores, image, size, where, settings or ImportSettings())


def _cells(values: np.ndarray, where: str, name: str) -> list[np.ndarray]:
    """The arrays of a MATLAB cell vector."""
    if values.dtype != object or values.size != max(values.shape, default=0) or values.size == 0:
        raise InputError(
            f"{where}: {name}: expected a cell vector with at least one entry, "
            f"got {values.dtype} {values.shape}"
        )
    return list(values.ravel())


def _membership(lists: list[NDArray[np.int64]], count: int, where: str) -> NDArray[np.bool_]:
    rows = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    ids = np.concatenate(lists)
    outside = (ids < 1) | (ids > count)
    if outside.any():
        at = int(np.argmax(outside))
        raise InputError(
            f"{where}: labels of proposal {rows[at]}: expected superpixel ids in 1..{count}, got {ids[at]}"
        )
    membership = np.zeros((len(lists), count), np.bool_)
    membership[rows, ids - 1] = True
    return membership


def _scores(values: np.ndarray, count: int, where: str) -> NDArray[np.float64]:
    if values.dtype.kind not in "iuf" or values.size != count:
        raise InputError(f"{where}: scores: expected {count} numbers, got {values.dtype} {values.shape}")
    strange = np.flatnonzero(~np.isfinite(values.ravel()))
    if len(strange):
        got = f"{values.ravel()[strange[0]]} for proposal {strange[0]} ({len(strange)} such)"
        raise InputError(f"{where}: scores: expected finite numbers, got {got}")
    return values.astype(np.float64).ravel()


def _check_size(shape: tuple[int, ...], image: np.ndarray, where: str) -> tuple[int, int]:
    """The size (H, W), which is the image's."""
    if shape != image.shape[:2]:
        raise InputError(f"{where}: expected the image's size {image.shape[:2]}, got {shape}")
    return image.shape[0], image.shape[1]
