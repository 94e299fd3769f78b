"""Settings of the prediction network. Imports nothing of MMDetection, which takes seconds."""

from pydantic import Field

from wsis.method.settings import Settings


class PredictSettings(Settings):
    """Which detections to keep."""

    score_threshold: float = Field(0.05, ge=0, le=1, description="least probability of the label")
    nms_iou: float = Field(
        0.5, ge=0, le=1, description="IoU from which the weaker of two boxes of a class goes"
    )
    max_detections: int | None = Field(
        None, ge=1, le=1000, description="of one image; null: the limit that the model has from its training"
    )
