"""Stage `ground_truth`: instance masks, for evaluation alone. No stage of the method may take it as an input;
`ceiling`, which measures full supervision, stands beside the method.

Images that have none are left out and counted. Class names are `manifest.counts["classes"]`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from data_contracts.errors import DataError
from data_contracts.schemas import GROUND_TRUTH
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageContext
from wsis.readers.config import DataConfig, open_source
from wsis.readers.files.folder_files import Problems
from wsis.readers.shared.records import ROLES, DatasetSource

NAME = "ground_truth"
ALGORITHM_VERSION = 1
Config = DataConfig


@dataclass(frozen=True)
class _Compute:
    """Image ids -> records of the contract. The first bad mask makes it look for all others before it stops."""

    source: DatasetSource
    all_ids: Sequence[str]

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            try:
                record = self.source.truth_of(image_id).to_record()
            except DataError:
                _raise_all(self.source, self.all_ids)
                raise
            yield record


def _raise_all(source: DatasetSource, image_ids: Sequence[str]) -> None:
    problems = Problems()
    for image_id in image_ids:
        with problems.collect():
            source.truth_of(image_id)
    problems.raise_if_any("masks")


def content_digest(config: DataConfig) -> str:
    """Digest of masks and of the images' sizes and classes."""
    return open_source(config).truth_digest()


def run(inputs: Mapping[str, Artefact], config: DataConfig, context: StageContext) -> None:
    """Store the masks of every image that has some.

    Raises:
        DataError: no image has masks; or listing everything that is wrong with them.
    """
    source = open_source(config)
    with_masks = {role: source.truth_ids(role) for role in ROLES}
    image_ids = [image_id for role in ROLES for image_id in with_masks[role]]
    if not image_ids:
        raise DataError(
            f"masks: expected some to compare with, got none on any of "
            f"{sum(len(source.image_ids(role)) for role in ROLES)} images of {config.root}"
        )
    write_records(context, GROUND_TRUTH, image_ids, _Compute(source, image_ids))
    without = sum(len(source.image_ids(role)) for role in ROLES) - len(image_ids)
    if lost := len(source.image_ids("val")) - len(with_masks["val"]):
        context.log(f"{lost} images of val lack masks, or some of them, and are left out of the evaluation")
    context.counts.update(images=len(image_ids), classes=list(source.classes), images_without_masks=without)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=(),
    contract=GROUND_TRUTH.name,
    supervision=lambda config: ("masks (evaluation)",),
    content_digest=content_digest,
    seeded=False,
)
