"""Stored records of hand-made images, through the types that write them in a run."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import ProposalSet, make_proposal_set
from wsis.readers.shared.records import DatasetSource, ImageRecord, Role, TruthRecord

Record = dict[str, np.ndarray]
NO_EDGES = np.zeros((0, 2), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32)


def image_record(
    pixels: np.ndarray, file_name: str = "x.png", split: str = "train", labels: Sequence[int] = (1,)
) -> Record:
    """Of a data set; pixels uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    height, width = pixels.shape[:2]
    return ImageRecord(
        file_name, split, file_name, buffer.getvalue(), height, width, np.array(labels, np.int32)
    ).to_record()


def images_of(source: DatasetSource, role: Role) -> Iterator[ImageRecord]:
    """The images of one part of a data set, in order."""
    return (source.image(image_id) for image_id in source.image_ids(role))


def truths_of(source: DatasetSource, role: Role) -> Iterator[TruthRecord]:
    """The true instances of one part of a data set, in order."""
    return (source.truth_of(image_id) for image_id in source.truth_ids(role))


def proposals_of(
    superpixels: np.ndarray, membership: np.ndarray, size: tuple[int, int], graph: tuple = NO_EDGES
) -> ProposalSet:
    """Proposals in the order of the rows of membership [P, S], scores from 1 down to 0.1."""
    scores = np.linspace(1, 0.1, len(membership))
    return make_proposal_set(superpixels, np.asarray(membership, bool), scores, graph, size)


def label_sets_record(
    multiplicities: Sequence[int], sets: Sequence[Sequence[tuple[int, int]]], diversity: float = 0.25
) -> Record:
    """Of pseudo labels. sets: of each unique sample its (proposal, class) pairs; scores from 2 down to 0.2."""
    pairs = [pair for one in sets for pair in one]
    samples = SampleSet(
        np.array(multiplicities, np.int32),
        np.cumsum([0, *map(len, sets)]).astype(np.int32),
        np.array([proposal for proposal, _ in pairs], np.int32),
        np.array([label for _, label in pairs], np.int32),
        np.linspace(2, 0.2, len(pairs)).astype(np.float32),
    )
    spread = {"diversity": np.array([diversity], np.float32), "distinct": np.array([len(sets)], np.int32)}
    return samples.to_record() | spread


def truth_record(
    masks: np.ndarray, labels: Sequence[int] | None = None, split: str = "train", void: bytes = b""
) -> Record:
    """Masks bool [N, H, W]; labels None: all of class 1."""
    counts, (height, width) = rle.encode_many(masks), masks.shape[1:]
    named = np.ones(len(masks), np.int32) if labels is None else np.array(labels, np.int32)
    boxes = np.zeros((len(masks), 4), np.float32)
    return TruthRecord("", split, height, width, tuple(counts), named, boxes, void).to_record()
