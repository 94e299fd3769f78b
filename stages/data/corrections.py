"""Stage `corrections`: the masks of those training images that a person has drawn or corrected (`data.masks`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_contracts.printable import counted, first_few
from data_contracts.schemas import CORRECTIONS, DATASET, array_to_text
from wsis.engine.per_image import Record, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext, execution_only
from wsis.method.masks.given_masks import GivenMasks
from wsis.readers import given_masks
from wsis.readers.given_masks import GivenFiles
from wsis.readers.mask_targets import Target
from wsis.views.dataset import class_names, segmented_ids, targets

NAME = "corrections"
ALGORITHM_VERSION = 1
_SHOWN = 3


class Config(StageConfig):
    """Which files; their content is part of the fingerprint."""

    files: tuple[Path, ...] = execution_only()


@dataclass(frozen=True)
class _Compute:
    """Image ids -> records of the contract."""

    masks: Mapping[str, GivenMasks]

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        return (self.masks[image_id].to_record() for image_id in image_ids)


def targets_of(dataset: Artefact) -> list[Target]:
    """The training images that can be given masks: those that show a class."""
    return targets(dataset, segmented_ids(dataset.records(DATASET), "train"))


def against_labels(found: GivenFiles, dataset: Artefact) -> str | None:
    """What to warn of: images with a given mask of a class that their label does not name; None if there are none."""
    names, records = class_names(dataset), dataset.records(DATASET)
    others = []
    for image_id, given in found.masks.items():
        one = records.read(image_id, ("file_name", "labels"))
        labelled = one["labels"].tolist()
        if new := sorted(set(given.labels.tolist()) - set(labelled)):
            drawn, known = (", ".join(names[n - 1] for n in some) for some in (new, labelled))
            others.append(f"{array_to_text(one['file_name'])} (mask of {drawn}, labelled {known})")
    if not others:
        return None
    return (
        f"given masks of classes that the label does not name, in {len(others)} of {len(found.masks)} images: "
        f"{first_few(others, _SHOWN)}; "
        "the mask counts, while the classifier learns from the label: mend the one that is wrong, the label in the "
        "data or the mask in its file"
    )


def left_out(found: GivenFiles) -> list[str]:
    """What of the files does not count, and what their readers decided, a line each."""
    if not found.unknown:
        return list(found.notes)
    return [
        *found.notes,
        f"given masks left out: {counted(len(found.unknown), 'image')} outside of the training images that show a "
        f"class: {first_few(found.unknown, _SHOWN)}",
    ]


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Store the masks of the images that the files list.

    Raises:
        DataError: see `wsis.readers.given_masks.read_given`.
    """
    dataset = inputs["dataset"]
    trained = targets_of(dataset)
    found = given_masks.read_given(config.files, trained, class_names(dataset))
    ids = [target.image_id for target in trained if target.image_id in found.masks]
    write_records(context, CORRECTIONS, ids, _Compute(found.masks))
    context.counts.update(
        images=len(ids),
        of_images=len(trained),
        instances=sum(len(one) for one in found.masks.values()),
        images_without_instances=sum(not len(one) for one in found.masks.values()),
        unknown_images=len(found.unknown),
    )
    if line := against_labels(found, dataset):
        context.warn(line)
    for line in left_out(found):
        context.log(line)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset",),
    contract=CORRECTIONS.name,
    supervision=lambda config: ("masks of some training images",),
    content_digest=lambda config: given_masks.digest(config.files),
    seeded=False,
)
