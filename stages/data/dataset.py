"""Stage `dataset`: the user's images and image-level labels, checked once and copied into the store.

Later stages and remote workers read this artefact and never the data root. It holds no boxes (stage `boxes`) and
never masks. Class names are `manifest.counts["classes"]`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_contracts.printable import counted, first_few
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, array_to_text
from wsis.engine.per_image import write_records
from wsis.engine.stage import Artefact, Execution, Stage, StageContext
from wsis.readers.config import DataConfig, open_source
from wsis.readers.files.folder_files import sha256
from wsis.readers.learnability import check_learnable
from wsis.readers.shared.records import ROLES, DatasetSource
from wsis.views.dataset import SOURCE_CATEGORIES, SOURCE_IDS

NAME = "dataset"
ALGORITHM_VERSION = 2
Config = DataConfig
_COPIES_NAMED = 3


def content_digest(config: DataConfig) -> str:
    """Digest of the files read: the artefact is computed anew when one of them changes, not when they move."""
    return open_source(config).digest()


def run(inputs: Mapping[str, Artefact], config: DataConfig, context: StageContext) -> None:
    """Check the whole data set, then store it.

    Raises:
        DataError: listing everything that is wrong with the data.
    """
    source = open_source(config)
    source.validate(lambda items, total: context.track(items, total, "checks images", "img"))
    image_ids = [image_id for role in ROLES for image_id in source.image_ids(role)]
    writer = write_records(
        context, DATASET, image_ids, lambda some: (source.image(i).to_record() for i in some)
    )
    context.counts.update(_counts(source, len(writer.image_ids)))
    if numbers := source.source_ids():
        context.write_json(SOURCE_IDS, dict(numbers))
    if categories := source.source_categories():
        context.write_json(SOURCE_CATEGORIES, {role: dict(named) for role, named in categories.items()})
    if notes := source.notes():
        context.counts["notes"] = list(notes)
    for note in notes:
        context.log(note)
    if copies := _copies(RecordReader(context.workdir, DATASET)):
        context.warn(copies)


def _counts(source: DatasetSource, total: int) -> dict[str, Any]:
    labels = {role: [source.labels_of(i) for i in source.image_ids(role)] for role in ROLES}
    of_class = np.bincount(
        np.concatenate([[0], *labels["train"]]).astype(int), minlength=len(source.classes) + 1
    )
    return {
        "images": total,
        "classes": list(source.classes),
        **{role: len(labels[role]) for role in ROLES},
        **{f"{role}_negatives": sum(not len(one) for one in labels[role]) for role in ROLES},
        "train_images_of_class": dict(zip(source.classes, of_class[1:].tolist(), strict=True)),
    }


def _copies(records: RecordReader) -> str | None:
    """Names train images whose bytes val has too; None if there are none."""
    names: dict[str, dict[str, str]] = {role: {} for role in ROLES}
    for image_id in records.ids:
        one = records.read(image_id, ("split", "file_name", "encoded"))
        names[array_to_text(one["split"])][sha256(one["encoded"].tobytes())] = array_to_text(one["file_name"])
    pairs = [f"{name} = {names['val'][key]}" for key, name in names["train"].items() if key in names["val"]]
    if not pairs:
        return None
    shown = first_few(pairs, _COPIES_NAMED)
    return f"the same file is in train and in val, {counted(len(pairs), 'time')}, and val measures too well: {shown}"


def check(config: DataConfig, _: Execution) -> None:
    """Fail early on labels that cannot teach a class.

    Raises:
        DataError: see `check_learnable`.
    """
    check_learnable(open_source(config), config.supervision)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=(),
    contract=DATASET.name,
    supervision=lambda config: ("image labels",),
    content_digest=content_digest,
    check=check,
    seeded=False,
)
