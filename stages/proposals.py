"""Stage `proposals`: the proposals of every image, train and val, generated or imported.

Imported files lie in one folder and are named by image id. Nothing here reads pixel labels; what has
supervised the contours, and the ranking of imported files, is in the artefact's lineage.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, PROPOSALS
from stages.base import Artefact, Stage, StageConfig, StageContext, execution_only
from stages.readers.files import Problems, plain_name, read_bytes
from stages.readers.images import decode_image
from stages.sharding import Record, write_records
from wsis.errors import InputError
from wsis.masks.superpixels import pack_membership
from wsis.mcg import MCGConfig, ProposalSet, generate, import_cob, import_mcg
from wsis.mcg.contours import ContourDetector, LabGradient, StructuredForests, build_detector

NAME = "proposals"
ALGORITHM_VERSION = 2
_SUFFIX = ".mat"


class Config(StageConfig):
    """Where proposals come from, and how many."""

    source: Literal["generate", "mcg_mat", "cob_mat"] = "generate"
    folder: Path | None = execution_only(None, description="folder of <image id>.mat, for an imported source")
    ranking: Literal["unlearned", "file"] = Field(
        "unlearned",
        description="imported proposals: score anew, or keep the file's scores (published MCG and COB have "
        "learned theirs from pixel labels of VOC)",
    )
    num_proposals: int = Field(1000, ge=1, le=100_000, description="most proposals of an image")
    max_side: int = Field(384, ge=16, le=4096, description="longer side of the generator's working image")
    max_regions: int = Field(600, ge=1, le=65_535, description="most superpixels of a generated image")
    tuples_per_list: int = Field(
        300, ge=1, le=100_000, description="regions, pairs, triplets or 4-tuples from one hierarchy"
    )
    contour: Literal["lab_gradient", "structured_forests"] = "lab_gradient"
    contour_model: Path | None = execution_only(None, description="model file of structured_forests")
    region_contrast: float = Field(0.5, ge=0, le=1, description="weight of appearance beside the contour")
    selection: Literal["loosening", "mmr"] = "loosening"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source != "generate" and self.folder is None:
            raise ValueError(f"folder: expected the folder of the files for source {self.source}, got None")
        if self.source == "generate" and self.folder is not None:
            raise ValueError(f"folder: expected None for source generate, got {self.folder}")
        if self.contour == "structured_forests" and self.contour_model is None:
            raise ValueError("contour_model: expected a model file for contour structured_forests, got None")
        return self

    def mcg(self) -> MCGConfig:
        """The generator's settings."""
        names = (
            "num_proposals",
            "max_side",
            "max_regions",
            "tuples_per_list",
            "contour",
            "contour_model",
            "region_contrast",
            "selection",
        )
        return MCGConfig(**{name: getattr(self, name) for name in names})


def proposals_record(proposals: ProposalSet) -> dict[str, np.ndarray]:
    """The arrays of one record, see `data_contracts.schemas.PROPOSALS`.

    Raises:
        InputError: more superpixels than 16 bits number.
    """
    count = proposals.membership.shape[1]
    if count > 65_536:
        raise InputError(f"superpixels: expected at most 65,536 to store, got {count}")
    return {
        "superpixels": proposals.superpixels.astype(np.uint16),
        "num_superpixels": np.array([count], np.int32),
        "membership_bits": pack_membership(proposals.membership),
        "scores": proposals.scores,
        "boxes": proposals.boxes,
        "areas": proposals.areas,
        "edges": proposals.edges,
        "edge_contours": proposals.edge_contours,
        "edge_lengths": proposals.edge_lengths,
        "size": np.array(proposals.image_size, np.int32),
    }


@dataclass(frozen=True)
class _Compute:
    """Image ids -> records of the contract. The detector is built once in each process."""

    dataset: RecordReader
    config: Config

    @cached_property
    def detector(self) -> ContourDetector:
        return build_detector(self.config.mcg())

    def __call__(self, image_ids: Sequence[str]) -> Iterator[Record]:
        for image_id in image_ids:
            encoded = self.dataset.read(image_id, ("encoded",))["encoded"].tobytes()
            yield proposals_record(self.proposals_of(image_id, decode_image(encoded, image_id)))

    def proposals_of(self, image_id: str, image: np.ndarray) -> ProposalSet:
        """Generate or import the proposals of one image uint8 [H, W, 3].

        Raises:
            DataError: the image's file is missing or wrong.
        """
        config = self.config
        if config.source == "generate":
            return generate(image, config.mcg(), self.detector)
        path = _file_of(config, image_id)
        data = read_bytes(path, f"proposals of image {image_id}")
        read = import_mcg if config.source == "mcg_mat" else import_cob
        try:
            return read(data, image, str(path), config.ranking, config.num_proposals, self.detector)
        except InputError as error:
            raise DataError(f"proposals of image {image_id}: {error}") from error


def _file_of(config: Config, image_id: str) -> Path:
    return (config.folder or Path()) / f"{plain_name(image_id, 'image id')}{_SUFFIX}"


def check(config: Config) -> None:
    """Fail early where the contour detector or the folder is not there.

    Raises:
        DataError: the folder of imported files is missing.
        UnsupportedOpError, MissingWeightsError: see `wsis.mcg.contours.StructuredForests`.
    """
    build_detector(config.mcg())
    if config.folder is not None and not config.folder.is_dir():
        raise DataError(f"proposals.folder: expected a folder of <image id>{_SUFFIX}, got {config.folder}")


def content_digest(config: Config) -> str:
    """Digest of the imported files and of the detector's model: new content, new artefact."""
    check(config)
    digest = hashlib.sha256()
    files = sorted(config.folder.glob(f"*{_SUFFIX}")) if config.folder is not None else []
    if config.contour_model is not None:
        files.append(config.contour_model)
    for path in files:
        digest.update(path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def supervision(config: Config) -> tuple[str, ...]:
    """What had labels behind the contours and, for imported proposals, behind the sets and their order."""
    detector = StructuredForests if config.contour == "structured_forests" else LabGradient
    lineage = [f"contours: {detector.supervision}"]
    if config.source != "generate":
        lineage.append(
            f"proposals: imported {config.source} (BSDS500 boundaries, or what their author names)"
        )
        if config.ranking == "file":
            lineage.append(
                "proposal ranking: of the imported files (published ones learned it from VOC masks)"
            )
    return tuple(lineage)


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Write the proposals of every image of the data set.

    Raises:
        DataError: naming each image without a file, before anything is computed; then the file that is wrong.
    """
    dataset = inputs["dataset"].records(DATASET)
    if config.source != "generate":
        problems = Problems()
        for image_id in dataset.ids:
            path = _file_of(config, image_id)
            if not path.is_file():
                problems.add(f"image {image_id}: the file {path} is missing")
        problems.raise_if_any(f"proposals.folder {config.folder}")
    compute = _Compute(dataset, config)
    write_records(context, PROPOSALS, dataset.ids, compute, workers=context.execution.workers)
    context.counts.update(_counts(RecordReader(context.workdir, PROPOSALS)))


def _counts(records: RecordReader) -> dict[str, Any]:
    """From what was written, so that a resumed stage counts the same."""
    sizes, superpixels = [], []
    for image_id in records.ids:
        one = records.read(image_id, ("scores", "num_superpixels"))
        sizes.append(len(one["scores"]))
        superpixels.append(int(one["num_superpixels"][0]))
    return {
        "images": len(sizes),
        "proposals": sum(sizes),
        "fewest_proposals": min(sizes, default=0),
        "superpixels": sum(superpixels),
        "images_with_one_proposal": sum(size == 1 for size in sizes),  # nothing but the whole image
    }


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset",),
    contract=PROPOSALS.name,
    supervision=supervision,
    content_digest=content_digest,
    check=check,
)
