"""Overlays of a run: image, seeds, pseudo-label samples and prediction side by side, as PNG files."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError, DataError
from data_contracts.printable import counted
from data_contracts.schemas import SCHEMAS
from wsis.engine.per_image import Record
from wsis.method.masks.proposal_set import ProposalSet
from wsis.reporting.pictures.image_sets import (
    BASELINE,
    GIVEN,
    TRAIN_PREDICTED,
    ImageSets,
    ImageSources,
    Samples,
    predicted,
    sets_of,
)
from wsis.reporting.pictures.instances import InstanceSet
from wsis.reporting.pictures.overlays import draw_boxes, draw_instances, draw_seeds, fit, instance_colours
from wsis.reporting.pictures.panels import Panel, side_by_side
from wsis.reporting.pictures.proposal_sheet import proposal_panels
from wsis.views.run import Run, class_name, spread

PANEL_SIDE, COLUMNS = 284, 4  # as wide as a page, so that nothing makes the text smaller
MAX_SAMPLES = 4
MAX_DETECTIONS = 8
MAX_PROPOSALS = 14
_DRAWABLE = tuple(
    name for name in SCHEMAS if name != "ground_truth"
)  # records of images, but for their truth


@dataclass(frozen=True)
class Sources:
    """What is drawn: all that the run says of its images, at one outer iteration; None: of a run that has none yet."""

    images: ImageSources
    iteration: int | None


class Overlay(NamedTuple):
    """An image's name, a file name for its picture, and the picture uint8 [H, W, 3]."""

    name: str
    file_name: str
    picture: NDArray[np.uint8]


def write_overlays(run: Run, key: str, images: int, out: Path, chosen: Sequence[str] = ()) -> list[Path]:
    """Write a PNG, named after the image, for each of `images` images, spread evenly over those of artefact `key`.

    Args:
        key: of the run record, such as `pseudo_labels@1`; everything else the same iteration knows about an
            image is drawn beside it.
        chosen: draw these images instead, see `ImageNames.chosen`.

    Raises:
        ConfigError: no such key or image, or the artefact holds nothing that can be drawn.
        CorruptArtefactError, ArtefactMissingError: an artefact is damaged or gone.
    """
    drawn = overlays(run, key, images, chosen)
    out.mkdir(parents=True, exist_ok=True)
    for one in drawn:
        write_atomic(out / one.file_name, encode(one.picture, "PNG"))
    return [out / one.file_name for one in drawn]


def overlays(run: Run, key: str, images: int, chosen: Sequence[str] = ()) -> list[Overlay]:
    """As `write_overlays`, not written."""
    artefact = run.artefact(key)
    contract = artefact.manifest.contract
    if contract not in _DRAWABLE:
        raise ConfigError(f"{key} holds {contract}, nothing to draw; expected one of {', '.join(_DRAWABLE)}")
    ids = artefact.records(SCHEMAS[contract]).ids
    sources = sources_of(run, run.record.entries[key].outer_iteration)
    names = sources.images.names
    if chosen:
        wanted = names.chosen(chosen)
        if absent := [names.shown(i) for i in wanted if i not in set(ids)]:
            raise ConfigError(f"--image: expected images that {key} holds, got {', '.join(absent)}")
    else:
        wanted = spread(ids, images)
    return [Overlay(names(i), names.file_name(key, i), picture_of(sources, i, contract)) for i in wanted]


def sources_of(run: Run, iteration: int | None) -> Sources:
    """What a run holds that can be drawn, of one outer iteration (None: of the last).

    Raises:
        ConfigError: the run has no data set yet.
    """
    made = [e.outer_iteration for e in run.record.entries.values() if e.outer_iteration is not None]
    t = iteration if iteration is not None else max(made, default=None)
    return Sources(ImageSources(run), t)


def picture_of(sources: Sources, image_id: str, contract: str = "") -> NDArray[np.uint8]:
    """All that is known of one image, side by side, uint8 [H, W, 3].

    A thing keeps its colour from sample to sample, in predictions, and in other iterations.

    Args:
        contract: `proposals` shows the first proposals too, which are else too many to be looked at.
    """
    found, t = sources.images, sources.iteration
    record = found.dataset[image_id]
    image = decode(record["encoded"].tobytes(), image_id)
    sets = sets_of(found, image_id, PANEL_SIDE)
    annotated = ", ".join(_name(sources, label) for label in record["labels"].tolist()) or "no class"
    panels = [Panel(f"image: {annotated}", fit(image, PANEL_SIDE))]
    spread, legend = "", list[str]()
    if found.seeds is not None and image_id in found.seeds:
        panels.append(_seeds_panel(sources, image, found.seeds[image_id]))
    elif found.boxes is not None and image_id in found.boxes:
        panels.append(_boxes_panel(image, found.boxes[image_id]["boxes"]))
    if t in sets.samples:
        given = found.is_given(image_id, t)
        panels += _sample_panels(sources, image, sets, sets.samples[t], given)
        legend = [] if given else _sample_legend(sets.samples[t])
        legend += [] if t in sets.predictions else [f"no prediction of iteration {t}: {TRAIN_PREDICTED}"]
        diversity = found.labels[t].read(image_id, ("diversity",))["diversity"]
        spread = f"   diversity {float(diversity[0]):.2f}"
    elif BASELINE in sets.others:
        panels.append(_instances_panel(sources, BASELINE, image, sets, sets.others[BASELINE]))
    if contract == "proposals" and found.proposals is not None and image_id in found.proposals:
        panels += proposal_panels(image, ProposalSet.from_record(found.proposals[image_id]), MAX_PROPOSALS)
    if t in sets.predictions:
        panels.append(_prediction_panel(sources, image, sets, t))
    iteration = "" if t is None else f"   outer iteration {t}"
    return side_by_side(panels, f"{found.names.shown(image_id)}{iteration}{spread}", COLUMNS, legend)


def decode(data: bytes, image_id: str, at_least: int | None = None) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of an image file, EXIF orientation applied (the data set checked the file already).

    Args:
        at_least: pixels a side that are enough: a JPEG is then read at an eighth to all of its size, which is faster.

    Raises:
        DataError: the bytes are no image.
    """
    try:
        opened = PillowImage.open(io.BytesIO(data))
        if at_least is not None:
            opened.draft(None, (at_least, at_least))
        image = ImageOps.exif_transpose(opened)
    except OSError as error:
        raise DataError(f"image {image_id}: field 'encoded': expected an image, got {error}") from error
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def encode(picture: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    """A picture as the bytes of an image file of this kind (PNG, JPEG)."""
    buffer = io.BytesIO()
    PillowImage.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def _boxes_panel(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Panel:
    """For a run that has no seeds yet; later their panel shows the boxes."""
    small = fit(image, PANEL_SIDE)
    draw_boxes(small, boxes * (small.shape[1] / image.shape[1]), instance_colours(len(boxes)))
    return Panel(counted(len(boxes), "box"), small)


def _seeds_panel(sources: Sources, image: NDArray[np.uint8], seeds: Record) -> Panel:
    small = fit(image, PANEL_SIDE)
    peaks = seeds["peaks"].copy()
    peaks[:, 1] = peaks[:, 1] * small.shape[0] // image.shape[0]
    peaks[:, 2] = peaks[:, 2] * small.shape[1] // image.shape[1]
    names = _names(sources, peaks[:, 0], seeds["scores"])
    boxes = seeds["boxes"] * (small.shape[1] / image.shape[1])
    drawn = draw_seeds(small, peaks, seeds["peak_response_maps"], instance_colours(len(peaks)), names, boxes)
    return Panel(f"seeds: {counted(len(peaks), 'peak')}", drawn)


def _sample_panels(
    sources: Sources, image: NDArray[np.uint8], sets: ImageSets, samples: Samples, given: bool
) -> list[Panel]:
    """The most frequent unique samples, with how many of the K equal each; given masks are one set."""
    total = sum(count for count, _ in samples)
    return [
        _instances_panel(sources, GIVEN if given else f"{count} of {total} samples", image, sets, one)
        for count, one in samples[:MAX_SAMPLES]
    ]


def _sample_legend(samples: Samples) -> list[str]:
    """What the panels of samples show."""
    told = ["tags of samples: class, its score minus the background's (below 0: lower)"]
    if len(samples) > MAX_SAMPLES:
        told.append(f"of {len(samples)} different samples the {MAX_SAMPLES} most frequent")
    return told


def _prediction_panel(sources: Sources, image: NDArray[np.uint8], sets: ImageSets, t: int) -> Panel:
    one = sets.predictions[t]
    shown = (
        f"{MAX_DETECTIONS} of {len(one)}" if len(one) > MAX_DETECTIONS else f"{len(one) or 'nothing'} found"
    )
    return _instances_panel(sources, f"{predicted(t)}: {shown}", image, sets, one, MAX_DETECTIONS)


def _instances_panel(
    sources: Sources,
    caption: str,
    image: NDArray[np.uint8],
    sets: ImageSets,
    one: InstanceSet,
    most: int | None = None,
) -> Panel:
    """The first `most` instances of a set, with their names and the scores that they have."""
    if one.scores is None:
        names = [_name(sources, label) for label in one.labels.tolist()]
    else:
        names = _names(sources, one.labels, one.scores)
    names = names[:most]
    masks, colours = sets.pool.masks(one.masks[:most]), sets.colours(one)[:most]
    return Panel(caption, draw_instances(fit(image, PANEL_SIDE), masks, colours, names))


def _names(sources: Sources, labels: NDArray[np.integer], scores: NDArray[np.floating]) -> list[str]:
    return [
        f"{_name(sources, label)} {score:.2f}"
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
    ]


def _name(sources: Sources, label: int) -> str:
    return class_name(sources.images.classes, label)
