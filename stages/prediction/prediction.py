"""The prediction network of one outer iteration: Mask R-CNN trained on all K pseudo-label sets (paper 3.3, B.1).

Writes what `stages.prediction.training` says.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import DataError
from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS
from stages.prediction.fit import fit_before
from stages.prediction.settings import DETECTOR_NAME, PredictionConfig
from stages.prediction.training import (
    LESS_GPU_MEMORY,
    check_starts,
    content_digest,
    label_sources,
    train_network,
)
from wsis.engine.stage import Artefact, Stage, StageContext
from wsis.errors import InputError
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.proposal_set import Regions
from wsis.method.prediction.data.training_images import (
    ImageInstances,
    InstanceSet,
    SuperpixelMasks,
    unite_sets,
)
from wsis.views.dataset import class_names, read_image_again

NAME = "prediction"
ALGORITHM_VERSION = 3
Config = PredictionConfig
_CACHED_RECORDS = 1024  # images whose labelled proposals are kept in memory, some 0.2 MB each


class StoredSource:
    """Pseudo labels straight from the store: masks stay sets of superpixels until an image is used."""

    def __init__(self, inputs: Mapping[str, Artefact], cached_records: int = _CACHED_RECORDS) -> None:
        self._given = dict(inputs), cached_records
        self.dataset = inputs["dataset"].records(DATASET)
        self.proposals = inputs["proposals"].records(PROPOSALS)
        self.labels = inputs["pseudo_labels"].records(PSEUDO_LABELS)
        self.ids = list(self.labels.ids)
        self.classes = class_names(inputs["dataset"])
        self._instances_of = lru_cache(maxsize=cached_records)(self._read_instances)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredSource, self._given

    def __len__(self) -> int:
        return len(self.ids)

    def image_id(self, index: int) -> str:
        return self.ids[index]

    def image_size(self, index: int) -> tuple[int, int]:
        height, width = self.dataset.read(self.ids[index], ("size",))["size"].tolist()
        return height, width

    def image(self, index: int) -> NDArray[np.uint8]:
        # the stage `pseudo_labels` has decoded every one of them
        return read_image_again(self.dataset, self.ids[index])

    def instances(self, index: int) -> ImageInstances:
        """The distinct labelled proposals of all samples. One that has no pixel at the image's size (it fell
        between the pixels of an image smaller than the proposals' grid) is left out.

        Raises:
            DataError: a proposal that the image does not have.
        """
        return self._instances_of(self.ids[index])

    def _read_instances(self, image_id: str) -> ImageInstances:
        samples = SampleSet.from_record(self.labels[image_id])
        keys, labels, weights = unite_sets(
            [InstanceSet(*samples.unique(u)[:2], share) for u, share in enumerate(samples.shares.tolist())]
        )
        masks = self._masks(image_id, keys)
        (height, width), (least_height, least_width) = masks.size, masks.superpixels.shape
        if height >= least_height and width >= least_width:
            return ImageInstances(masks, labels, weights)
        dense = masks.dense()
        kept = dense.any(axis=(1, 2))
        return ImageInstances(dense[kept], labels[kept], weights[kept])

    def _masks(self, image_id: str, keys: NDArray[np.int64]) -> SuperpixelMasks:
        record = self.proposals.read(image_id, (*Regions.FIELDS, "boxes"))
        try:
            regions = Regions.from_record(record, keys)
        except InputError as error:
            raise DataError(f"pseudo labels of image {image_id}: {error}") from error
        return SuperpixelMasks(
            regions.superpixels, regions.membership, record["boxes"][keys], regions.image_size
        )


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train on the K samples of every training image.

    Raises: as :func:`stages.prediction.training.train_network`.
    """
    source = StoredSource(inputs)
    previous = inputs.get("previous")
    train_network(
        source,
        config,
        config.total_steps(len(source), context.outer_iteration),
        context,
        init_weights=None if previous is None else previous.file(DETECTOR_NAME),
        fit=None if previous is None else fit_before(previous.manifest.counts, config),
    )


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset", "proposals", "pseudo_labels"),
    optional=("previous",),
    contract="weights",
    supervision=label_sources,
    content_digest=content_digest,
    check=check_starts,
    threaded=True,
    on_device=True,
    less_gpu_memory=LESS_GPU_MEMORY,
)
