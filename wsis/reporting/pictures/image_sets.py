"""All that a run has found in one image, by source and outer iteration: sets of instances over one pool of masks.

All pictures of a run are made of this: overlays, figures, contact sheets, the gallery. Suffixes: h w size of a picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import ContractError
from data_contracts.records import RecordReader
from data_contracts.schemas import CORRECTIONS, array_to_text
from wsis.engine.per_image import Record
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import Regions
from wsis.method.masks.superpixels import resize_nearest
from wsis.reporting.pictures.instances import InstanceSet, MaskPool, tracks
from wsis.reporting.pictures.overlays import instance_colours, size_for
from wsis.views.run import Run

SURE = 0.3
"""Least score of the detections that are shown."""
BASELINE, CEILING = "PRM baseline", "ceiling"
_BASELINE_SHOWN = 8  # its detections have no score that says which are sure

TRAIN_PREDICTED = "train images are predicted only to feed a next iteration"
GIVEN = "given masks"
"""What pseudo labels are called that a person has given."""

T = TypeVar("T")
Samples = list[tuple[int, InstanceSet]]
"""Distinct samples with their multiplicities."""


class ImageSources:
    """Readers of all that a run, finished or not, holds about single images. Read-only.

    Args:
        tolerate: do without what is damaged or gone, and say it in `unreadable`.

    Attributes:
        labels: outer iteration -> pseudo labels. predicted: train or val -> outer iteration -> predictions.
            Networks predict train images only to feed the next iteration, so those of the last have no predictions.
        given: outer iteration -> masks that a person has given, of those whose pseudo labels took them.
        unreadable: a line for each artefact that cannot be read.

    Raises:
        ConfigError: the run has no data set yet.
        CorruptArtefactError, ArtefactMissingError: that, or without `tolerate` any other, is damaged or gone.
    """

    def __init__(self, run: Run, tolerate: bool = False) -> None:
        self._run, self._tolerate = run, tolerate
        self.unreadable: list[str] = []
        self.classes, self.dataset, self.names = run.classes, run.images, run.names
        self.boxes, self.seeds = self._there("boxes"), self._there("prm_seeds")
        self.proposals, self.truths = self._there(run.proposals_key), self._there("ground_truth")
        self.baseline, self.ceiling = self._there("prm_baseline"), self._there("predictions.ceiling")
        self.labels = self._iterations("pseudo_labels") if self.proposals is not None else {}
        self.predicted = {split: self._iterations(f"predictions.{split}") for split in ("train", "val")}
        self.given = {t: given for t in self.labels if (given := self._given(t)) is not None}

    def split_of(self, image_id: str) -> str:
        """train or val."""
        return array_to_text(self.dataset.read(image_id, ("split",))["split"])

    def is_given(self, image_id: str, t: int) -> bool:
        """Whether the pseudo labels of an image in outer iteration t are masks that a person has given."""
        return t in self.given and image_id in self.given[t]

    def _given(self, t: int) -> RecordReader | None:
        """What the pseudo labels of an iteration were made with: the run may have other masks since."""
        parent = self._run.artefact(f"pseudo_labels@{t}").manifest.parents.get("corrections")
        if parent is None:
            return None
        return self._readable(lambda: self._run.opened(parent.stage, parent.fingerprint).records(CORRECTIONS))

    def _there(self, key: str) -> RecordReader | None:
        return self._readable(lambda: self._run.records(key)) if key in self._run.record.entries else None

    def _readable(self, read: Callable[[], RecordReader | None]) -> RecordReader | None:
        try:
            return read()
        except ContractError as error:
            if not self._tolerate:
                raise
            self.unreadable.append(str(error))
            return None

    def _iterations(self, name: str) -> dict[int, RecordReader]:
        found = {t: self._there(f"{name}@{t}") for t in self._run.iterations()}
        return {t: records for t, records in found.items() if records is not None}


@dataclass
class ImageSets:
    """All that a run says of one image, at the size of its pool.

    Attributes:
        full: (H, W) of the image as the user gave it.
        samples: outer iteration -> its distinct samples, most frequent first.
        predictions: outer iteration -> detections of score `SURE` and more, best first.
        others: title -> what is no part of the outer loop: PRM baseline, ceiling.
    """

    full: tuple[int, int]
    pool: MaskPool
    truth: InstanceSet | None = None
    samples: dict[int, Samples] = field(default_factory=dict)
    predictions: dict[int, InstanceSet] = field(default_factory=dict)
    others: dict[str, InstanceSet] = field(default_factory=dict)

    def iterations(self) -> list[int]:
        """Outer iterations that say something, ascending."""
        return sorted({*self.samples, *self.predictions})

    def every(self) -> list[InstanceSet]:
        """All sets, in the order in which people read them."""
        sets = [*([] if self.truth is None else [self.truth]), *self.others.values()]
        for t in self.iterations():
            sets += [one for _, one in self.samples.get(t, ())]
            sets += [self.predictions[t]] if t in self.predictions else []
        return sets

    @cached_property
    def things(self) -> dict[InstanceSet, NDArray[np.int64]]:
        """Which thing each instance of a set is, int64 [n], the same number through all sets: see `tracks`."""
        sets = self.every()
        return dict(zip(sets, tracks(self.pool, sets), strict=True))

    def colours(self, one: InstanceSet) -> NDArray[np.uint8]:
        """Colours of the instances of a set, uint8 [n, 3]: one a thing, through all sets."""
        things = self.things[one]
        return instance_colours(int(things.max(initial=-1)) + 1)[things]


def predicted(t: int) -> str:
    """What a drawn prediction of an outer iteration is, in words."""
    return f"prediction of iteration {t} (score\u00a0≥\u00a0{SURE})"  # no line breaks there


def sets_of(sources: ImageSources, image_id: str, side: int) -> ImageSets:
    """What the run says of one image, its longer side `side` pixels.

    Raises:
        CorruptArtefactError, InputError: records of the image are damaged, or contradict one another.
    """
    height, width = sources.dataset.read(image_id, ("size",))["size"].tolist()
    size = size_for(side, height, width)
    truth = _record(sources.truths, image_id, GroundTruth.from_record)
    void = None
    if truth is not None and truth.void is not None:
        void = resize_nearest(rle.decode(truth.void, truth.size), size)
    found = ImageSets((height, width), MaskPool(size, void))
    if truth is not None:
        masks = resize_nearest(rle.decode_many(list(truth.counts), truth.size).transpose(1, 2, 0), size)
        found.truth = InstanceSet(found.pool.add(masks.transpose(2, 0, 1)), truth.labels)
    _add_proposals(sources, image_id, found)
    for readers in sources.predicted.values():  # an image is in one of them
        for t, records in readers.items():
            if image_id in records:
                found.predictions[t] = _detected(records[image_id], found.pool)
    if sources.ceiling is not None and image_id in sources.ceiling:
        found.others[CEILING] = _detected(sources.ceiling[image_id], found.pool)
    return found


def _record(records: RecordReader | None, image_id: str, read: Callable[[Record], T]) -> T | None:
    return None if records is None or image_id not in records else read(records[image_id])


def _add_proposals(sources: ImageSources, image_id: str, found: ImageSets) -> None:
    """What labels proposals: the samples of each iteration, and the baseline."""
    if sources.proposals is None or image_id not in sources.proposals:
        return
    labelled = {t: one for t, one in sources.labels.items() if image_id in one}
    samples = {t: SampleSet.from_record(one[image_id]) for t, one in labelled.items()}
    baseline = _record(sources.baseline, image_id, lambda record: record)
    if not samples and baseline is None:
        return
    stored = Regions.from_record(sources.proposals.read(image_id, Regions.FIELDS))
    regions = replace(stored, image_size=found.pool.size)

    def labelled_set(
        ids: NDArray[np.integer], labels: NDArray[np.integer], scores: NDArray[np.floating]
    ) -> InstanceSet:
        return InstanceSet(found.pool.add(regions.masks(ids)), labels, scores)

    if baseline is not None:
        best = np.argsort(-baseline["scores"], kind="stable")[:_BASELINE_SHOWN]
        fields = (baseline[name][best] for name in ("proposal_ids", "labels", "scores"))
        found.others[BASELINE] = labelled_set(*fields)
    for t, one in samples.items():
        order = one.most_frequent(len(one.multiplicities))
        found.samples[t] = [(int(one.multiplicities[u]), labelled_set(*one.unique(u))) for u in order]
        if sources.is_given(image_id, t):  # one set, as often as there are samples, whose scores say nothing
            found.samples[t] = [(count, replace(given, scores=None)) for count, given in found.samples[t]]


def _detected(record: Record, pool: MaskPool) -> InstanceSet:
    """The sure detections, pasted at the pool's size."""
    sure = NetworkDetections.from_record(record).sure(SURE)
    scale = np.array([pool.size[1] / sure.size[1], pool.size[0] / sure.size[0]] * 2, np.float32)
    small = NetworkDetections(
        sure.class_probabilities, sure.boxes * scale, sure.masks, sure.labels, sure.scores, pool.size
    )
    return InstanceSet(pool.add(small.pasted()), sure.labels, sure.scores)
