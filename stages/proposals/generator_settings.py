"""What `proposals` and `train_ranker` share: identity and lineage of the generator's contours."""

from wsis.method.proposals.config import GeneratorConfig
from wsis.method.proposals.contours.detectors import contour_supervision
from wsis.method.proposals.contours.weights import SHIPPED_SHA256
from wsis.readers.files.digests import named_content


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
    words = f"contours: {contour_supervision(config)}"
    return (words, "ImageNet labels") if config.contour == "learned" else (words,)
