"""Stage `train_ranker`: a learned ranking of proposals, an option beside the unlearned one.

Not part of a run, and nothing that ships with wsis. It learns from the regions that people's boundaries enclose
(BSDS500) or, if the user says so by `source: voc_masks`, from instance masks: then proposals ranked by it are
supervised by pixel labels, and their lineage says so. Writes ranker.npz, what `proposals.ranker_model` takes, and
held_out.json: how it ranks photographs that it was not trained on.

Candidates of each photograph lie in the working folder until the end: a killed stage goes on at the first missing.
"""

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data_contracts.atomic import write_atomic
from data_contracts.errors import DataError
from stages.proposals.generator_settings import contour_content, contour_lineage
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext, execution_only
from wsis.method.proposals.config import GeneratorConfig
from wsis.method.proposals.contours.detectors import ContourDetector, build_detector
from wsis.method.proposals.generator.candidate_features import FEATURES, candidate_features, describe
from wsis.method.proposals.generator.generation import candidate_pool, select
from wsis.method.proposals.generator.pool import DistinctSets, Pool, distinct_sets
from wsis.method.proposals.generator.ranker import Ranker, encode_ranker
from wsis.method.proposals.generator.ranker_training import (
    RankerTraining,
    RankingExample,
    make_example,
    rank_correlation,
    region_overlaps,
    train_ranker,
)
from wsis.readers.formats.regions import RegionFiles, RegionSource, digest, read_regions, region_files

NAME = "train_ranker"
ALGORITHM_VERSION = 1
MODEL_NAME = "ranker.npz"
HELD_OUT_NAME = "held_out.json"
_TABLES = "tables"
_COUNTS = (100, 500, 1000)


class Config(GeneratorConfig, StageConfig):
    """Which regions are true, on which contours, and how to learn from them."""

    source: RegionSource = Field(
        "bsds_regions", description="bsds_regions: enclosed by drawn boundaries; voc_masks: pixel labels"
    )
    root: Path = execution_only(
        description="bsds_regions: folder with images/SPLIT and boundaries/SPLIT; voc_masks: a VOC devkit"
    )
    splits: tuple[str, ...] = Field(
        ("train",), min_length=1, description="of BSDS500 (train, val), or lists in ImageSets/Segmentation"
    )
    limit: int = Field(400, ge=2, le=100_000, description="most photographs, drawn by the seed; 1.3 MB each")
    held_out: float = Field(0.15, ge=0, le=0.9, description="share of them that is only measured on")
    smallest_region: float = Field(
        0.002, gt=0, lt=1, description="least share of the image of a region that counts"
    )
    candidates: int = Field(64, ge=1, le=100_000, description="best candidates of a region that can meet it")
    hidden: int = Field(RankerTraining.hidden, ge=1, le=1024, description="units of each hidden layer")
    epochs: int = Field(RankerTraining.epochs, ge=1, le=1000)
    batch_size: int = Field(RankerTraining.batch_size, ge=1, le=1024, description="photographs a step")
    learning_rate: float = Field(RankerTraining.learning_rate, gt=0)
    weight_decay: float = Field(RankerTraining.weight_decay, ge=0)
    drawn: tuple[int, ...] = Field(
        RankerTraining.drawn, min_length=1, description="numbers of proposals that the loss looks at"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "bsds_regions" and not set(self.splits) <= {"train", "val"}:
            raise ValueError(f"splits: expected train or val of BSDS500, got {self.splits}")
        if min(self.drawn) < 1:
            raise ValueError(f"drawn: expected numbers of at least 1, got {self.drawn}")
        return self

    def training(self) -> RankerTraining:
        """The learner's settings."""
        names = ("hidden", "epochs", "batch_size", "learning_rate", "weight_decay", "drawn")
        return RankerTraining(**{name: getattr(self, name) for name in names})


def region_supervision(config: Config) -> str:
    """What labelled the regions, for the lineage of all that is ranked by the result."""
    splits = "+".join(config.splits)
    if config.source == "voc_masks":
        return f"pixel labels: proposal ranking (masks of {splits} of the named folder)"
    return f"boundaries: proposal ranking (regions of {splits} of the named folder)"


def check(config: Config) -> None:
    """Fail early where the contour detector is not there.

    Raises:
        UnsupportedOpError, MissingWeightsError: see `wsis.method.proposals.contours.detectors.build_detector`.
    """
    build_detector(config)


def content_digest(config: Config) -> str:
    """Digest of the photographs, their regions and the contour detector's model."""
    check(config)
    total = hashlib.sha256(digest(region_files(config.source, config.root, config.splits)).encode())
    total.update(contour_content(config))
    return total.hexdigest()


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Measure the candidates of every photograph, learn, score the photographs held out, write the model.

    Raises:
        DataError: files are missing or damaged, or nothing is left to train on.
    """
    files = region_files(config.source, config.root, config.splits)
    order = np.random.default_rng(context.seed).permutation(len(files))[: config.limit]
    held = round(config.held_out * len(order))
    if held == len(order):
        raise DataError(f"{config.root}: expected photographs to train on, got {len(order)}, all held out")
    detector = build_detector(config)
    examples = _examples([files[i] for i in order[held:]], config, detector, context)
    regions = sum(len(one.shares) for one in examples)
    if not regions:
        raise DataError(f"{config.root}: expected regions in {len(examples)} photographs, got none")
    steps = config.epochs * -(-sum(len(one.shares) > 0 for one in examples) // config.batch_size)
    weights = train_ranker(
        examples,
        config.training(),
        context.seed,
        config.contour,
        region_supervision(config),
        lambda steps_: context.track(steps_, steps, "learns", "step"),
    )
    figures = _held_out([files[i] for i in order[:held]], Ranker(weights), config, detector, context)
    context.write_json(HELD_OUT_NAME, figures)
    context.counts.update(images=len(examples), regions=regions, images_held_out=held)
    write_atomic(context.workdir / MODEL_NAME, encode_ranker(weights))
    shutil.rmtree(context.workdir / _TABLES)


def _examples(
    files: Sequence[RegionFiles], config: Config, detector: ContourDetector, context: StageContext
) -> list[RankingExample]:
    folder = context.workdir / _TABLES
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index:06d}.npz" for index in range(len(files))]
    for one, path in context.track(zip(files, paths, strict=True), len(files), "candidates", "image"):
        if not path.exists():
            write_atomic(path, _encode(_example(one, config, detector)))
    return [_decode(path) for path in paths]


def _example(files: RegionFiles, config: Config, detector: ContourDetector) -> RankingExample:
    image, truths = read_regions(config.source, files, config.smallest_region)
    pool, sets, features = _candidates(image, config, detector)
    return make_example(features, sets.membership, pool.graph.superpixels, truths, config.candidates)


def _candidates(
    image: NDArray[np.uint8], config: Config, detector: ContourDetector
) -> tuple[Pool, DistinctSets, NDArray[np.float32]]:
    """All candidates of an image, their distinct sets and the features of these [n, F]."""
    pool = candidate_pool(image, config, detector)
    sets = distinct_sets(pool)
    return pool, sets, candidate_features(sets, describe(pool))


_FIELDS = ("features", "rows", "overlaps", "shares")


def _encode(example: RankingExample) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: getattr(example, name) for name in _FIELDS})
    return buffer.getvalue()


def _decode(path: Path) -> RankingExample:
    with np.load(path, allow_pickle=False) as stored:
        return RankingExample(**{name: stored[name] for name in _FIELDS})


def _held_out(
    files: Sequence[RegionFiles],
    ranker: Ranker,
    config: Config,
    detector: ContourDetector,
    context: StageContext,
) -> dict[str, Any]:
    """Figures of the learned and the unlearned ranking: the mean over all true regions of the best overlap among
    the first N proposals, and the mean over the photographs of the rank correlation between a candidate's score
    and its overlap with the region that it fits best.

    The correlation is told because it is the usual figure; it is not what is learned (`ranker_training`).
    """
    ways = {"learned": ranker, "unlearned": None}
    best: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    correlation: dict[str, list[float]] = {way: [] for way in ways}
    for one in context.track(files, len(files), "held out", "image"):
        image, truths = read_regions(config.source, one, config.smallest_region)
        truths = [truth for truth in truths if len(truth.shares)]
        if not truths:
            continue
        pool, sets, features = _candidates(image, config, detector)
        superpixels = pool.graph.superpixels
        fit = np.max([region_overlaps(sets.membership, superpixels, t).max(axis=1) for t in truths], axis=0)
        scores = {"learned": ranker(features), "unlearned": features[:, FEATURES.index("objectness")]}
        for way, ranking in ways.items():
            correlation[way].append(rank_correlation(scores[way], fit))
            chosen = select(pool, _COUNTS[-1], ranking)
            overlap = np.concatenate([region_overlaps(chosen, superpixels, t) for t in truths], axis=1)
            best[way].append(np.stack([overlap[:count].max(axis=0) for count in _COUNTS], axis=1))
    return {
        "images": len(correlation["learned"]),
        "regions": sum(len(rows) for rows in best["learned"]),
        "best_overlap": {
            way: dict(zip(map(str, _COUNTS), np.concatenate(rows).mean(axis=0).tolist(), strict=True))
            for way, rows in best.items()
            if rows
        },
        "rank_correlation": {way: float(np.mean(rows)) for way, rows in correlation.items() if rows},
    }


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=(),
    contract="ranker weights",
    supervision=lambda config: (region_supervision(config), *contour_lineage(config)),
    content_digest=content_digest,
    check=lambda config, _: check(config),
    threaded=True,
)
