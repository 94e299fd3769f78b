"""What `proposals` and `train_ranker` share: settings of the generator, identity and lineage of its contours."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from wsis.engine.settings import StageConfig, execution_only
from wsis.method.proposals import MCGConfig
from wsis.method.proposals.config import ContourName
from wsis.method.proposals.contours.detectors import contour_supervision
from wsis.method.proposals.contours.weights import SHIPPED_SHA256
from wsis.readers.files.digests import named_content


class GeneratorConfig(StageConfig):
    """How an image becomes candidates. `mcg` checks what one field says of another."""

    max_side: int = Field(
        MCGConfig.max_side, ge=16, le=4096, description="longer side of the working image, pixels"
    )
    max_regions: int = Field(
        MCGConfig.max_regions, ge=1, le=65_535, description="most superpixels of a generated image"
    )
    tuples_per_list: int = Field(
        MCGConfig.tuples_per_list,
        ge=1,
        le=100_000,
        description="regions, pairs, triplets or 4-tuples from one hierarchy",
    )
    contour: ContourName = Field(
        MCGConfig.contour,
        description="learned: a network (BSDS500 boundaries); lab_gradient: supervised by nothing; "
        "structured_forests: from a model file",
    )
    contour_model: Path | None = execution_only(
        None, description="model file of structured_forests, or contours.pt of train_contours for learned"
    )
    region_contrast: float = Field(
        MCGConfig.region_contrast,
        ge=0,
        le=1,
        description="weight of appearance in the strength of contours that were not learned",
    )
    appearance: bool = Field(
        MCGConfig.appearance, description="hierarchies of colour and texture join those of the contour"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self.mcg()
        return self

    def mcg(self) -> MCGConfig:
        """The generator's settings.

        Raises:
            InputError: they contradict one another.
        """
        return MCGConfig(**{name: getattr(self, name) for name in GeneratorConfig.model_fields})


def contour_content(config: GeneratorConfig) -> bytes:
    """What stands for the contour detector's weights in a digest; empty where it has none.

    Raises:
        DataError: the model file is missing, unreadable or empty.
    """
    if config.contour_model is not None:
        return named_content(config.contour_model.name, config.contour_model, "contour_model")
    return SHIPPED_SHA256.encode() if config.contour == "learned" else b""


def contour_lineage(config: GeneratorConfig) -> tuple[str, ...]:
    """What had labels behind the contours, the encoder of their network included."""
    words = f"contours: {contour_supervision(config.mcg())}"
    return (words, "ImageNet labels") if config.contour == "learned" else (words,)
