"""How far two artefacts of one node agree, of which one was made on another device."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data_contracts.records import RecordReader
from data_contracts.schemas import SCHEMAS
from wsis.engine.training import WEIGHTS_NAME, load_weights
from wsis.runs.plan import Node

WEIGHTS_APART = 1e-3
"""Largest distance of all weights over their length, after two or three steps in float32."""
NUMBERS_EQUAL = 0.95
"""Least share of equal numbers of the records of a stage: near ties may fall out otherwise."""
_GREY_LEVELS = 2
_RELATIVE = 1e-3


class Agreement(NamedTuple):
    """What was found of a node."""

    what: str
    value: float
    tolerance: float
    holds: bool

    def __str__(self) -> str:
        return f"{self.what} {self.value:.2g} ({self.tolerance:g})"


def agreement(node: Node, one: Path, other: Path) -> Agreement:
    """Compare two folders of artefacts: networks by their weights, records by their numbers."""
    if node.stage.contract == "weights":
        apart = weights_apart(one, other)
        return Agreement("weights apart", apart, WEIGHTS_APART, apart <= WEIGHTS_APART)
    schema = SCHEMAS[node.stage.contract]
    equal = numbers_equal(RecordReader(one, schema), RecordReader(other, schema))
    return Agreement("numbers equal", equal, NUMBERS_EQUAL, equal >= NUMBERS_EQUAL)


def weights_apart(one: Path, other: Path) -> float:
    """|a - b| / |b| over all weights of a network."""
    a, b = _weights(one), _weights(other)
    return float((a - b).norm() / b.norm())


def _weights(folder: Path) -> torch.Tensor:
    if (folder / WEIGHTS_NAME).exists():
        state: Any = load_weights(folder / WEIGHTS_NAME)
    else:
        from stages.prediction.settings import DETECTOR_NAME
        from wsis.method.prediction.checkpoints import read_checkpoint

        state = read_checkpoint(folder / DETECTOR_NAME)["state_dict"]
    return torch.cat([v.double().flatten() for v in state.values() if v.is_floating_point()])


def numbers_equal(one: RecordReader, other: RecordReader) -> float:
    """Share of the numbers of all records that are equal: integers exactly, grey levels within 2, floats within 0.1 %
    of the largest of their field. Fields of another shape are not equal at all."""
    equal = total = 0
    for image_id in other.ids:
        a, b = one[image_id], other[image_id]
        for name in b:
            total += b[name].size
            equal += int(_equal(a[name], b[name]).sum()) if a[name].shape == b[name].shape else 0
    return equal / total if total else 1.0


def _equal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    if a.dtype == np.uint8:
        return np.abs(a.astype(int) - b) <= _GREY_LEVELS
    if not np.issubdtype(b.dtype, np.floating):
        return np.asarray(a == b)
    largest = np.abs(b).max(initial=0)
    return np.asarray(np.abs(a - b) <= _RELATIVE * largest)
