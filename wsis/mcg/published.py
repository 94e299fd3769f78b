"""Import of published proposals: MCG's ``.mat`` files and COB's ``maskmat``.

Files are untrusted: they are parsed by SciPy from bytes, which builds arrays and runs nothing, and everything
read is checked before use. Legend: H W image, P proposals, S superpixels.
"""

import io
import struct
import zlib
from typing import Any, Literal

import higra as hg
import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from wsis.errors import InputError
from wsis.masks.superpixels import adjacency, superpixel_areas
from wsis.mcg.contours import ContourDetector, LabGradient
from wsis.mcg.hierarchies import contiguous
from wsis.mcg.proposal_set import ProposalSet, make_proposal_set
from wsis.mcg.ranking import unlearned_score_of_sets
from wsis.mcg.region_tree import border_lengths

Ranking = Literal["unlearned", "file"]
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_SUPERPIXELS = 65535


def import_mcg(
    data: bytes,
    image: NDArray[np.uint8],
    where: str,
    ranking: Ranking = "unlearned",
    num_proposals: int | None = None,
    detector: ContourDetector | None = None,
) -> ProposalSet:
    """An MCG file: ``superpixels`` [H, W] with ids 1..S, ``labels`` P lists of ids, ``scores`` [P].

    Args:
        data: the file's bytes.
        image: uint8 RGB [H, W, 3], for the contour on the superpixel graph.
        where: what the file belongs to, for messages.
        ranking: "unlearned" scores the sets anew; "file" keeps the file's order, which the published files
            have learned from pixel labels of VOC.
        num_proposals: keep the best so many.
        detector: contour detector, by default the Lab gradient.
    Raises:
        InputError: not a MAT file of version 4 to 7, a variable missing or of another type, an id out of
            range, a size unlike the image's, a score that is not finite.
    """
    variables = _load(data, ("superpixels", "labels", "scores"), where)
    superpixels = _integers(variables["superpixels"], f"{where}: superpixels")
    _check_size(superpixels.shape, image, f"{where}: superpixels")
    count = int(superpixels.max())
    if int(superpixels.min()) < 1 or count > _MAX_SUPERPIXELS:
        raise InputError(
            f"{where}: superpixels: expected ids in 1..{_MAX_SUPERPIXELS}, got "
            f"{int(superpixels.min())}..{count}"
        )
    lists = [
        _integers(one, f"{where}: labels").ravel() for one in _cells(variables["labels"], where, "labels")
    ]
    membership = _membership(lists, count, where)
    used, dense = np.unique(superpixels, return_inverse=True)
    membership = membership[:, used - 1]
    scores = _scores(variables["scores"], len(membership), where)
    return _finish(
        dense.reshape(superpixels.shape).astype(np.int32),
        membership,
        scores if ranking == "file" else None,
        image,
        where,
        num_proposals,
        detector,
    )


def import_cob(
    data: bytes,
    image: NDArray[np.uint8],
    where: str,
    ranking: Ranking = "unlearned",
    num_proposals: int | None = None,
    detector: ContourDetector | None = None,
) -> ProposalSet:
    """A COB file: ``maskmat``, a cell of P masks [H, W] (or one array [H, W, P]), and ``scores`` [P] if there.

    Superpixels are the connected regions that no mask divides. Arguments and errors as :func:`import_mcg`;
    ranking "file" without ``scores`` takes the masks in the file's order.
    """
    variables = _load(data, ("maskmat",), where, optional=("scores",))
    stored = variables["maskmat"]
    cells = list(np.moveaxis(stored, 2, 0)) if stored.ndim == 3 else _cells(stored, where, "maskmat")
    scores = np.arange(len(cells), 0, -1) / max(1, len(cells))
    if "scores" in variables:
        scores = _scores(variables["scores"], len(cells), where)
    if ranking == "file" and num_proposals is not None:
        best = np.argsort(-scores, kind="stable")[:num_proposals]
        cells, scores = [cells[row] for row in best], scores[best]
    masks = np.zeros((len(cells), *image.shape[:2]), np.bool_)
    for mask, cell in zip(masks, cells, strict=True):
        values = _integers(cell, f"{where}: maskmat")
        _check_size(values.shape, image, f"{where}: maskmat")
        mask[:] = values > 0
    superpixels, membership = superpixels_of_masks(masks, where)
    kept = scores if ranking == "file" else None
    return _finish(superpixels, membership, kept, image, where, num_proposals, detector)


def superpixels_of_masks(masks: NDArray[np.bool_], where: str) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The coarsest connected partition that every mask [P, H, W] is a union of: ids [H, W], membership [P, S].

    Raises InputError if it has more than 65,535 regions.
    """
    keys = np.random.default_rng(0).integers(1, 2**63, len(masks), dtype=np.uint64)
    signature = np.zeros(masks.shape[1:], np.uint64)
    for key, mask in zip(keys, masks, strict=True):
        signature[mask] += key
    if signature.size == 1:
        return np.zeros(signature.shape, np.int32), masks.reshape(len(masks), 1)
    graph = hg.get_4_adjacency_graph(signature.shape)
    a, b = graph.edge_list()
    cut = (signature.ravel()[a] != signature.ravel()[b]).astype(np.float64)
    superpixels = contiguous(np.asarray(hg.graph_cut_2_labelisation(graph, cut)).reshape(signature.shape))
    count = int(superpixels.max()) + 1
    if count > _MAX_SUPERPIXELS:
        raise InputError(f"{where}: expected at most {_MAX_SUPERPIXELS} regions between masks, got {count}")
    first = np.unique(superpixels, return_index=True)[1]
    return superpixels, masks.reshape(len(masks), -1)[:, first]


def _finish(
    superpixels: NDArray[np.int32],
    membership: NDArray[np.bool_],
    scores: NDArray[np.float64] | None,
    image: NDArray[np.uint8],
    where: str,
    num_proposals: int | None,
    detector: ContourDetector | None,
) -> ProposalSet:
    """Contours on the graph, unlearned scores where none are kept, empty proposals dropped, scores as ranks."""
    contour = (detector or LabGradient())(image, 1.0)
    graph = adjacency(superpixels, contour)
    filled = membership.any(axis=1)
    membership = membership[filled]
    if not len(membership):
        raise InputError(f"{where}: expected at least one proposal with pixels, got none")
    if scores is None:
        areas = superpixel_areas(superpixels)
        border = border_lengths(superpixels, len(areas))
        values = unlearned_score_of_sets(membership, areas, border, graph)
    else:
        values = scores[filled]
    order = np.argsort(-values, kind="stable")[:num_proposals]
    ranks = 1 - np.arange(len(order)) / len(order)
    size = (image.shape[0], image.shape[1])
    return make_proposal_set(superpixels, membership[order], ranks, graph, size)


def _load(
    data: bytes, names: tuple[str, ...], where: str, optional: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    if data[:8] == _HDF5 or data[:15] == b"MATLAB 7.3 MAT-" or data[512:520] == _HDF5:
        raise InputError(
            f"{where}: expected a MAT file of version 4 to 7, got version 7.3 (HDF5); in MATLAB save it "
            "again with -v7"
        )
    wanted = [*names, *optional]
    try:
        loaded: dict[str, Any] = scipy.io.loadmat(io.BytesIO(data), variable_names=wanted)
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(
            f"{where}: expected a MAT file, got {len(data)} bytes that do not read: {error}"
        ) from error
    except (
        zlib.error,
        struct.error,
        OSError,
        EOFError,
        OverflowError,
        NotImplementedError,
        MemoryError,
    ) as error:
        raise InputError(f"{where}: the MAT file is damaged: {type(error).__name__}: {error}") from error
    missing = [name for name in names if name not in loaded]
    if missing:
        raise InputError(f"{where}: expected the variables {list(names)}, got none named {missing}")
    for name in wanted:
        if name in loaded and not isinstance(loaded[name], np.ndarray):
            raise InputError(f"{where}: {name}: expected an array, got {type(loaded[name]).__name__}")
    return {name: loaded[name] for name in wanted if name in loaded}


def _cells(values: np.ndarray, where: str, name: str) -> list[np.ndarray]:
    """The arrays of a MATLAB cell vector."""
    if values.dtype != object or values.size != max(values.shape, default=0) or values.size == 0:
        raise InputError(
            f"{where}: {name}: expected a cell vector with at least one entry, "
            f"got {values.dtype} {values.shape}"
        )
    cells = list(values.ravel())
    if not all(isinstance(cell, np.ndarray) for cell in cells):
        raise InputError(f"{where}: {name}: expected arrays in the cells, got other types")
    return cells


def _integers(values: np.ndarray, where: str) -> NDArray[np.int64]:
    """Integral numbers of any numeric MATLAB type as int64."""
    if values.dtype.kind not in "biuf" or values.size == 0:
        raise InputError(f"{where}: expected numbers, got {values.dtype} {values.shape}")
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
        raise InputError(f"{where}: expected whole numbers, got fractions, NaN or infinity")
    if values.min() < -(2**31) or values.max() > 2**31:
        raise InputError(f"{where}: expected 32-bit numbers, got {values.min()}..{values.max()}")
    return values.astype(np.int64)


def _membership(lists: list[NDArray[np.int64]], count: int, where: str) -> NDArray[np.bool_]:
    rows = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    ids = np.concatenate(lists)
    outside = (ids < 1) | (ids > count)
    if outside.any():
        at = int(np.argmax(outside))
        raise InputError(
            f"{where}: labels: expected superpixel ids in 1..{count}, got {ids[at]} in proposal {rows[at]}"
        )
    membership = np.zeros((len(lists), count), np.bool_)
    membership[rows, ids - 1] = True
    return membership


def _scores(values: np.ndarray, count: int, where: str) -> NDArray[np.float64]:
    if values.dtype.kind not in "iuf" or values.size != count or not np.isfinite(values).all():
        raise InputError(
            f"{where}: scores: expected {count} finite numbers, got {values.dtype} {values.shape}"
        )
    return values.astype(np.float64).ravel()


def _check_size(shape: tuple[int, ...], image: np.ndarray, where: str) -> None:
    if shape != image.shape[:2]:
        raise InputError(f"{where}: expected the image's size {image.shape[:2]}, got {shape}")
