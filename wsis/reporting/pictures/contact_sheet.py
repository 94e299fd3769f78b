"""A contact sheet of a run's images, train and val: small photographs with what the run says of them last."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_contracts.printable import counted
from wsis.reporting.pictures.image_sets import ImageSets, ImageSources, sets_of
from wsis.reporting.pictures.instances import InstanceSet
from wsis.reporting.pictures.overlays import draw_instances
from wsis.reporting.pictures.panels import Panel, side_by_side
from wsis.reporting.pictures.pictures import decode
from wsis.views.image_names import shortened
from wsis.views.run import Run, spread

SIDE, COLUMNS = 160, 7
MOST = 84
"""Images of a sheet: twelve rows."""
_NAME = 22  # characters that fit over a picture


def contact_sheets(run: Run) -> dict[str, NDArray[np.uint8]]:
    """A sheet for each split that has images, uint8 [H, W, 3]; of more than `MOST` images those evenly spread.

    Each shows the last prediction, else the most frequent sample of the last outer iteration, else the photograph.

    Raises:
        ConfigError: the run has no data set yet.
        CorruptArtefactError, ArtefactMissingError: an artefact is damaged or gone; named.
    """
    sources = ImageSources(run)
    of_split: dict[str, list[str]] = {}
    for image_id in sources.dataset.ids:
        of_split.setdefault(sources.split_of(image_id), []).append(image_id)
    return {split: _sheet(sources, run.name, split, ids) for split, ids in of_split.items()}


def _sheet(sources: ImageSources, run: str, split: str, ids: Sequence[str]) -> NDArray[np.uint8]:
    shown = spread(ids, MOST)
    count = (
        counted(len(ids), "image")
        if len(shown) == len(ids)
        else f"{len(shown)} of {len(ids)} images, evenly spread"
    )
    return side_by_side([_panel(sources, i) for i in shown], f"{run}: {split}, {count}", COLUMNS)


def _panel(sources: ImageSources, image_id: str) -> Panel:
    data = sources.dataset.read(image_id, ("encoded",))["encoded"].tobytes()
    sets = sets_of(sources, image_id, SIDE)
    height, width = sets.pool.size
    photo = cv2.resize(
        decode(data, image_id, at_least=2 * SIDE), (width, height), interpolation=cv2.INTER_AREA
    )
    if (one := last_said(sets)) is not None:
        masks = sets.pool.masks(one.masks)
        photo = draw_instances(photo, masks, sets.colours(one))
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)  # portraits and landscapes stand in equal columns
    white[: photo.shape[0], : photo.shape[1]] = photo
    return Panel(shortened(sources.names(image_id), _NAME), white)


def last_said(sets: ImageSets) -> InstanceSet | None:
    """The last prediction, else the most frequent sample of the last outer iteration that has any."""
    if sets.predictions:
        return sets.predictions[max(sets.predictions)]
    return sets.samples[max(sets.samples)][0][1] if sets.samples else None
