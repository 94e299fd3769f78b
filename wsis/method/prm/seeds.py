"""Seeds of an image: where each instance of its annotated classes is, and what it looks like.

Suffix legend: C classes, A annotated classes, N seeds, H W original pixels, h w cells or map pixels.

Image-level labels: every local maximum of an annotated class's response map above the threshold is a seed; a
class without one gives the highest cell of its map. Box labels: every box gives one seed, the highest peak of
its class inside it (a peak inside several boxes belongs to the smallest), or, where there is none, the highest
cell inside it; peaks outside every box are dropped and maps are cut to their box (paper 6.2). Since they are cut, boxes
that are apart share a backward pass: the maps of 36 nuclei cost as much as those of two (`wsis.method.prm.boxes`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from wsis.errors import InputError, NonFiniteError
from wsis.method.prm.boxes import NO_BOX, boxes_apart, cell_centres, cells_inside, choose_in_boxes
from wsis.method.prm.peak_backprop import ForwardPass, PeakBackpropagation
from wsis.method.prm.peak_stimulation import local_maxima
from wsis.method.settings import Settings
from wsis.method.transfers import moved

THRESHOLD = 0.0  # class response (logit) that a peak must exceed
_MAP_STRIDE = 4  # network-input pixels to a pixel of the stored maps


class SeedConfig(Settings):
    """How the classifier is shown an image, and how peaks become seeds.

    A seed at its response map's maximum lies on the right instance for 82 % of seeds, at its peak's cell for 68 %
    (a trial).
    """

    image_size: int = Field(
        320, ge=32, le=2048, description="longer side of the classifier's input, for seeds and baseline"
    )
    position: Literal["response", "cell"] = Field(
        "response", description="a seed lies at its response map's maximum, or at its peak's cell"
    )
    stop_stride: Literal[1, 2, 4, 8] = Field(
        4, description="grid of the backward; 1: down to the image (the paper)"
    )


@dataclass(frozen=True, eq=False)
class Seeds:
    """Seeds of one image.

    | field               | type            | meaning                                                    |
    | ------------------- | --------------- | ---------------------------------------------------------- |
    | peaks               | int32 [N, 3]    | class 1..C, row, column in original pixels                 |
    | scores              | float32 [N]     | class response (logit) at the peak's cell                  |
    | peak_response_maps  | uint8 [N, h, w] | over the whole image, maximum 255                          |
    | class_response_maps | uint8 [A, h, w] | max(0, response) / its maximum * 255; 0 if none is above 0 |
    | response_classes    | int32 [A]       | class of each class response map, 1..C                     |
    | boxes               | float32 [G, 4]  | the box of each seed (G = N); without boxes G = 0          |
    | fallbacks           | int             | seeds placed without a peak above the threshold            |
    | sourceless          | int             | seeds whose response map is a dot: nothing flowed down     |
    """

    peaks: NDArray[np.int32]
    scores: NDArray[np.float32]
    peak_response_maps: NDArray[np.uint8]
    class_response_maps: NDArray[np.uint8]
    response_classes: NDArray[np.int32]
    boxes: NDArray[np.float32]
    fallbacks: int = 0
    sourceless: int = 0

    @classmethod
    def from_record(cls, record: Mapping[str, np.ndarray]) -> Self:
        """Inverse of :meth:`to_record`."""
        arrays: dict[str, Any] = {name: record[name] for name in _STORED}
        return cls(**arrays)

    def to_record(self) -> dict[str, np.ndarray]:
        """The arrays of a stored record (`data_contracts.schemas.SEEDS`); the two counts are not stored."""
        return {name: getattr(self, name) for name in _STORED}


_STORED = [one.name for one in fields(Seeds) if one.name not in ("fallbacks", "sourceless")]


@dataclass
class _Chosen:
    """Cells chosen in one image: class 1..C, row, column, the box they stand for or NO_BOX."""

    cells: list[tuple[int, int, int, int]] = field(default_factory=list)
    fallbacks: int = 0


def generate_seeds(
    network: PeakBackpropagation,
    images: torch.Tensor,
    labels: Sequence[NDArray[np.integer]],
    sizes: Sequence[tuple[int, int]],
    config: SeedConfig,
    boxes: Sequence[tuple[NDArray[np.floating], NDArray[np.integer]]] | None = None,
    passed: ForwardPass | None = None,
) -> list[Seeds]:
    """Seeds of a batch of images of one input size.

    Args:
        images: RGB [B, 3, H, W] in 0..255, the whole images resized; on the network's device.
        labels: annotated classes of each image, 1..C (also the classes to look for on unlabelled images).
        sizes: original (H, W) of each image.
        boxes: under box supervision, boxes float [G, 4] xyxy in original pixels and their classes [G] of each
            image.
        passed: the network's forward pass of ``images``, if the caller has it already.

    Raises:
        InputError: a label out of range or an image without any; NonFiniteError: a NaN in a response map.
    """
    _check_labels(labels, sizes, len(images), network.num_classes)
    passed = network.forward(images) if passed is None else passed
    maps = passed.class_response_maps
    found = moved((local_maxima(maps, network.window) & (maps > THRESHOLD), maps.float()), "cpu")
    maxima, values = (tensor.numpy() for tensor in found)
    if not np.isfinite(values).all():
        raise NonFiniteError(
            "class response maps: NaN or infinite values; the classifier's weights are unusable"
        )
    chosen = [
        _choose(values[i], maxima[i], labels[i], sizes[i], None if boxes is None else boxes[i])
        for i in range(len(images))
    ]
    rows = [(i, *cell[:3]) for i, c in enumerate(chosen) for cell in c.cells]
    peaks = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4)
    shared = torch.arange(len(peaks)) if boxes is None else _shared([of_image for of_image, _ in boxes])
    responses = network.backward(passed, peaks, shared)
    responses = _pool(responses, (images.shape[2], images.shape[3])).cpu()
    per_image = torch.split(responses[shared], [len(c.cells) for c in chosen])
    return [
        _finish(
            chosen[i],
            values[i],
            labels[i],
            sizes[i],
            per_image[i].numpy(),
            config,
            None if boxes is None else boxes[i][0],
        )
        for i in range(len(images))
    ]


def _shared(boxes: Sequence[NDArray[np.floating]]) -> torch.Tensor:
    """Number of the pass of each box [N] of a batch, for `PeakBackpropagation.backward`."""
    passes, first = [np.zeros(0, np.int64)], 0
    for of_image in boxes:
        passes.append(boxes_apart(of_image) + first)
        first = int(passes[-1].max(initial=first - 1)) + 1
    return torch.from_numpy(np.concatenate(passes))


def quantise(maps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Maps [..., h, w] -> uint8: clipped at 0, divided by their own maximum, times 255; zeros stay zeros."""
    clipped = np.maximum(maps, 0)
    top = clipped.max(axis=(-2, -1), keepdims=True, initial=0)
    scaled = np.divide(clipped, top, out=np.zeros_like(clipped), where=top > 0)
    return np.rint(scaled * 255).astype(np.uint8)


def _check_labels(
    labels: Sequence[NDArray[np.integer]], sizes: Sequence[tuple[int, int]], count: int, num_classes: int
) -> None:
    if len(labels) != count or len(sizes) != count:
        raise InputError(f"labels, sizes: expected {count} of each, got {len(labels)}, {len(sizes)}")
    for index, of_image in enumerate(labels):
        if len(of_image) == 0 or of_image.min() < 1 or of_image.max() > num_classes:
            raise InputError(
                f"labels of image {index}: expected classes 1..{num_classes}, got {np.asarray(of_image).tolist()}"
            )


def _choose(
    values: NDArray[np.floating],
    maxima: NDArray[np.bool_],
    labels: NDArray[np.integer],
    size: tuple[int, int],
    boxes: tuple[NDArray[np.floating], NDArray[np.integer]] | None,
) -> _Chosen:
    """Cells of one image from its maps [C, h, w] and maxima bool [C, h, w]."""
    if boxes is not None:
        return _Chosen(*choose_in_boxes(values, maxima, size, *boxes))
    chosen = _Chosen()
    for label in np.unique(labels).tolist():
        found = np.argwhere(maxima[label - 1])
        if len(found) == 0:
            chosen.fallbacks += 1
            found = np.array([np.unravel_index(values[label - 1].argmax(), values.shape[1:])])
        # strongest first, ties by position
        order = np.argsort(-values[label - 1][found[:, 0], found[:, 1]], kind="stable")
        chosen.cells += [(label, row, column, NO_BOX) for row, column in found[order].tolist()]
    return chosen


def _pool(responses: torch.Tensor, size: tuple[int, int], map_stride: int = _MAP_STRIDE) -> torch.Tensor:
    """Average the maps [N, h, w] down to one pixel for ``map_stride`` input pixels; never enlarges."""
    target = (max(1, -(-size[0] // map_stride)), max(1, -(-size[1] // map_stride)))
    if len(responses) == 0 or (target[0] >= responses.shape[1] and target[1] >= responses.shape[2]):
        return responses
    return F.adaptive_avg_pool2d(responses[:, None], target)[:, 0]


def _finish(
    chosen: _Chosen,
    values: NDArray[np.floating],
    labels: NDArray[np.integer],
    size: tuple[int, int],
    responses: NDArray[np.floating],
    config: SeedConfig,
    boxes: NDArray[np.floating] | None,
) -> Seeds:
    classes = np.unique(labels).astype(np.int32)
    peaks, sourceless = np.zeros((len(chosen.cells), 3), np.int32), 0
    responses = responses.copy()
    for index, (label, row, column, box) in enumerate(chosen.cells):
        limits = None if boxes is None or box == NO_BOX else boxes[box]
        centre = _clip_point(
            (cell_centres(size[0], values.shape[1])[row], cell_centres(size[1], values.shape[2])[column]),
            size,
            limits,
        )
        response = responses[index]
        if limits is not None:
            response *= cells_inside(limits[None], size, response.shape)[0]
        if response.max() <= 0:  # all weights below the peak are negative, or all of it lies outside the box
            sourceless += 1
            response[centre[0] * response.shape[0] // size[0], centre[1] * response.shape[1] // size[1]] = 1
        if config.position == "response":
            best = np.unravel_index(int(response.argmax()), response.shape)
            point = [cell_centres(s, n)[i] for s, n, i in zip(size, response.shape, best, strict=True)]
            centre = _clip_point((point[0], point[1]), size, limits)
        peaks[index] = (label, *centre)
    scores = np.array([values[label - 1, row, column] for label, row, column, _ in chosen.cells], np.float32)
    return Seeds(
        peaks,
        scores,
        quantise(responses),
        quantise(values[classes - 1]),
        classes,
        np.zeros((0, 4), np.float32) if boxes is None else boxes.astype(np.float32),
        chosen.fallbacks,
        sourceless,
    )


def _clip_point(
    point: tuple[float, float], size: tuple[int, int], box: NDArray[np.floating] | None
) -> tuple[int, int]:
    """Pixel (row, column) of a continuous point, moved into the image and into the box if one is given."""
    row, column = int(point[0]), int(point[1])
    if box is not None:
        x1, y1, x2, y2 = np.floor(box[0]), np.floor(box[1]), np.ceil(box[2]) - 1, np.ceil(box[3]) - 1
        row, column = int(np.clip(row, y1, max(y1, y2))), int(np.clip(column, x1, max(x1, x2)))
    return int(np.clip(row, 0, size[0] - 1)), int(np.clip(column, 0, size[1] - 1))
