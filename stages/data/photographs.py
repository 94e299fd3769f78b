"""Stage `photographs`: a folder of the user's own photographs as a data set without labels.

For what needs no training: proposals, contours. A file that is no image fails alone: its record is empty and
`counts["failed"]` says why. One that is cut short in its pixels is found by the first stage that decodes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_contracts.schemas import DATASET
from wsis.engine.per_image import Record, read_failures, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext, execution_only
from wsis.readers.files.folder_files import read_bytes
from wsis.readers.files.images import check_shape, eight_bit_png, image_size, sample_bits
from wsis.readers.files.photographs import Photograph, bits_in_use, digest, list_photographs
from wsis.readers.shared.records import ImageRecord

NAME = "photographs"
ALGORITHM_VERSION = 2


class Config(StageConfig):
    """Where the photographs lie: not part of any fingerprint, their names and bytes are."""

    root: Path = execution_only(description="folder of photographs, sub-folders included, or one file")


@dataclass(frozen=True)
class _Compute:
    """Image ids -> records of the contract."""

    photographs: Mapping[str, Photograph]
    bits: int | None

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            one = self.photographs[image_id]
            encoded = read_bytes(one.path, one.file_name)
            if self.bits is not None and sample_bits(encoded, one.file_name) is not None:
                encoded = eight_bit_png(encoded, one.file_name, self.bits)
            size = image_size(encoded, one.file_name)
            check_shape(size, one.file_name)
            # nothing learns from them
            yield ImageRecord(image_id, "val", one.file_name, encoded, *size).to_record()


def content_digest(config: Config) -> str:
    """Digest of names and bytes of the photographs."""
    return digest(list_photographs(config.root)[0])


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Copy the photographs into the store.

    Raises:
        DataError: no such folder, or no photograph in it.
    """
    photographs, _ = list_photographs(config.root)
    bits = bits_in_use(photographs)
    if bits is not None:
        context.log(f"photographs of 16 bits a channel: {bits} are in use, of which the upper 8 are kept")
    compute = _Compute({one.image_id: one for one in photographs}, bits)
    # one process: this reads files and decodes nothing
    writer = write_records(context, DATASET, list(compute.photographs), compute, tolerate=True)
    failed = read_failures(context.workdir)
    readable = len(writer.image_ids) - len(failed)
    context.counts.update(
        {"images": readable, "classes": [], "train": 0, "val": readable, "failed": list(failed.values())}
    )


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=(),
    contract=DATASET.name,
    content_digest=content_digest,
    seeded=False,
)
