"""A learned ranking of candidates, in place of the unlearned one if the user names a model.

A small network scores each distinct set of a pool from cheap measurements: its contours, outside and in, its
shape, place and colours, and how many hierarchies propose it. The learned order and the unlearned one then take
turns: the first is better at what it was trained on, the second was better at large animals.

What it gains, J_i at 100 / 500 / 1,000, unlearned -> learned, trained on 170 BSDS500 train photographs:

* the 6,637 regions that people drew in the 100 BSDS500 val photographs, contours by a network that had not seen
  these either: .531 / .692 / .730 -> .640 / .724 / .746;
* 230 animals in 175 VOC train photographs: .906 / .926 / .945 -> .910 / .927 / .944, no difference beyond noise.
  Training on the masks of other such photographs gains as little.

So it is worth its 0.04 s an image in scenes of many things, not for a few large objects: it stays an option.

Suffix legend: h w working size, S superpixels, E edges, n sets, F features, U hidden units.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsis.errors import InputError, MissingWeightsError
from wsis.method.proposals.config import MCGConfig
from wsis.method.proposals.generator.candidate_features import FEATURES, candidate_features, describe
from wsis.method.proposals.generator.pool import DistinctSets, Pool
from wsis.method.proposals.generator.ranking import unlearned_order

_CLIP = 6.0  # standard deviations; unusual images must not drive the network where it saw nothing
_LARGEST_FILE = 1 << 24  # bytes, unpacked: a thousand times what a ranker needs


@dataclass(frozen=True)
class RankerWeights:
    """Everything a ranker is.

    centre, spread float32 [F], of the features it was trained on; first [F, U], first_bias [U], second [U, U],
    second_bias [U], last [U]: two hidden layers, ReLU. contour: the detector whose contours it was trained on.
    supervision: what labelled the regions it learned from, for the lineage.
    """

    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    first: NDArray[np.float32]
    first_bias: NDArray[np.float32]
    second: NDArray[np.float32]
    second_bias: NDArray[np.float32]
    last: NDArray[np.float32]
    contour: str
    supervision: str


_ARRAYS = tuple(field.name for field in fields(RankerWeights) if field.name not in ("contour", "supervision"))


def encode_ranker(weights: RankerWeights) -> bytes:
    """The file of :func:`load_ranker`: an .npz of arrays, the same bytes for the same weights."""
    buffer = io.BytesIO()
    arrays = {name: np.asarray(getattr(weights, name), np.float32) for name in _ARRAYS}
    named = {"contour": np.array(weights.contour), "supervision": np.array(weights.supervision)}
    np.savez(buffer, allow_pickle=False, features=np.array(FEATURES), **arrays, **named)
    return buffer.getvalue()


def load_ranker(path: Path) -> "Ranker":
    """A ranker from its file.

    Raises:
        MissingWeightsError: the file is absent, damaged, no ranker, or of other features than this version's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        found = {}
        if size <= _LARGEST_FILE:
            with np.load(path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise MissingWeightsError(f"ranker: no file {path}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MissingWeightsError(f"ranker {path}: expected an .npz of train_ranker, got {error}") from error
    if size > _LARGEST_FILE:
        raise MissingWeightsError(
            f"ranker {path}: expected at most {_LARGEST_FILE} bytes unpacked, got {size}"
        )
    _check(found, path)
    arrays = {name: found[name] for name in _ARRAYS}
    return Ranker(
        RankerWeights(**arrays, contour=str(found["contour"]), supervision=str(found["supervision"]))
    )


def _check(found: dict[str, np.ndarray], path: Path) -> None:
    """Names, types, shapes and values of a ranker's file."""
    expected = {"features", "contour", "supervision", *_ARRAYS}
    if set(found) != expected:
        odd = ", ".join(sorted(expected ^ set(found)))
        raise MissingWeightsError(
            f"ranker {path}: expected the arrays of a ranker, missing or unknown: {odd}"
        )
    for name in ("features", "contour", "supervision"):
        if found[name].dtype.kind != "U" or found[name].ndim != (name == "features"):
            raise MissingWeightsError(f"ranker {path}: {name}: expected text, got {found[name].dtype}")
    if tuple(found["features"].tolist()) != FEATURES:
        raise MissingWeightsError(
            f"ranker {path}: expected the {len(FEATURES)} features of this version, got "
            f"{len(found['features'])} others; train it again"
        )
    units, count = found["last"].size, len(FEATURES)
    shapes = {"first": (count, units), "second": (units, units), "centre": (count,), "spread": (count,)}
    for name in _ARRAYS:
        array, shape = found[name], shapes.get(name, (units,))
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise MissingWeightsError(
                f"ranker {path}: {name}: expected finite float32 {shape}, got {array.dtype} {array.shape}"
            )
    if not units or not (found["spread"] > 0).all():
        raise MissingWeightsError(f"ranker {path}: spread: expected positive numbers and a hidden layer")


class Ranker:
    """Features of candidates -> scores, higher is better."""

    def __init__(self, weights: RankerWeights) -> None:
        self.weights = weights

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores float32 [n] of features float32 [n, F], comparable within an image.

        Raises:
            InputError: another number of features.
        """
        if features.ndim != 2 or features.shape[1] != len(FEATURES):
            raise InputError(f"features: expected [n, {len(FEATURES)}], got {features.shape}")
        one = self.weights
        units = standardise(features, one.centre, one.spread)
        for matrix, bias in ((one.first, one.first_bias), (one.second, one.second_bias)):
            units = np.maximum(units @ matrix + bias, 0)
        scores: NDArray[np.float32] = units @ one.last
        return scores


def standardise(
    features: NDArray[np.float32], centre: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(features - centre) / spread, clipped to where the network was trained."""
    return np.clip((features - centre) / spread, -_CLIP, _CLIP)


def build_ranker(config: MCGConfig) -> Ranker | None:
    """The ranker that ``config`` names, if it names one.

    Raises:
        MissingWeightsError: its file is absent, damaged or foreign, or it was trained on other contours.
    """
    if config.ranker_model is None:
        return None
    ranker = load_ranker(config.ranker_model)
    if ranker.weights.contour != config.contour:
        raise MissingWeightsError(
            f"ranker {config.ranker_model}: expected one trained on contour {config.contour}, "
            f"got one trained on {ranker.weights.contour}"
        )
    return ranker


def learned_order(pool: Pool, sets: DistinctSets, ranker: Ranker) -> NDArray[np.int64]:
    """The distinct sets of a pool, int64 [n], best first: the learned and the unlearned order take turns."""
    scores = ranker(candidate_features(sets, describe(pool)))
    learned = _ranks(np.argsort(-scores, kind="stable"))
    unlearned = _ranks(unlearned_order(pool, sets))
    return np.argsort(np.minimum(2 * learned, 2 * unlearned + 1), kind="stable")


def _ranks(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each of 0..n-1 in ``order``."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks
