"""Measures of a run image by image, with their sums: the artefacts' side of `wsis.method.evaluation.diagnosis`."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from wsis.engine.per_image import Record
from wsis.errors import WsisError
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.dissimilarity.network_inputs import (
    SamplingConfig,
    arrays_of_image,
    filtered_rows,
    targets_of_seeds,
)
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig
from wsis.method.evaluation.diagnosis import (
    BACKGROUND,
    INSIDE,
    OTHER_CLASS,
    VOID,
    RegionOverlaps,
    best_iou,
    network_measures,
    response_iou,
    sample_measures,
    seed_places,
)
from wsis.method.evaluation.instance_quality import InstanceQuality
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.evaluation.true_masks import TrueMasks
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import ProposalSet, Regions
from wsis.method.prm.seeds import Seeds
from wsis.reporting.diagnosis.boxes import BoxMeasures
from wsis.reporting.diagnosis.summary import FIRST, GIVEN, HITS, mean, recall_rows, state_columns
from wsis.views.run import Run

SURE = 0.3
"""Least score of the detections that a user would be shown."""
_EVERY = 1_000_000_000  # no limit of proposals


class SeedRule(NamedTuple):
    """How the conditional network of iteration 1 was given its proposals and targets."""

    sampling: SamplingConfig
    targets: SeedTargetConfig
    num_classes: int


def _places(truth: TrueMasks) -> dict[str, NDArray[Any]]:
    return {
        "label": truth.labels,
        "area": truth.areas,
        "alone": truth.alone,
        "touching": truth.touching,
    }


Pool = Callable[[str], Regions]
"""Image id -> all candidates for proposals, before any is selected."""


class DetectionMeasures:
    """Predictions against the truth. keys: column of the instances' table -> key of the run."""

    def __init__(self, run: Run, truths: RecordReader, keys: Mapping[str, str]) -> None:
        self.truths = truths
        opened = {column: (key, run.records(key)) for column, key in keys.items()}
        self.readers = {column: (key, found) for column, (key, found) in opened.items() if found is not None}
        self.quality = {column: InstanceQuality() for column in self.readers}

    def measure(self, image_id: str) -> dict[str, NDArray[Any]]:
        """Columns of the image's instances. An image without a record has no detections."""
        truth = TrueMasks(GroundTruth.from_record(self.truths[image_id]))
        return {**_places(truth), **self.columns(image_id, truth)}

    def columns(self, image_id: str, truth: TrueMasks) -> dict[str, NDArray[np.float64]]:
        columns: dict[str, NDArray[np.float64]] = {}
        for column, (key, records) in self.readers.items():
            one = NetworkDetections.none(truth.truth.size)
            if image_id in records:
                one = NetworkDetections.from_record(records[image_id])
            try:
                found = network_measures(one, truth.truth, SURE)
            except WsisError as error:
                raise type(error)(f"{key} of image {image_id}: {error}") from error
            columns[column], columns[f"{column}/any"] = found.best_sure, found.best
            columns |= state_columns(column, found.states)
            self.quality[column] = self.quality[column] + found.quality
        return columns

    def rows(self, table: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
        """One row a set of predictions: mean best IoU, and instance quality at score SURE."""
        return [
            {
                "key": key,
                "best_iou": mean(table[f"{column}/any"]),
                "best_iou_sure": mean(table[column]),
                "sure": SURE,
                **asdict(self.quality[column]),
            }
            for column, (key, _) in self.readers.items()
        ]


class TrainMeasures:
    """Everything that is measured on training images; sums over the images that were measured."""

    def __init__(self, run: Run, truths: RecordReader, rule: SeedRule, pool: Pool | None = None) -> None:
        self.truths, self.rule, self.pool = truths, rule, pool
        self.dataset, self.proposal_records = run.records("dataset"), run.records(run.proposals_key)
        self.seed_records, self.labels = run.records("prm_seeds"), run.by_iteration("pseudo_labels")
        # a run never predicts the training images with its last network
        self.detected = DetectionMeasures(
            run, truths, {f"train@{t}": f"predictions.train@{t}" for t in run.iterations()[:-1]}
        )
        self.given = run.records("corrections") if "corrections" in run.record.entries else None
        self.boxes = BoxMeasures()
        self.images = 0
        self.places = np.zeros(4, np.int64)
        self.hits: list[NDArray[np.int64]] = []
        self.counts: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.quality = {t: InstanceQuality() for t in self.labels}
        self.distinct: dict[int, list[int]] = {t: [] for t in self.labels}

    def measure(self, image_id: str) -> dict[str, NDArray[Any]]:
        """Columns of the image's instances."""
        self.images += 1
        truth = TrueMasks(GroundTruth.from_record(self.truths[image_id]))
        columns = _places(truth)
        if self.given is not None:
            columns[GIVEN] = np.full(len(truth.labels), image_id in self.given)
        try:
            if self.seed_records is not None:
                columns |= self._seeds(Seeds.from_record(_record(self.seed_records, image_id)), truth)
            if self.proposal_records is not None:
                columns |= self._proposals(image_id, _record(self.proposal_records, image_id), truth)
        except WsisError as error:
            raise type(error)(f"image {image_id}: {error}") from error
        return columns | self.detected.columns(image_id, truth)

    def _seeds(self, seeds: Seeds, truth: TrueMasks) -> dict[str, NDArray[Any]]:
        peaks = seeds.peaks
        found = seed_places(peaks, truth)
        self.places += np.bincount(found.places, minlength=4)
        for label in np.union1d(peaks[:, 0], truth.labels).tolist():
            difference = int((peaks[:, 0] == label).sum() - (truth.labels == label).sum())
            self.counts["fewer" if difference < 0 else "more" if difference else "equal"] += 1
        iou = response_iou(seeds.peak_response_maps, self.rule.sampling.seed_threshold, truth)
        self.hits.append(found.hits)
        return {HITS: found.hits, "response": best_iou(iou, peaks[:, 0], truth)}

    def _proposals(self, image_id: str, proposals: Record, truth: TrueMasks) -> dict[str, NDArray[Any]]:
        found = ProposalSet.from_record(proposals)
        overlaps = RegionOverlaps(found.superpixels, found.membership.shape[1], truth)
        every = overlaps(found.membership)
        self.sizes["all"] += len(every.iou)
        columns = {"superpixels": overlaps.best_unions, "proposal": every.iou.max(axis=0, initial=0.0)}
        columns |= {f"proposal/{n}": every.iou[:n].max(axis=0, initial=0.0) for n in FIRST}
        if self.pool is not None:
            columns["pool"] = self._pool(self.pool(image_id), truth)
        samples = {t: SampleSet.from_record(_record(one, image_id)) for t, one in self.labels.items()}
        if self.dataset is not None and self.seed_records is not None:
            dataset = self.dataset.read(image_id, ("labels", "size"))
            seeds = Seeds.from_record(self.seed_records[image_id])
            sampling = self.rule.sampling
            unlimited = sampling.model_copy(update={"max_proposals": _EVERY})
            filtered = filtered_rows(found, seeds, unlimited)
            kept = filtered_rows(found, seeds, sampling)
            for name, rows in (("filtered", filtered), ("limited", kept)):
                columns[name] = every.iou[rows].max(axis=0, initial=0.0)
                self.sizes[name] += len(rows)
            columns["seed_target"] = self._seed_target(dataset, found, seeds, kept, overlaps, truth)
            self.boxes.measure(found, kept, seeds, samples)
        for t, one in samples.items():
            measured = sample_measures(every, one, truth)
            columns[f"best@{t}"], columns[f"mean@{t}"] = measured.best, measured.mean
            columns |= state_columns(f"labels@{t}", measured.states)
            self.quality[t] = self.quality[t] + measured.quality
            self.distinct[t].append(len(one.multiplicities))
        return columns

    def _pool(self, pool: Regions, truth: TrueMasks) -> NDArray[np.float64]:
        self.sizes["pool"] += len(pool)
        overlaps = RegionOverlaps(pool.superpixels, pool.membership.shape[1], truth)
        return overlaps(pool.membership).iou.max(axis=0, initial=0.0)

    def _seed_target(
        self,
        dataset: Record,
        proposals: ProposalSet,
        seeds: Seeds,
        kept: NDArray[np.int64],
        overlaps: RegionOverlaps,
        truth: TrueMasks,
    ) -> NDArray[np.float64]:
        arrays = arrays_of_image(dataset, proposals, seeds, kept)
        graph, rule = arrays.graph(self.rule.sampling), self.rule
        targets = targets_of_seeds(graph, arrays, dataset, seeds, rule.num_classes, rule.targets)
        labels = targets.probabilities.argmax(1).numpy()
        return best_iou(overlaps(targets.masks.numpy()).iou, labels, truth)

    def seeds(self) -> dict[str, Any] | None:
        """Figures of the seeds, shares of all of them."""
        if self.seed_records is None:
            return None
        seeds, hits = int(self.places.sum()), np.concatenate(self.hits)
        pairs = sum(self.counts.values())
        return {
            "per_image": seeds / self.images,
            "instances_per_image": len(hits) / self.images,
            **{
                name: float(self.places[place] / seeds) if seeds else None
                for name, place in (
                    ("inside", INSIDE),
                    ("other_class", OTHER_CLASS),
                    ("background", BACKGROUND),
                    ("void", VOID),
                )
            },
            "instances_hit": mean(hits > 0),
            "instances_hit_twice": mean(hits > 1),
            "classes_with": {
                n: self.counts[n] / pairs if pairs else None for n in ("fewer", "equal", "more")
            },
        }

    def proposals(self, table: Mapping[str, NDArray[Any]]) -> dict[str, Any] | None:
        """Recall of the candidates before selection, of the best-ranked and of all proposals, of the filtered ones,
        and of those within the limit."""
        if self.proposal_records is None:
            return None
        column = {"pool": "pool", **{f"first_{n}": f"proposal/{n}" for n in FIRST}, "all": "proposal"}
        column |= {"filtered": "filtered", "limited": "limited"}
        return {
            name: {
                "per_image": self.sizes[name] / self.images if name in self.sizes else None,
                "groups": recall_rows(table, column[name]),
            }
            for name in column
            if column[name] in table
        }

    def samples(self, table: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
        """One row an outer iteration: IoUs, instance quality (sums; means over the K samples), distinct sets."""
        return [
            {
                "iteration": t,
                "mean_over_k": mean(table[f"mean@{t}"]),
                "best_of_k": mean(table[f"best@{t}"]),
                **asdict(self.quality[t]),
                "distinct": float(np.mean(self.distinct[t])),
                "one_set_only": float(np.mean(np.array(self.distinct[t]) == 1)),
            }
            for t in self.labels
            if f"mean@{t}" in table
        ]


def _record(records: RecordReader, image_id: str) -> dict[str, NDArray[Any]]:
    """Raises DataError: no such record, where every training image must have one."""
    if image_id not in records:
        raise DataError(
            f"{records.root}: expected a record of training image {image_id!r}, which has masks, got none"
        )
    return records[image_id]
