"""Settings of the prediction network. Imports nothing of MMDetection, which takes seconds."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsis.method.settings import Settings

_DETECTIONS = 100
_TILE, _LONGEST = 32, 8192  # pixels


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
    tiles: Literal["auto", "whole"] | Annotated[int, Field(ge=_TILE, le=_LONGEST)] = Field(
        "whole",
        description="auto: large and long photographs in tiles, by the sizes of training objects (what wsis predict "
        "does); a number: tiles of so many pixels a side",
    )
    size: int | None = Field(
        None,
        ge=_TILE,
        le=_LONGEST,
        description="longer side at which a photograph is looked at, in tiles of the network's own size",
    )

    @field_validator("tiles", mode="before")
    @classmethod
    def _word_or_pixels(cls, value: Any) -> Any:
        """One message, where pydantic has one for each of the two."""
        pixels = isinstance(value, int) and not isinstance(value, bool) and _TILE <= value <= _LONGEST
        if value not in ("auto", "whole") and not pixels:
            raise ValueError(
                f"expected auto, whole or a whole number from {_TILE} to {_LONGEST}, got {value!r}"
            )
        return value

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
