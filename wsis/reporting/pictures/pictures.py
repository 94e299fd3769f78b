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
from data_contracts.records import RecordReader
from data_contracts.schemas import SCHEMAS
from wsis.engine.per_image import Record
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import ProposalSet, Regions
from wsis.reporting.pictures.overlays import (
    colours_of_instances,
    draw_boxes,
    draw_instances,
    draw_seeds,
    fit,
    instance_colours,
)
from wsis.reporting.pictures.panels import Panel, side_by_side
from wsis.reporting.pictures.proposal_sheet import proposal_panels
from wsis.views.image_names import ImageNames
from wsis.views.run import Run, class_name, spread

PANEL_SIDE = 340
MAX_SAMPLES = 4
MAX_DETECTIONS = 8
MAX_PROPOSALS = 14
MIN_SCORE = 0.3
_DRAWABLE = tuple(
    name for name in SCHEMAS if name != "ground_truth"
)  # records of images, but for their truth


@dataclass(frozen=True)
class Sources:
    """Readers of what is drawn; None where the run holds nothing of the kind."""

    classes: tuple[str, ...]
    names: ImageNames
    dataset: RecordReader
    boxes: RecordReader | None
    seeds: RecordReader | None
    proposals: RecordReader | None
    baseline: RecordReader | None
    pseudo_labels: RecordReader | None
    predictions: list[RecordReader]
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
    names = sources.names
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
    return Sources(
        classes=run.classes,
        names=run.names,
        dataset=run.images,
        boxes=run.records("boxes"),
        seeds=run.records("prm_seeds"),
        proposals=run.records(run.proposals_key),
        baseline=run.records("prm_baseline"),
        pseudo_labels=run.records(f"pseudo_labels@{t}"),
        predictions=[r for split in ("train", "val") if (r := run.records(f"predictions.{split}@{t}"))],
        iteration=t,
    )


def picture_of(sources: Sources, image_id: str, contract: str = "") -> NDArray[np.uint8]:
    """All that is known of one image, side by side, uint8 [H, W, 3].

    Args:
        contract: `proposals` shows the first proposals too, which are else too many to be looked at.
    """
    record = sources.dataset[image_id]
    image = decode(record["encoded"].tobytes(), image_id)
    annotated = ", ".join(_name(sources, label) for label in record["labels"].tolist()) or "no class"
    panels = [Panel(f"image: {annotated}", fit(image, PANEL_SIDE)[0])]
    spread = ""
    if sources.seeds is not None and image_id in sources.seeds:
        panels.append(_seeds_panel(sources, image, sources.seeds[image_id]))
    elif sources.boxes is not None and image_id in sources.boxes:
        panels.append(_boxes_panel(image, sources.boxes[image_id]["boxes"]))
    if sources.proposals is not None and image_id in sources.proposals:
        proposals = sources.proposals[image_id]
        if sources.pseudo_labels is not None and image_id in sources.pseudo_labels:
            labels = sources.pseudo_labels[image_id]
            panels += _sample_panels(sources, image, proposals, labels)
            spread = f"   diversity {float(labels['diversity'][0]):.2f}"
        elif sources.baseline is not None and image_id in sources.baseline:
            panels.append(_baseline_panel(sources, image, proposals, sources.baseline[image_id]))
        if contract == "proposals":
            panels += proposal_panels(image, ProposalSet.from_record(proposals), MAX_PROPOSALS)
    for predictions in sources.predictions:
        if image_id in predictions:
            panels.append(_prediction_panel(sources, image, predictions[image_id]))
    iteration = "" if sources.iteration is None else f"   outer iteration {sources.iteration}"
    return side_by_side(panels, f"{sources.names.shown(image_id)}{iteration}{spread}", columns=8)


def decode(data: bytes, image_id: str) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of an image file, EXIF orientation applied (the data set checked the file already).

    Raises:
        DataError: the bytes are no image.
    """
    try:
        image = ImageOps.exif_transpose(PillowImage.open(io.BytesIO(data)))
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
    small = fit(image, PANEL_SIDE)[0].copy()
    draw_boxes(small, boxes * (small.shape[1] / image.shape[1]), instance_colours(len(boxes)))
    return Panel(f"{len(boxes)} box{'es' if len(boxes) != 1 else ''}", small)


def _seeds_panel(sources: Sources, image: NDArray[np.uint8], seeds: Record) -> Panel:
    small, _ = fit(image, PANEL_SIDE)
    peaks = seeds["peaks"].copy()
    peaks[:, 1] = peaks[:, 1] * small.shape[0] // image.shape[0]
    peaks[:, 2] = peaks[:, 2] * small.shape[1] // image.shape[1]
    names = _names(sources, peaks[:, 0], seeds["scores"])
    boxes = seeds["boxes"] * (small.shape[1] / image.shape[1])
    drawn = draw_seeds(small, peaks, seeds["peak_response_maps"], instance_colours(len(peaks)), names, boxes)
    return Panel(f"seeds: {len(peaks)} peak{'s' if len(peaks) != 1 else ''}", drawn)


def _sample_panels(
    sources: Sources, image: NDArray[np.uint8], proposals: Record, labels: Record
) -> list[Panel]:
    """The most frequent unique samples. A proposal keeps its colour from sample to sample."""
    samples, regions = SampleSet.from_record(labels), Regions.from_record(proposals)
    different, order = len(samples.multiplicities), samples.most_frequent(MAX_SAMPLES)
    colour_of = colours_of_instances(samples, range(different))
    panels = []
    for u in order:
        names = _names(sources, *samples.unique(u)[1:])
        more = f" (of {different} different)" if u == order[0] and different > MAX_SAMPLES else ""
        caption = f"{samples.multiplicities[u]} of {samples.num_samples} samples{more}"
        panels.append(_instances_panel(caption, image, samples.masks(u, regions), colour_of[u], names))
    return panels


def _baseline_panel(sources: Sources, image: NDArray[np.uint8], proposals: Record, baseline: Record) -> Panel:
    best = np.argsort(-baseline["scores"], kind="stable")[:MAX_DETECTIONS]
    masks = Regions.from_record(proposals, baseline["proposal_ids"][best]).masks()
    names = _names(sources, baseline["labels"][best], baseline["scores"][best])
    return _instances_panel("PRM baseline", image, masks, instance_colours(len(best)), names)


def _prediction_panel(sources: Sources, image: NDArray[np.uint8], found: Record) -> Panel:
    sure = NetworkDetections.from_record(found).sure(MIN_SCORE)
    best = sure.take(np.argsort(-sure.scores, kind="stable")[:MAX_DETECTIONS])
    names = _names(sources, best.labels, best.scores)
    shown = f"{len(best)} of {len(sure)}" if len(sure) > len(best) else f"{len(best)}"
    caption = f"prediction: {shown} at score ≥ {MIN_SCORE}"
    return _instances_panel(caption, image, best.pasted(), instance_colours(len(best)), names)


def _instances_panel(
    caption: str,
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    colours: NDArray[np.uint8],
    names: Sequence[str],
) -> Panel:
    small, small_masks = fit(image, PANEL_SIDE, masks)
    return Panel(caption, draw_instances(small, small_masks, colours, names))


def _names(sources: Sources, labels: NDArray[np.integer], scores: NDArray[np.floating]) -> list[str]:
    return [
        f"{_name(sources, label)} {score:.2f}"
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
    ]


def _name(sources: Sources, label: int) -> str:
    return class_name(sources.classes, label)
