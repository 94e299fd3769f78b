"""Training images with their pseudo labels, chosen by name or by how far the K samples disagree."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data_contracts.errors import ConfigError
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS, array_to_text
from data_contracts.store import Artefact
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import Regions
from wsis.runs.runner import Runner


@dataclass(frozen=True)
class LabelledInstance:
    """A mask of the most frequent set: class name, compressed run lengths."""

    name: str
    counts: bytes


@dataclass(frozen=True)
class LabelledImage:
    """A training image with its most frequent label set.

    Attributes:
        file_name: as below the data root. size: (height, width).
        encoded: the image file's bytes.
        share: of the K samples that are this set.
        diversity: mean over pairs of the K samples of 1 - IoU of their label maps; 0: all are the same.
    """

    image_id: str
    file_name: str
    size: tuple[int, int]
    encoded: bytes
    share: float
    diversity: float
    instances: tuple[LabelledInstance, ...]


def diversities(labels: RecordReader) -> dict[str, float]:
    """Image id -> how far its K samples disagree."""
    return {i: float(labels.read(i, ("diversity",))["diversity"][0]) for i in labels.ids}


def chosen_images(
    runner: Runner, labels: Artefact, names: Iterable[str] = (), worst: int | None = None
) -> list[str]:
    """Ids of the images to export: those named; or the `worst` many whose samples disagree most, worst first; or all.

    Raises:
        ConfigError: a name means no image, several, or one without pseudo labels; or names and `worst` are both given.
    """
    records, asked = labels.records(PSEUDO_LABELS), list(names)
    if asked and worst is not None:
        raise ConfigError("--worst: expected without --image, got both")
    if asked:
        ids, known = runner.names.chosen(asked), set(records.ids)
        without = [i for i in ids if i not in known]
        if without:
            raise ConfigError(
                f"--image: expected training images that show a class, got {', '.join(without[:3])}, which "
                "have no pseudo labels"
            )
        return ids
    if worst is None:
        return list(records.ids)
    found = diversities(records)
    ids = sorted(found, key=lambda i: -found[i])[:worst]  # stable: of equal ones the first in the data
    runner.progress.log(
        f"the {len(ids)} of {len(found)} images whose samples disagree most: mean 1 - IoU {found[ids[0]]:.2f} to "
        f"{found[ids[-1]]:.2f}"
    )
    return ids


def labelled_images(
    runner: Runner, labels: Artefact, ids: Sequence[str], classes: Sequence[str]
) -> Iterator[LabelledImage]:
    """The images with their most frequent sets, see `instances_of`.

    Raises:
        CorruptArtefactError: an artefact is damaged. InputError: pseudo labels contradict the proposals.
    """
    records = labels.records(PSEUDO_LABELS)
    proposals = runner.artefact(runner.proposals_key).records(PROPOSALS)
    data = runner.artefact("dataset").records(DATASET)
    for image_id in runner.progress.track(ids, len(ids), "writes labels", "img"):
        record = records[image_id]
        samples = SampleSet.from_record(record)
        regions = Regions.from_record(proposals.read(image_id, Regions.FIELDS))
        image = data.read(image_id, ("file_name", "encoded"))
        yield LabelledImage(
            image_id=image_id,
            file_name=array_to_text(image["file_name"]),
            size=regions.image_size,
            encoded=image["encoded"].tobytes(),
            share=float(samples.shares[0]),
            diversity=float(record["diversity"][0]),
            # they are stored most frequent first
            instances=tuple(
                LabelledInstance(classes[label - 1], counts)
                for label, _, counts, _ in instances_of(samples, 0, regions)
            ),
        )


def instances_of(samples: SampleSet, index: int, regions: Regions) -> Iterator[tuple[int, float, bytes, int]]:
    """Class 1..C, score margin, compressed mask and its pixels of each instance of a distinct sample; one whose
    proposal has no pixel at the image's size is left out, as in training."""
    _, labels, scores = samples.unique(index)
    counts = rle.encode_many(samples.masks(index, regions))
    areas = rle.areas(counts, regions.image_size).tolist()
    for one in zip(labels.tolist(), scores.tolist(), counts, areas, strict=True):
        if one[-1]:
            yield one
