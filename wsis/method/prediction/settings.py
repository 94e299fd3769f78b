"""Settings of the prediction network. Imports nothing of MMDetection, which takes seconds."""

from pydantic import Field

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
        description=f"of one image; left at {_DETECTIONS}, a model trained on fuller images has its own limit",
    )

    def limit(self, of_model: int) -> int:
        """The most detections of an image by a model whose own limit (`max_per_img`) is `of_model`."""
        return max(_DETECTIONS, of_model) if self.max_detections == _DETECTIONS else self.max_detections
