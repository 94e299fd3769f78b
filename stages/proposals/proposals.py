"""Stage `proposals`: the proposals of train (its negatives left out) and val, generated or imported.

Under box supervision (there is an artefact of `boxes`) every box of a training image gets candidates of its own, made
of these and of cuts, and they are what is stored.
Imported `.mat` files lie in one folder and are named by image id; COCO results are one file for all images.
Nothing here reads pixel labels; what has supervised the contours, and the ranking of imported files, is in the
artefact's lineage.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from data_contracts.errors import ConfigError, DataError
from data_contracts.printable import counted
from data_contracts.records import RecordReader
from data_contracts.schemas import BOXES, DATASET, PROPOSALS, array_to_text
from stages.proposals.sources import SOURCES, ProposalSource
from wsis.engine.per_image import Record, read_failures, write_records
from wsis.engine.stage import Artefact, Stage, StageConfig, StageContext, execution_only
from wsis.errors import InputError
from wsis.method.proposals import ImportSettings, MCGConfig, ProposalSet, generate
from wsis.method.proposals.boxes.candidates import box_proposals
from wsis.method.proposals.contours.detectors import ContourDetector, build_detector, contour_supervision
from wsis.method.proposals.contours.weights import SHIPPED_SHA256
from wsis.method.proposals.imports.complete import Ranking
from wsis.readers.files.digests import named_content
from wsis.readers.files.images import decode_image
from wsis.readers.proposal_files import ImportedProposals
from wsis.views.dataset import segmented_ids, targets

NAME = "proposals"
ALGORITHM_VERSION = 7
if TYPE_CHECKING:
    SourceName = str
else:
    SourceName = Literal["generate", *SOURCES]


def _lying_in(key: str) -> str:
    return ", ".join(name for name, source in SOURCES.items() if source.place.key == key)


class ProposalSettings(MCGConfig):
    """Section `proposals` of a run: where proposals come from, and how many."""

    source: SourceName = Field("generate", description="generate, or the program whose files are imported")
    folder: Path | None = execution_only(
        None, description=f"folder of a file an image, named by its id, for {_lying_in('folder')}"
    )
    file: Path | None = execution_only(
        None, description=f"file with the proposals of all images, for {_lying_in('file')}"
    )
    ranking: Ranking = Field(
        "unlearned",
        description="file: keep the scores of imported proposals (published MCG and COB have learned theirs from "
        "pixel labels of VOC)",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, place in (("folder", self.folder), ("file", self.file)):
            wanted = self.source in SOURCES and SOURCES[self.source].place.key == name
            if wanted and place is None:
                raise ValueError(
                    f"{name}: expected the {name} of proposals for source {self.source}, got None"
                )
            if place is not None and not wanted:
                raise ValueError(f"{name}: expected None for source {self.source}, got {place}")
        return self

    def imported(self) -> tuple[ProposalSource, Path] | None:
        """Where proposals are imported from; None where they are generated."""
        place = self.folder or self.file
        return None if place is None else (SOURCES[self.source], place)

    def imports(self, detector: ContourDetector) -> ImportSettings:
        """The importers' settings."""
        return ImportSettings(
            ranking=self.ranking, num_proposals=self.num_proposals, detector=detector, max_side=self.max_side
        )


class Config(ProposalSettings, StageConfig):
    """Of the section, and what `wsis proposals` alone may ask for."""

    # Part of the fingerprint: what was made with it may have holes, and is never reused where every image counts.
    tolerate_failures: bool = Field(
        False, description="list an image that fails in the manifest and go on; for data without labels alone"
    )


@dataclass(frozen=True)
class _Compute:
    """Image ids -> records of the contract. The detector is built once in each process."""

    dataset: RecordReader
    config: Config
    failed: Mapping[str, str]  # already in the data set, and why
    imported: ImportedProposals | None = None
    boxes: RecordReader | None = None

    @cached_property
    def detector(self) -> ContourDetector:
        return build_detector(self.config)

    @cached_property
    def boxed(self) -> frozenset[str]:
        return frozenset(() if self.boxes is None else self.boxes.ids)

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            if image_id in self.failed:
                raise DataError(self.failed[image_id])
            one = self.dataset.read(image_id, ("encoded", "file_name"))
            image = decode_image(one["encoded"].tobytes(), array_to_text(one["file_name"]))
            found = self.proposals_of(image_id, image)
            if self.boxes is not None and image_id in self.boxed:
                found = self.cut_to_boxes(self.boxes[image_id], image, found)
            yield found.to_record()

    def cut_to_boxes(self, annotated: Record, image: np.ndarray, found: ProposalSet) -> ProposalSet:
        """The candidates of an image's boxes; the proposals as they are where it has none."""
        if not len(annotated["boxes"]):
            return found
        return box_proposals(image, annotated["boxes"], annotated["box_labels"], found, self.detector)

    def proposals_of(self, image_id: str, image: np.ndarray) -> ProposalSet:
        """Generate or import the proposals of one image uint8 [H, W, 3].

        Raises:
            DataError: the image's file is missing or wrong.
        """
        config = self.config
        if self.imported is None:
            return generate(image, config, self.detector)
        try:
            return self.imported.proposals(image_id, image, config.imports(self.detector))
        except InputError as error:
            raise DataError(f"proposals of image {image_id}: {error}") from error


def check(config: ProposalSettings) -> None:
    """Fail early where the contour detector, the folder or the file is not there.

    Raises:
        DataError: the folder or file of imported proposals is missing.
        MissingWeightsError: see `contours.detectors`.
    """
    build_detector(config)
    if (imported := config.imported()) is not None:
        source, place = imported
        source.place.check(place)


def _contour_content(config: MCGConfig) -> bytes:
    """What stands for the contour detector's weights in a digest; empty where it has none.

    Raises:
        DataError: the model file is missing, unreadable or empty.
    """
    if config.contour_model is not None:
        return named_content(config.contour_model.name, config.contour_model, "contour_model")
    return SHIPPED_SHA256.encode() if config.contour == "learned" else b""


def content_digest(config: Config) -> str:
    """Digest of the imported files and the detector's model: new content, new artefact."""
    check(config)
    digest = hashlib.sha256(_contour_content(config))
    if (imported := config.imported()) is not None:
        source, place = imported
        for part in source.place.content(place):
            digest.update(part)
    return digest.hexdigest()


def supervision(config: Config) -> tuple[str, ...]:
    """What had labels behind the contours, the encoder of their network included, and behind imported proposals."""
    lineage = [f"contours: {contour_supervision(config)}"]
    if config.contour == "learned":
        lineage.append("ImageNet labels")
    if (imported := config.imported()) is not None:
        source, _ = imported
        lineage.append(f"proposals: imported {config.source} ({source.supervision})")
        if config.ranking == "file":
            lineage.append(f"proposal ranking: of the imported files ({source.ranking})")
    return tuple(lineage)


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the proposals of every image of the data set but the negatives of train, in which nothing is segmented.

    Raises:
        ConfigError: failures are to be tolerated in a data set with labels: a run needs all of its images.
        DataError: naming each image without a file or entries, before anything is computed; then the file or
            entry that is wrong.
    """
    if config.tolerate_failures and (labels := inputs["dataset"].manifest.supervision):
        raise ConfigError(
            "proposals.tolerate_failures: expected false for a data set with labels, because a run needs the "
            f"proposals of all its images; got true for one with {', '.join(labels)}"
        )
    dataset = inputs["dataset"].records(DATASET)
    failed = read_failures(dataset.root)
    ids = segmented_ids(dataset)
    imported = _open(inputs["dataset"], [i for i in ids if i not in failed], config, context)
    boxes = inputs["boxes"].records(BOXES) if "boxes" in inputs else None
    compute = _Compute(dataset, config, failed, imported, boxes)
    write_records(
        context,
        PROPOSALS,
        ids,
        compute,
        workers=context.execution.workers,
        tolerate=config.tolerate_failures,
    )
    context.counts.update(_counts(RecordReader(context.workdir, PROPOSALS)))
    if config.file is not None and imported is not None:
        context.counts["entries_of_unknown_images"] = sum(imported.unknown.values())


def _open(
    artefact: Artefact, image_ids: Sequence[str], config: Config, context: StageContext
) -> ImportedProposals | None:
    """The files of the images that need some; what they have beyond them is said and left out."""
    imported = config.imported()
    if imported is None:
        return None
    source, place = imported
    found = source.place.open(place, targets(artefact, image_ids), config.tolerate_failures)
    if found.unknown:
        context.log(
            f"{place}: {sum(found.unknown.values())} entries are of {counted(len(found.unknown), 'image')} that the "
            f"data set lacks, and left out: {', '.join(list(found.unknown)[:5])}"
        )
    return found


def _counts(records: RecordReader) -> dict[str, Any]:
    """From what was written, so that a resumed stage counts the same."""
    sizes, superpixels = [], []
    failed = read_failures(records.root)
    for image_id in (i for i in records.ids if i not in failed):
        one = records.read(image_id, ("scores", "num_superpixels"))
        sizes.append(len(one["scores"]))
        superpixels.append(int(one["num_superpixels"][0]))
    return {
        "images": len(sizes),
        "proposals": sum(sizes),
        "fewest_proposals": min(sizes, default=0),
        "superpixels": sum(superpixels),
        "images_with_one_proposal": sum(size == 1 for size in sizes),  # nothing but the whole image
        "failed": list(failed.values()),
    }


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset",),
    optional=("boxes",),
    contract=PROPOSALS.name,
    supervision=supervision,
    content_digest=content_digest,
    check=lambda config, _: check(config),
    seeded=False,
    per_image=True,
)
