"""Stage `boxes`: the boxes of the training images, in a run with `data.supervision: box` alone.

They lie beside the artefact of `dataset`, not in it, so that runs on image-level labels and on boxes share what needs
no box: the classifier.
"""

from collections.abc import Mapping

from data_contracts.records import RecordReader
from data_contracts.schemas import BOXES
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageContext
from wsis.method.masks.extents import extents, extents_line
from wsis.readers.config import DataConfig, open_source
from wsis.readers.shared.records import DatasetSource, ImageRecord

NAME = "boxes"
ALGORITHM_VERSION = 1
Config = DataConfig


def encode_record(image: ImageRecord) -> Record:
    """The arrays of one record, see `data_contracts.schemas.BOXES`."""
    return {"boxes": image.boxes, "box_labels": image.box_labels}


def content_digest(config: DataConfig) -> str:
    """Digest of the files read, as that of `dataset`."""
    return open_source(config).digest()


def _extents(written: RecordReader, source: DatasetSource) -> dict[str, float]:
    """Numbers and sizes of the boxes, in pixels of the photographs."""
    sizes = {one.image_id: one.size for one in source.outlines()}
    boxes = [record["boxes"] for _, record in written]
    areas = [(one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1]) for one in boxes]
    return extents(areas, [float(sizes[i][0] * sizes[i][1]) for i in written.ids])


def run(inputs: Mapping[str, Artefact], config: DataConfig, context: StageContext) -> None:
    """Store the boxes of every training image.

    Raises:
        DataError: listing every object without a box, and whatever else is wrong with the annotations.

    Boxes that reach outside of their image are clipped, those of which nothing is left dropped (the label of the image
    stays); the manifest counts them.
    """
    source = open_source(config)
    ids = source.image_ids("train")
    writer = write_records(context, BOXES, ids, lambda some: (encode_record(source.image(i)) for i in some))
    found = _extents(RecordReader(context.workdir, BOXES), source)
    context.counts.update(images=len(writer.image_ids), extents=found)
    context.log(extents_line(found, "boxes"))
    changes = source.box_changes("train")
    for kind, messages in (("clipped", changes.clipped), ("dropped", changes.dropped)):
        if messages:
            context.counts[f"boxes_{kind}"] = len(messages)
            context.log(
                f"boxes {kind}: {len(messages)} (data.strict=true refuses them); the first: {messages[0]}"
            )


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=(),
    contract=BOXES.name,
    supervision=lambda config: ("boxes",),
    content_digest=content_digest,
    seeded=False,
)
