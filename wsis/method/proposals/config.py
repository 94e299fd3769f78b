"""Settings of the proposal generator."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from wsis.method.settings import Settings

ContourName = Literal["learned", "lab_gradient", "structured_forests"]


class GeneratorConfig(Settings):
    """How a photograph becomes candidates: multiscale combinatorial grouping. Chosen on training photographs."""

    max_side: int = Field(384, ge=16, le=4096, description="longer side of the working image, pixels")
    max_regions: int = Field(600, ge=1, le=65_535, description="most superpixels of a generated image")
    contour: ContourName = Field(
        "learned",
        description="learned: a network (BSDS500 boundaries); lab_gradient: supervised by nothing; "
        "structured_forests: from a model file",
    )
    contour_model: Path | None = Field(
        None,
        json_schema_extra={"execution_only": True},  # its content counts
        description="model file of structured_forests, or contours.pt of train_contours for learned",
    )
    appearance: bool = Field(True, description="hierarchies of colour and texture join those of the contour")

    @model_validator(mode="after")
    def _has_its_model(self) -> Self:
        if self.contour == "structured_forests" and self.contour_model is None:
            raise ValueError("contour_model: expected a model file for contour structured_forests, got None")
        return self


class MCGConfig(GeneratorConfig):
    """Which of the candidates are proposals."""

    num_proposals: int = Field(1000, ge=1, le=100_000, description="most proposals of an image")
    ranker_model: Path | None = Field(
        None,
        json_schema_extra={"execution_only": True},
        description="ranker.npz of train_ranker, for learned",
    )
