"""Settings of the proposal generator."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from wsis.method.settings import Settings

ContourName = Literal["learned", "lab_gradient"]


class MCGConfig(Settings):
    """How a photograph becomes proposals: multiscale combinatorial grouping. Chosen on training photographs."""

    max_side: int = Field(384, ge=16, le=4096, description="longer side of the working image, pixels")
    max_regions: int = Field(
        600,
        ge=1,
        le=65_535,
        description="most superpixels of a generated image; half as many again where few made it look closer",
    )
    contour: ContourName = Field(
        "learned",
        description="learned: a network (BSDS500 boundaries); lab_gradient: supervised by nothing",
    )
    contour_model: Path | None = Field(
        None,
        json_schema_extra={"execution_only": True},  # its content counts
        description="contours.pt of train_contours, for learned; null: the network that ships",
    )
    appearance: bool = Field(True, description="hierarchies of colour and texture join those of the contour")
    num_proposals: int = Field(1000, ge=1, le=100_000, description="most proposals of an image")
