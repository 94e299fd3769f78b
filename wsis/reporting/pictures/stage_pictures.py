"""Pictures of what a stage of the outer loop has just made, for what shows a run as it goes: TensorBoard, Prefect."""

import numpy as np
from numpy.typing import NDArray

from wsis.reporting.pictures.overlays import fit
from wsis.reporting.pictures.panels import under_each_other
from wsis.reporting.pictures.pictures import Overlay, encode, overlays
from wsis.views.run import Run

PICTURES = 4
"""Images that are shown, evenly spread over those of the artefact."""
_WIDTH = 1400  # pixels: captions stay legible, four pictures take some 600 kB
_PICTURED = ("pseudo_labels", "predictions")


def stage_pictures(run: Run, key: str) -> list[Overlay]:
    """Of a few images of artefact `key`, pseudo_labels@t or predictions.SPLIT@t, all that its outer iteration knows.

    None of any other artefact, or of one without images.

    Raises:
        CorruptArtefactError, ArtefactMissingError: an artefact is damaged or gone.
    """
    entry = run.record.entries[key]
    if entry.outer_iteration is None or entry.stage not in _PICTURED:
        return []
    return [one._replace(picture=_narrow(one.picture)) for one in overlays(run, key, PICTURES)]


def sheet(pictures: list[Overlay], title: str) -> NDArray[np.uint8]:
    """Some of them as one picture, uint8 [H, W, 3]. Raises ValueError without any."""
    return under_each_other([one.picture for one in pictures], title)


def as_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """As a JPEG file, which is small."""
    return encode(picture, "JPEG", quality=80)


def _narrow(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return fit(picture, min(_WIDTH, max(picture.shape[:2])))
