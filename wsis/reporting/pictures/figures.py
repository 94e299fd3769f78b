"""The paper's Figures 2 and 4 for a run: samples and predictions at the first and the last outer iteration, and
predictions on val, good and bad alike.

Which images: those that are named, else ranked by their mean instance IoU (of the samples of the last iteration in
Figure 2, of the instances of score 0.3 and more in Figure 4), best first, and taken at evenly spread ranks from the
best to the worst; of more than 120 images 120 evenly spread ones are ranked. Without ground truth: evenly spread.
Read-only; pixel labels for measuring and for the panels of true masks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError
from data_contracts.records import RecordReader
from data_contracts.schemas import array_to_text
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.diagnosis import RegionOverlaps, TrueMasks, network_measures, sample_measures
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import Regions
from wsis.reporting.pictures.overlays import colours_of_instances, draw_instances, fit, instance_colours
from wsis.reporting.pictures.panels import Panel, side_by_side, under_each_other
from wsis.reporting.pictures.pictures import decode, encode
from wsis.views.image_names import ImageNames, shortened
from wsis.views.run import Run, class_name, spread

SIDE = 270  # of a panel
SAMPLES = 3
CASES, EXAMPLES = 3, 12
SURE = 0.3
_RANKED = 120
_CAPTION = 30  # characters over a panel

Picture = NDArray[np.uint8]


class FigureOfRun(NamedTuple):
    """A figure, and each of its images alone.

    Attributes:
        name: figure2 or figure4.
        caption: what it shows.
        picture: uint8 [H, W, 3].
        parts: image id -> uint8 [h, w, 3].
        names: of the images.
    """

    name: str
    caption: str
    picture: Picture
    parts: Mapping[str, Picture]
    names: ImageNames


def write_figures(run: Run, out: Path, chosen: Sequence[str] = (), images: int | None = None) -> list[Path]:
    """Write figure2.png and figure4.png, and a PNG of each of their images, into `out`.

    Raises: as `figures_of_run`; ConfigError too where the run has nothing yet that a figure shows.
    """
    made = figures_of_run(run, chosen, images)
    if not made:
        what = f"images {', '.join(chosen)}" if chosen else "any image"
        raise ConfigError(
            f"run {run.name}: expected pseudo labels (train) or predictions (val) of {what} to draw, got none yet"
        )
    return [path for figure in made for path in write_figure(figure, out)]


def write_figure(figure: FigureOfRun, out: Path) -> list[Path]:
    """Write a figure, and each of its images, as PNG into a folder; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    named = {f"{figure.name}.png": figure.picture}
    named |= {figure.names.file_name(figure.name, i): part for i, part in figure.parts.items()}
    for name, picture in named.items():
        write_atomic(out / name, encode(picture, "PNG"))
    return [out / name for name in named]


def figures_of_run(stored: Run, chosen: Sequence[str] = (), images: int | None = None) -> list[FigureOfRun]:
    """The figures that a run, finished or not, has the artefacts for; none where no chosen image is in them.

    Args:
        chosen: training images (Figure 2) and val images (Figure 4), see `ImageNames.chosen`; empty: see the module.
        images: of each figure; None: 3 in Figure 2, 12 in Figure 4. Unused with `chosen`.

    Raises:
        ConfigError: no data set yet, or no such image in it.
        CorruptArtefactError, ArtefactMissingError: an artefact is damaged or gone; named.
    """
    run = _Drawn(stored)
    chosen = run.names.chosen(chosen)
    made = []
    if run.labels:
        ids = _choose(
            run, next(reversed(run.labels.values())), "train", chosen, images or CASES, run.sample_iou
        )
        made += [_figure_2(run, ids)] if ids else []
    if run.val:
        ids = _choose(run, next(reversed(run.val.values())), "val", chosen, images or EXAMPLES, run.val_iou)
        made += [_figure_4(run, ids)] if ids else []
    return made


def _choose(
    run: "_Drawn",
    records: RecordReader,
    split: str,
    chosen: Sequence[str],
    images: int,
    iou_of: Callable[[str], float | None],
) -> list[str]:
    """Ids to draw, best first where they can be ranked."""
    if chosen:
        return [i for i in chosen if run.split_of(i) == split and i in records]
    ranked = spread(records.ids, _RANKED)
    ious = {image_id: iou for image_id in ranked if (iou := iou_of(image_id)) is not None}
    return spread(sorted(ious, key=lambda i: (-ious[i], i)) if ious else records.ids, images)


class _Drawn:
    """What the figures are drawn from. labels, train, val: outer iteration -> records, in ascending order."""

    def __init__(self, run: Run) -> None:
        self.classes, self.dataset, self.names = run.classes, run.images, run.names
        self.truths, self.proposals = run.records("ground_truth"), run.records(run.proposals_key)
        self.labels = run.by_iteration("pseudo_labels") if self.proposals is not None else {}
        self.train, self.val = run.by_iteration("predictions.train"), run.by_iteration("predictions.val")

    def split_of(self, image_id: str) -> str:
        return array_to_text(self.dataset.read(image_id, ("split",))["split"])

    def image(self, image_id: str) -> Picture:
        return decode(self.dataset.read(image_id, ("encoded",))["encoded"].tobytes(), image_id)

    def name(self, label: int) -> str:
        return class_name(self.classes, label)

    def truth(self, image_id: str) -> TrueMasks | None:
        """None where the image has no masks."""
        if self.truths is None or image_id not in self.truths:
            return None
        return TrueMasks(GroundTruth.from_record(self.truths[image_id]))

    def sample_iou(self, image_id: str, iteration: int | None = None) -> float | None:
        """Mean over instances and K samples of an iteration (None: the last); None without true instances."""
        truth = self.truth(image_id)
        if truth is None or not len(truth.labels) or self.proposals is None:
            return None
        samples = SampleSet.from_record(self.labels[iteration or max(self.labels)][image_id])
        regions = Regions.from_record(self.proposals[image_id], samples.proposal_ids)
        overlaps = RegionOverlaps(regions.superpixels, regions.membership.shape[1], truth)
        rows = replace(samples, proposal_ids=np.arange(len(regions)))
        return float(sample_measures(overlaps(regions.membership), rows, truth).mean.mean())

    def val_iou(self, image_id: str) -> float | None:
        """Mean over instances of the last predictions on val; None without true instances."""
        truth = self.truth(image_id)
        if truth is None or not len(truth.labels):
            return None
        found = NetworkDetections.from_record(self.val[max(self.val)][image_id])
        return float(network_measures(found, truth.truth, SURE).best_sure.mean())


# ------------------------------------------------------------------------------------------ Figure 2


def _figure_2(run: _Drawn, ids: Sequence[str]) -> FigureOfRun:
    iterations = sorted({min(run.labels), max(run.labels)})
    parts = {image_id: _case(run, image_id, iterations) for image_id in ids}
    caption = (
        f"Samples of the conditional distribution, and the prediction at score ≥ {SURE}, in outer iteration"
        f"{'s' if len(iterations) > 1 else ''} {' and '.join(map(str, iterations))}"
    )
    return FigureOfRun("figure2", caption, under_each_other(list(parts.values()), caption), parts, run.names)


def _case(run: _Drawn, image_id: str, iterations: Sequence[int]) -> Picture:
    """A row an iteration: image or true masks, the most frequent samples, the prediction."""
    image, truth = run.image(image_id), run.truth(image_id)
    panels: list[Panel] = []
    shown: set[int] = set()
    for row, iteration in enumerate(iterations):
        if row == 0:
            labels = run.dataset.read(image_id, ("labels",))["labels"].tolist()
            panels.append(Panel(", ".join(map(run.name, labels)), fit(image, SIDE)[0]))
        else:
            panels.append(_truth_panel(run, image, truth))
        panels += _samples(run, image_id, image, iteration)
        there = [t for t in run.train if t <= iteration and image_id in run.train[t] and t not in shown]
        shown |= set(there)
        panels.append(_trained_panel(run, image_id, image, there[-1] if there else None, iteration))
    ious = [(t, run.sample_iou(image_id, t)) for t in iterations]
    measured = ", ".join(f"{100 * iou:.0f} % in iteration {t}" for t, iou in ious if iou is not None)
    title = run.names.shown(image_id) + (f"   mean IoU of the samples: {measured}" if measured else "")
    return side_by_side(panels, title, columns=SAMPLES + 2)


def _samples(run: _Drawn, image_id: str, image: Picture, iteration: int) -> list[Panel]:
    """SAMPLES panels: the most frequent distinct sets; empty ones where there are fewer."""
    if run.proposals is None:
        return []
    samples = SampleSet.from_record(run.labels[iteration][image_id])
    regions = Regions.from_record(run.proposals[image_id])
    order = samples.most_frequent(SAMPLES)
    colour_of = colours_of_instances(samples, order)
    panels = []
    for u in order:
        caption = f"iteration {iteration}: {samples.multiplicities[u]} of {samples.num_samples} samples"
        names = [run.name(label) for label in samples.unique(u)[1].tolist()]
        panels.append(_instances(caption, image, samples.masks(u, regions), names, colour_of[u]))
    return panels + [_blank(image, "no other sample")] * (SAMPLES - len(panels))


def _trained_panel(run: _Drawn, image_id: str, image: Picture, t: int | None, iteration: int) -> Panel:
    """The prediction of network t on a training image; networks see those for the next iteration alone."""
    if t is None:
        return _blank(image, f"no prediction {iteration} on train")
    note = "" if t == iteration else f" (none of {iteration})"
    return _prediction(run, f"prediction {t}{note}", image, run.train[t][image_id])


# ------------------------------------------------------------------------------------------ Figure 4


def _figure_4(run: _Drawn, ids: Sequence[str]) -> FigureOfRun:
    t = max(run.val)
    pairs = {image_id: _example(run, image_id, t) for image_id in ids}
    per_row = 6 if all(len(pair) == 2 for pair in pairs.values()) else 5
    ranked = any(len(pair) == 2 for pair in pairs.values())
    caption = f"Predictions of outer iteration {t} on val at score ≥ {SURE}" + (
        ": true masks beside them, mean IoU of the instances" if ranked else ""
    )
    picture = side_by_side([panel for pair in pairs.values() for panel in pair], caption, columns=per_row)
    alone = {i: side_by_side(pair, run.names.shown(i)) for i, pair in pairs.items()}
    return FigureOfRun("figure4", caption, picture, alone, run.names)


def _example(run: _Drawn, image_id: str, t: int) -> list[Panel]:
    """True masks where there are any, and the prediction."""
    image, truth, iou = run.image(image_id), run.truth(image_id), run.val_iou(image_id)
    measured = "" if iou is None else f"IoU {100 * iou:.0f} %"
    name = shortened(run.names(image_id), _CAPTION)
    predicted = _prediction(run, measured or name, image, run.val[t][image_id])
    return [predicted] if truth is None else [_truth_panel(run, image, truth, name), predicted]


def _truth_panel(run: _Drawn, image: Picture, truth: TrueMasks | None, caption: str = "true masks") -> Panel:
    if truth is None:
        return _blank(image, "no true masks")
    return _instances(caption, image, truth.masks, [run.name(label) for label in truth.labels.tolist()])


def _prediction(run: _Drawn, caption: str, image: Picture, found: Mapping[str, NDArray[Any]]) -> Panel:
    sure = NetworkDetections.from_record(found).sure(SURE)
    labels, scores = sure.labels.tolist(), sure.scores.tolist()
    names = [f"{run.name(label)} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    return _instances(caption if len(sure) else f"{caption}: nothing found", image, sure.pasted(), names)


def _instances(
    caption: str,
    image: Picture,
    masks: NDArray[np.bool_],
    names: Sequence[str],
    colours: NDArray[np.uint8] | None = None,
) -> Panel:
    small, small_masks = fit(image, SIDE, masks)
    colours = instance_colours(len(masks)) if colours is None else colours
    return Panel(caption, draw_instances(small, small_masks, colours, names))


def _blank(image: Picture, caption: str) -> Panel:
    return Panel(caption, np.full_like(fit(image, SIDE)[0], 245))
