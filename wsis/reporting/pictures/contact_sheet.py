"""A contact sheet of a run's images, train and val: small photographs with what the run says of them last."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data_contracts.printable import counted
from wsis.reporting.pictures.image_sets import (
    GIVEN,
    TRAIN_PREDICTED,
    ImageSets,
    ImageSources,
    predicted,
    sets_of,
)
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


class Said(NamedTuple):
    """What is drawn of an image: a set of instances, of which iteration it is, and what it is, in words."""

    instances: InstanceSet
    iteration: int
    what: str


def contact_sheets(run: Run) -> dict[str, NDArray[np.uint8]]:
    """A sheet for each split that has images, uint8 [H, W, 3]; of more than `MOST` images those evenly spread.

    Each shows the last prediction, else the most frequent sample of the last outer iteration, else the photograph. The
    title says which, and captions where an image shows another, or where nothing was found.

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
    drawn = {i: _drawn(sources, i) for i in shown}
    said = [one for one, _ in drawn.values() if one is not None]
    what = Counter(one.what for one in said).most_common(1)
    usual = what[0][0] if what else ""
    panels = [Panel(_caption(sources, i, one, usual), photo) for i, (one, photo) in drawn.items()]
    title = f"{run}: {split}, {count}" + (f": {usual}" if usual else "")
    return side_by_side(panels, title, COLUMNS, _legend(sources, split, said))


def _legend(sources: ImageSources, split: str, said: Sequence[Said]) -> list[str]:
    """Why train shows no prediction of the last iteration."""
    last = max(sources.labels, default=0)
    older = any(one.iteration < last for one in said)
    return [f"No prediction of iteration {last}: {TRAIN_PREDICTED}."] if split == "train" and older else []


def _caption(sources: ImageSources, image_id: str, said: Said | None, usual: str) -> str:
    """The name, and under it what else is to be known."""
    other = [said.what] if said is not None and said.what != usual else []
    empty = ["nothing found"] if said is not None and not len(said.instances) else []
    none = ["no prediction"] if said is None and usual else []
    return "\n".join(
        filter(None, (shortened(sources.names(image_id), _NAME), ", ".join(other + empty + none)))
    )


def _drawn(sources: ImageSources, image_id: str) -> tuple[Said | None, NDArray[np.uint8]]:
    """What is said of an image, and the photograph with that in it, uint8 [SIDE, SIDE, 3]."""
    data = sources.dataset.read(image_id, ("encoded",))["encoded"].tobytes()
    sets = sets_of(sources, image_id, SIDE)
    height, width = sets.pool.size
    photo = cv2.resize(
        decode(data, image_id, at_least=2 * SIDE), (width, height), interpolation=cv2.INTER_AREA
    )
    said = last_said(sources, image_id, sets)
    if said is not None:
        masks = sets.pool.masks(said.instances.masks)
        photo = draw_instances(photo, masks, sets.colours(said.instances))
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)  # portraits and landscapes stand in equal columns
    white[: photo.shape[0], : photo.shape[1]] = photo
    return said, white


def last_said(sources: ImageSources, image_id: str, sets: ImageSets) -> Said | None:
    """The last prediction, else the most frequent sample of the last outer iteration that has any."""
    if sets.predictions:
        t = max(sets.predictions)
        return Said(sets.predictions[t], t, predicted(t))
    if not sets.samples:
        return None
    t = max(sets.samples)
    kind = GIVEN if sources.is_given(image_id, t) else "pseudo labels"
    return Said(sets.samples[t][0][1], t, f"{kind} of iteration {t}")
