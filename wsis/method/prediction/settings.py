"""Settings of the prediction network. Imports nothing of MMDetection, which takes seconds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wsis.method.settings import Settings

_DETECTIONS = 100


class PredictSettings(Settings):
    """Which detections to keep."""

    score_threshold: float = Field(0.05, ge=0, le=1, description="least probability of the label")
    nms_iou: float = Field(
        0.5, ge=0, le=1, description="IoU from which the weaker of two boxes of a class goes"
    )
    max_detections: int = Field(
        _DETECTIONS,
        ge=1,
        le=1000,
        description=f"of one image or tile; left at {_DETECTIONS}, a model trained on fuller images has its own limit",
    )
    tiles: Literal["auto", "whole"] | Annotated[int, Field(ge=32, le=8192)] = Field(
        "whole",
        description="auto: large and long photographs in tiles, by the sizes of training objects (what wsis predict "
        "does); a number: tiles of so many pixels a side",
    )
    size: int | None = Field(
        None,
        ge=32,
        le=8192,
        description="longer side at which a photograph is looked at, in tiles of the network's own size",
    )

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        if self.size is not None and isinstance(self.tiles, int):
            raise ValueError(
                f"size: expected null beside a number of tiles, which says the scale already, got {self.size}"
            )
        return self

    def limit(self, of_model: int) -> int:
        """The most detections of an image by a model whose own limit (`max_per_img`) is `of_model`."""
        return max(_DETECTIONS, of_model) if self.max_detections == _DETECTIONS else self.max_detections
