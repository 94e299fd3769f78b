"""K samples of the conditional distribution for every training image, as proposal ids and classes (eq. 5), and how
much they differ. An image whose masks a person has given (`corrections`) has these in every sample."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from data_contracts.printable import first_few
from data_contracts.records import RecordReader
from data_contracts.schemas import CORRECTIONS, DATASET, DETECTIONS, PROPOSALS, PSEUDO_LABELS, SEEDS
from stages.conditional.covering import whole_images
from stages.conditional.examples import detections_of_image, given_masks
from stages.conditional.training import trained_config
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.engine.training import WEIGHTS_NAME, load_weights
from wsis.errors import WsisError
from wsis.method.backbones.efficientnet_lite import fold_batch_norms
from wsis.method.conditional.architectures import build_network
from wsis.method.conditional.label_sets import SampleSet, certain_samples, deduplicate
from wsis.method.conditional.network import ConditionalNetwork
from wsis.method.dissimilarity.diversity import diversity_statistics
from wsis.method.dissimilarity.image_labels import ImageLabels
from wsis.method.dissimilarity.image_problem import build_problem
from wsis.method.dissimilarity.network_inputs import (
    SamplingConfig,
    arrays_of_image,
    filtered_rows,
    image_batch,
    image_key,
    image_noise,
    resized,
)
from wsis.method.dissimilarity.objective import sample_labels
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.given_masks import GivenMasks
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.placement import placed
from wsis.method.prm.seeds import Seeds
from wsis.method.transfers import moved
from wsis.readers.files.images import decode_image
from wsis.views.dataset import class_names

NAME = "pseudo_labels"
ALGORITHM_VERSION = 9
_NOISE_STREAM = 4
_LABEL_OF_BOX = 0.5
_MUCH_MISSING = 0.25  # of what the samples should name: said aloud
_MOST = 0.5  # share of a class's images


class Config(StageConfig):
    """How samples are drawn; everything else, their number K too, is as the network was trained."""

    score_noise: float = Field(
        0.02,
        ge=0,
        description="scale of the noise on the scores, that of training at most; 0: few distinct samples",
    )
    contour_weight: float = Field(
        2.0,
        ge=0,
        description="weight of the mean contour along a proposal's outline, added to its score under image-level "
        "labels where terms hold P; paper: 0",
    )


@dataclass(frozen=True)
class _Compute:
    """Image ids -> samples. The network is built once in each process."""

    dataset: RecordReader
    proposals: RecordReader
    seeds: RecordReader
    detections: RecordReader | None
    sampling: SamplingConfig
    contour_weight: float
    num_classes: int
    given: RecordReader | None
    weights: Path
    key: tuple[int, ...]
    device: str

    @cached_property
    def network(self) -> ConditionalNetwork:
        network = build_network(self.sampling, self.num_classes, load_pretrained=False)
        network.load_state_dict(load_weights(self.weights))
        fold_batch_norms(network)
        return placed(network, self.device).eval()

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            try:
                given = given_masks(self.given, image_id)
                yield self._samples_of(image_id) if given is None else self._certain(image_id, given)
            except WsisError as error:
                raise type(error)(f"{NAME}: image {image_id}: {error}") from error

    def _certain(self, image_id: str, given: GivenMasks) -> dict[str, np.ndarray]:
        """K equal samples: the given masks."""
        rows = given.rows(len(self.proposals.read(image_id, ("scores",))["scores"]))
        samples = certain_samples(rows, given.labels, self.sampling.k)
        return {**samples.to_record(), "diversity": np.zeros(1, np.float32), "distinct": np.ones(1, np.int32)}

    def _samples_of(self, image_id: str) -> dict[str, np.ndarray]:
        record, proposals = self.dataset[image_id], ProposalSet.from_record(self.proposals[image_id])
        seeds = Seeds.from_record(self.seeds[image_id])
        kept = filtered_rows(proposals, seeds, self.sampling)
        image = resized(decode_image(record["encoded"].tobytes(), image_id), self.sampling.image_size)
        stride = self.network.extractor.stride
        size = (image.shape[1] // stride, image.shape[2] // stride)
        arrays = arrays_of_image(record, proposals, seeds, kept)
        found = None if self.detections is None else detections_of_image(self.detections[image_id])
        problem = build_problem(
            arrays,
            size,
            self.sampling,
            make_marks=lambda graph: ImageLabels(graph, arrays, record, seeds, found).marks(),
        )
        # One image at a time and noise from its id: no record depends on how images are grouped or ordered.
        noise = image_noise(problem, self.sampling, (*self.key, image_key(image_id)))
        batch = moved((image_batch([image], [False]), [problem], [noise]), self.device)
        drawn = sample_labels(self.network, *batch, self.sampling, self.contour_weight)
        (own,), (scores,) = moved(drawn, "cpu")
        samples = deduplicate(own, scores, problem.classes, kept)
        spread = diversity_statistics(own, problem.graph.membership, problem.graph.superpixel_areas)
        return {
            **samples.to_record(),
            "diversity": np.array([spread.mean_distance], np.float32),
            "distinct": np.array([spread.distinct], np.int32),
        }


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write K samples of every training image."""
    seeds, detections = inputs["prm_seeds"].records(SEEDS), inputs.get("train_predictions")
    trained = inputs["conditional"]
    sampling = trained_config(trained)
    # scores that were not trained against noise are too close together for any
    noise = min(config.score_noise, sampling.score_noise)
    compute = _Compute(
        inputs["dataset"].records(DATASET),
        inputs["proposals"].records(PROPOSALS),
        seeds,
        detections.records(DETECTIONS) if detections is not None else None,
        sampling.model_copy(update={"score_noise": noise}),
        config.contour_weight,
        len(class_names(inputs["dataset"])),
        inputs["corrections"].records(CORRECTIONS) if "corrections" in inputs else None,
        trained.file(WEIGHTS_NAME),
        (context.seed, context.outer_iteration or 0, _NOISE_STREAM),
        str(context.device),
    )
    workers = context.execution.workers
    write_records(context, PSEUDO_LABELS, list(seeds.ids), compute, workers, device=context.device)
    context.counts.update(_statistics(RecordReader(context.workdir, PSEUDO_LABELS), compute))
    if without := context.counts["boxes_without_label"]:
        context.log(
            f"warning: {len(without)} of {context.counts['boxes']} boxes have no label that fits them in every sample "
            f"(the manifest names them): {first_few(without, 3)}"
        )
    missing = context.counts["missing_class_share"]
    if missing >= _MUCH_MISSING:
        context.warn(
            f"{100 * missing:.0f} % of the annotated classes are missing in the samples; the prediction "
            "network is taught that they are background, and may end with no detections at all. "
            f"conditional.terms is {sampling.terms}; U+P+H gives every annotated class an instance (eq. 4)"
        )
    names = class_names(inputs["dataset"])
    shares = whole_images(RecordReader(context.workdir, PSEUDO_LABELS), compute.proposals, names)
    context.counts["whole_images"] = shares
    if whole := [f"{name!r} ({100 * share:.0f} %)" for name, share in shares.items() if share > _MOST]:
        context.warn(
            f"the samples cover nearly the whole image in most images of {', '.join(whole)}: the ground is labelled "
            "with it. Boxes would help (data.supervision=box), or images of the same places without it (negatives): "
            "docs/howto/common-class.md"
        )


def _statistics(records: RecordReader, compute: _Compute) -> dict[str, Any]:
    """Means over what was written, so that a resumed stage counts the same."""
    distances, distinct, instances, empty = [], [], [], 0
    lost = wanted = boxes = given = 0
    unlabelled: list[str] = []
    for image_id, record in records:
        samples = SampleSet.from_record(record)
        distances.append(float(record["diversity"][0]))
        distinct.append(int(record["distinct"][0]))
        sizes = np.diff(samples.offsets)
        instances.append(float((sizes * samples.multiplicities).sum() / samples.num_samples))
        if given_masks(compute.given, image_id) is not None:  # weak labels say nothing of it any more
            given += 1
            continue
        annotated = set(compute.dataset.read(image_id, ("labels",))["labels"].tolist())
        absent = [len(annotated - set(samples.unique(u)[1].tolist())) for u in range(len(sizes))]
        empty += any(absent)
        lost += int(np.dot(absent, samples.multiplicities))
        wanted += len(annotated) * samples.num_samples
        seeds = compute.seeds.read(image_id, ("boxes", "peaks"))
        boxes += len(seeds["boxes"])
        missing = _boxes_without_label(samples, seeds, compute.proposals.read(image_id, ("boxes",))["boxes"])
        unlabelled += [f"{image_id}: box {box + 1}" for box in missing]
    of_given = {} if compute.given is None else {"images_with_given_masks": given}
    return {
        "images": len(distances),
        "samples_per_image": compute.sampling.k,
        "mean_distance": float(np.mean(distances)) if distances else 0.0,
        "mean_distinct": float(np.mean(distinct)) if distinct else 0.0,
        "images_with_one_distinct_sample": int(sum(d == 1 for d in distinct)),
        "mean_instances": float(np.mean(instances)) if instances else 0.0,
        "images_with_an_unlabelled_class": int(empty),
        "missing_class_share": lost / wanted if wanted else 0.0,
        "boxes": boxes,
        "boxes_without_label": unlabelled,
        **of_given,
    }


def _boxes_without_label(samples: SampleSet, seeds: Record, proposal_boxes: np.ndarray) -> list[int]:
    """The annotated boxes of an image, from 0, that some sample has no label of their class for.

    A label is a box's where the IoU of the boxes is at least `_LABEL_OF_BOX`; no label is that of two boxes.
    """
    missing: set[int] = set()
    if not len(seeds["boxes"]):
        return []
    for unique in range(len(samples.multiplicities)):
        ids, classes, _ = samples.unique(unique)
        fits = box_iou(seeds["boxes"], proposal_boxes[ids]) >= _LABEL_OF_BOX
        fits &= seeds["peaks"][:, :1] == classes[None]
        given = maximum_bipartite_matching(csr_array(fits), perm_type="column")
        missing |= set(np.flatnonzero(given < 0).tolist())
    return sorted(missing)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "proposals", "prm_seeds", "conditional"),
    optional=("train_predictions", "corrections"),
    contract="pseudo_labels",
    per_image=True,
    on_device=True,
)
