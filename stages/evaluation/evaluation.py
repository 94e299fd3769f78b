"""Stage `evaluation`: one thing of a run, scored by VOC mAP^r and COCO AP.

In a run it alone reads the pixel labels of `ground_truth`, with `ceiling` where the run asks for one.

What is scored is decided by the inputs beside `ground_truth`:

| input                       | kind          | its detections                                                   |
| --------------------------- | ------------- | ---------------------------------------------------------------- |
| predictions                 | prediction    | the network's masks pasted into their boxes                      |
| pseudo_labels, proposals    | pseudo_labels | each (proposal, class) of any sample, scored by its share of K   |
| prm_baseline, proposals     | prm_baseline  | the proposals that the peak response maps retrieve               |

With `corrections` beside pseudo labels they are also scored apart on the images that learn from given masks and on
those that learn from weak labels: the first are right by definition, as far as masks and truth agree.

Writes metrics.json (one row of results: metrics only, no times), for pseudo labels instance_quality.json, and with
`corrections` shares.json (such rows, of each share that has an image).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from data_contracts.records import RecordReader
from data_contracts.schemas import (
    CORRECTIONS,
    DETECTIONS,
    GROUND_TRUTH,
    PROPOSAL_DETECTIONS,
    PROPOSALS,
    PSEUDO_LABELS,
)
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.errors import InputError
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.coco_ap import CocoEvaluator
from wsis.method.evaluation.instance_quality import InstanceQuality, instance_quality
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.sources import (
    LabelledProposals,
    network_detections,
    proposal_detections,
    pseudo_label_marginals,
)
from wsis.method.evaluation.voc_map import MapResult, VocMapEvaluator
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import Regions
from wsis.views.dataset import class_names, splits
from wsis.views.evaluations import SHARES, SHARES_NAME

NAME = "evaluation"
ALGORITHM_VERSION = 3


class Config(StageConfig):
    """How to score: a convention of VOC mAP^r. COCO AP has its own."""

    matching: Literal["voc", "sds"] = Field(
        "voc", description="voc: a detection counts for its best instance; sds: for the best that is free"
    )


class Subject(NamedTuple):
    """What is scored: its kind, its artefact, its image ids, and detections of one image."""

    kind: str
    artefact: Artefact
    image_ids: list[str]
    detect: Callable[[str], Detections]
    samples: Callable[[str], list[tuple[float, Detections]]] | None = None


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Score the subject among `inputs` and write metrics.json.

    Raises:
        InputError: not exactly one subject, no image with ground truth, or a record that does not fit its
            ground truth; names the image.
        DataError: the ground truth names no classes.
    """
    truth_artefact = inputs["ground_truth"]
    truths = truth_artefact.records(GROUND_TRUTH)
    subject = _subject(inputs)
    split_of = splits(truths)
    split = _split_of(subject, split_of)
    image_ids = [image_id for image_id in truths.ids if split_of[image_id] == split]
    there = set(subject.image_ids)
    classes = class_names(truth_artefact)
    scores, shares = _Scores(classes, config), _Shares(inputs, classes, config)
    quality = InstanceQuality()
    for image_id in context.track(image_ids, total=len(image_ids), unit="img"):
        truth = GroundTruth.from_record(truths[image_id])
        try:
            # An image that the subject left out has no detections: leaving it out here would flatter.
            found = subject.detect(image_id) if image_id in there else _nothing(truth)
            for one in (scores, *shares.of(image_id)):
                one.add(image_id, found, truth)
            if subject.samples is not None and image_id in there:
                for weight, sample in subject.samples(image_id):
                    quality = quality + instance_quality(sample, truth).weighted(weight)
        except InputError as error:
            raise InputError(f"{subject.kind} of image {image_id}: {error}") from error
    told = context.outer_iteration, split, ", ".join(subject.artefact.manifest.supervision)
    context.write_json("metrics.json", scores.row(subject.kind, *told))
    if rows := {kind: one.row(kind, *told) for kind, one in shares.scored().items()}:
        context.write_json(SHARES_NAME, rows)
    if subject.samples is not None:
        context.write_json("instance_quality.json", quality_row(quality))
    context.counts.update(
        images=scores.result.images,
        instances=int(scores.result.ground_truth.sum()),
        detections=int(scores.result.detections.sum()),
        images_without_records=len(set(image_ids) - there),
        records_without_ground_truth=len(there - set(split_of)),
    )


class _Scores:
    """Both measures of a set of images."""

    def __init__(self, classes: Sequence[str], config: Config) -> None:
        self.voc = VocMapEvaluator(classes, matching=config.matching)
        self.coco = CocoEvaluator(classes)
        self.images = 0

    def add(self, image_id: str, found: Detections, truth: GroundTruth) -> None:
        self.voc.add_image(image_id, found, truth)
        self.coco.add_image(found, truth)
        self.images += 1

    @cached_property
    def result(self) -> MapResult:
        """VOC's, of all images that were added."""
        return self.voc.result()

    def row(self, kind: str, outer_iteration: int | None, split: str, supervision: str) -> dict[str, Any]:
        """A row of results."""
        voc = self.result.as_row(kind, outer_iteration, split, supervision)
        return voc | self.coco.result().as_fields()


class _Shares:
    """The images by what they learn from, where some learn from given masks."""

    def __init__(self, inputs: Mapping[str, Artefact], classes: Sequence[str], config: Config) -> None:
        given = inputs.get("corrections")
        self._given = frozenset() if given is None else frozenset(given.records(CORRECTIONS).ids)
        self._scores = {kind: _Scores(classes, config) for kind in SHARES} if given is not None else {}

    def of(self, image_id: str) -> list[_Scores]:
        """Those of the share of an image."""
        mine, others = SHARES
        return [self._scores[mine if image_id in self._given else others]] if self._scores else []

    def scored(self) -> dict[str, _Scores]:
        """Those that have an image, by kind."""
        return {kind: one for kind, one in self._scores.items() if one.images}


def quality_row(quality: InstanceQuality) -> dict[str, float | None]:
    """Instance quality as JSON: the sums, and the mean best IoU (null without instances)."""
    mean = quality.mean_best_iou
    return {**asdict(quality), "mean_best_iou": None if math.isnan(mean) else mean}


def _split_of(subject: Subject, split_of: Mapping[str, str]) -> str:
    """The split of the records; where they cover both, val."""
    present = {split_of[image_id] for image_id in subject.image_ids if image_id in split_of}
    if not present:
        raise InputError(
            f"{subject.kind}: expected records of images with ground truth, got {len(subject.image_ids)} without"
        )
    return next(iter(present)) if len(present) == 1 else "val"


def _subject(inputs: Mapping[str, Artefact]) -> Subject:
    named = [name for name in _SUBJECTS if name in inputs]
    if len(named) != 1:
        raise InputError(f"evaluation: expected one of {', '.join(_SUBJECTS)}, got {sorted(inputs)}")
    return _SUBJECTS[named[0]](inputs)


def _proposals(inputs: Mapping[str, Artefact]) -> RecordReader:
    if "proposals" not in inputs:
        raise InputError(f"evaluation: expected proposals beside it, got {sorted(inputs)}")
    return inputs["proposals"].records(PROPOSALS)


def _predictions(inputs: Mapping[str, Artefact]) -> Subject:
    artefact = inputs["predictions"]
    records = artefact.records(DETECTIONS)

    def detect(image_id: str) -> Detections:
        return network_detections(NetworkDetections.from_record(records[image_id]))

    return Subject("prediction", artefact, records.ids, detect)


def _prm_baseline(inputs: Mapping[str, Artefact]) -> Subject:
    artefact, proposals = inputs["prm_baseline"], _proposals(inputs)
    records = artefact.records(PROPOSAL_DETECTIONS)

    def detect(image_id: str) -> Detections:
        one = records[image_id]
        return _from_proposals(
            proposals, image_id, LabelledProposals(one["proposal_ids"], one["labels"], one["scores"])
        )

    return Subject("prm_baseline", artefact, records.ids, detect)


def _pseudo_labels(inputs: Mapping[str, Artefact]) -> Subject:
    artefact, proposals = inputs["pseudo_labels"], _proposals(inputs)
    records = artefact.records(PSEUDO_LABELS)

    def detect(image_id: str) -> Detections:
        samples = SampleSet.from_record(records[image_id])
        return _from_proposals(proposals, image_id, pseudo_label_marginals(samples))

    def samples(image_id: str) -> list[tuple[float, Detections]]:
        samples = SampleSet.from_record(records[image_id])
        everything = _from_proposals(
            proposals, image_id, LabelledProposals(samples.proposal_ids, samples.classes, samples.scores)
        )
        return [
            (float(share), everything.between(start, stop))
            for share, (start, stop) in zip(samples.shares, pairwise(samples.offsets), strict=True)
        ]

    return Subject("pseudo_labels", artefact, records.ids, detect, samples)


def _from_proposals(proposals: RecordReader, image_id: str, labelled: LabelledProposals) -> Detections:
    return proposal_detections(Regions.from_record(proposals.read(image_id, Regions.FIELDS)), labelled)


def _nothing(truth: GroundTruth) -> Detections:
    return Detections(truth.size, [], np.zeros(0, np.int32), np.zeros(0, np.float32))


_SUBJECTS: dict[str, Callable[[Mapping[str, Artefact]], Subject]] = {
    "predictions": _predictions,
    "pseudo_labels": _pseudo_labels,
    "prm_baseline": _prm_baseline,
}

STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("ground_truth",),
    optional=(*_SUBJECTS, "proposals", "corrections"),
    contract="metrics",
    seeded=False,
)
