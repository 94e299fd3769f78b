"""Seeds of the training images: peaks of their annotated classes and the peak response maps behind them.

Under box supervision (there is an artefact of `boxes`) every box gets one seed, maps are cut to it, and the record
holds the boxes too: the stages that follow take them from there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import BOXES, SEEDS
from stages.prm.peak_network import PeakNetwork, open_peak_network
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.errors import NonFiniteError
from wsis.method.masks.extents import extents, extents_line
from wsis.method.prm.learning import spread_responses
from wsis.method.prm.seeds import THRESHOLD, SeedConfig, generate_seeds
from wsis.readers.learnability import rarely_lacking
from wsis.views.dataset import class_names, segmented_ids

NAME = "prm_seeds"
ALGORITHM_VERSION = 4
_RESPONSE = 0.3  # as `conditional.seed_threshold`
_MOST = 0.5  # share of a class's images


class Config(SeedConfig, StageConfig):
    """How seeds are found."""


@dataclass(frozen=True)
class _Compute:
    """Image ids -> seeds."""

    peaks: PeakNetwork
    boxes: RecordReader | None
    config: Config

    def __call__(self, ids: Sequence[str]) -> Iterator[Record]:
        for image_id in ids:
            yield self.seeds_of(image_id)

    def seeds_of(self, image_id: str) -> dict[str, np.ndarray]:
        one = self.peaks.dataset.read(image_id, ("size", "labels"))
        batch = self.peaks.batch(image_id)
        size = (int(one["size"][0]), int(one["size"][1]))
        # One image at a time: its peaks go down together, and no record depends on how images are grouped.
        boxes = None
        if self.boxes is not None:
            annotated = self.boxes[image_id]
            boxes = [(annotated["boxes"], annotated["box_labels"])]
        try:
            (seeds,) = generate_seeds(self.peaks.network, batch, [one["labels"]], [size], self.config, boxes)
        except NonFiniteError as error:
            raise NonFiniteError(f"{NAME} of image {image_id}: {error}") from error
        return seeds.to_record()


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the seeds of every training image that shows a class.

    Raises:
        DataError: none does.
    """
    boxes = inputs["boxes"].records(BOXES) if "boxes" in inputs else None
    peaks = open_peak_network(inputs, config, context)
    ids = segmented_ids(peaks.dataset, "train")
    if not ids:
        raise DataError(f"{NAME}: expected training images that show a class, got none")
    write_records(
        context,
        SEEDS,
        ids,
        _Compute(peaks, boxes, config),
        context.execution.workers,
        device=context.device,
    )
    written = RecordReader(context.workdir, SEEDS)
    context.counts.update(_counts(written))
    if boxes is None:
        found = _extents(peaks.dataset, written)
        context.counts["extents"] = found
        context.log(extents_line(found, "seeds"))
        _warn(inputs["dataset"], written, context)


def _extents(dataset: RecordReader, written: RecordReader) -> dict[str, float]:
    """Numbers and sizes of the seeds: of their responses from 0.3 of the maximum on, in pixels of the photographs."""
    areas, images = [], []
    for image_id in written.ids:
        images.append(float(np.prod(dataset.read(image_id, ("size",))["size"])))
        maps = written.read(image_id, ("peak_response_maps",))["peak_response_maps"]
        areas.append((maps >= _RESPONSE * 255).mean(axis=(1, 2)) * images[-1])
    return extents(areas, images)


def _warn(dataset: Artefact, written: RecordReader, context: StageContext) -> None:
    """Of classes that image-level labels could not teach. Boxes say themselves where instances are."""
    counts: dict[str, Any] = dict(dataset.manifest.counts)
    if line := rarely_lacking(counts.get("train", 0), counts.get("train_images_of_class", {})):
        context.warn(line)
    fields = ("response_classes", "class_response_maps")
    shares = spread_responses((written.read(i, fields) for i in written.ids), class_names(dataset))
    context.counts["spread_responses"] = shares
    if wide := [f"{name!r} ({100 * share:.0f} %)" for name, share in shares.items() if share > _MOST]:
        context.warn(
            f"the response spreads over nearly the whole image in most images of {', '.join(wide)}: many seeds will "
            "lie on the ground; boxes would help (data.supervision=box), or images of the same places without it; "
            "those of other places take away the spread, not the wrong seeds (docs/howto/common-class.md)"
        )


def _counts(records: RecordReader) -> dict[str, int]:
    """From what was written, so that a resumed stage counts the same."""
    counts = {
        "images": 0,
        "seeds": 0,
        "images_without_seeds": 0,
        "seeds_below_threshold": 0,
        "seeds_without_source": 0,
    }
    for image_id in records.ids:
        one = records.read(image_id, ("scores", "peak_response_maps"))
        counts["images"] += 1
        counts["seeds"] += len(one["scores"])
        counts["images_without_seeds"] += int(len(one["scores"]) == 0)
        # no peak above the threshold: the class's (or box's) highest cell stands in
        counts["seeds_below_threshold"] += int((one["scores"] <= THRESHOLD).sum())
        counts["seeds_without_source"] += int(((one["peak_response_maps"] > 0).sum(axis=(1, 2)) <= 1).sum())
    return counts


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "prm_classifier"),
    optional=("boxes",),
    contract=SEEDS.name,
    seeded=False,
    per_image=True,
    on_device=True,
)
