"""Stage `corrected_proposals`: the proposals, and after them the masks that a person has given of some images.

What names a proposal of `proposals` means the same here, so that pseudo labels of before stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from data_contracts.records import RecordReader
from data_contracts.schemas import CORRECTIONS, PROPOSALS
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext
from wsis.method.masks.given_masks import GivenMasks, with_masks
from wsis.method.masks.proposal_set import ProposalSet

NAME = "corrected_proposals"
ALGORITHM_VERSION = 1


class Config(StageConfig):
    """Nothing to choose."""


@dataclass(frozen=True)
class _Compute:
    """Image ids -> records of the contract."""

    proposals: RecordReader
    given: RecordReader

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            record = self.proposals[image_id]
            if image_id in self.given:
                drawn = GivenMasks.from_record(self.given[image_id])
                record = with_masks(ProposalSet.from_record(record), drawn).to_record()
            yield record


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the proposals of every image that has some."""
    proposals, given = inputs["proposals"].records(PROPOSALS), inputs["corrections"].records(CORRECTIONS)
    write_records(context, PROPOSALS, list(proposals.ids), _Compute(proposals, given))
    context.counts.update(images=len(proposals.ids), images_with_given_masks=len(given.ids))


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("proposals", "corrections"),
    contract=PROPOSALS.name,
    seeded=False,
)
