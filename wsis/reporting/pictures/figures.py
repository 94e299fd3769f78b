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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.atomic import write_atomic
from data_contracts.errors import ConfigError
from data_contracts.printable import plural
from data_contracts.records import RecordReader
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.diagnosis import RegionOverlaps, TrueMasks, network_measures, sample_measures
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import Regions
from wsis.reporting.pictures.contact_sheet import contact_sheets
from wsis.reporting.pictures.image_sets import GIVEN, SURE, ImageSets, ImageSources, predicted, sets_of
from wsis.reporting.pictures.instances import InstanceSet
from wsis.reporting.pictures.overlays import draw_instances, fit
from wsis.reporting.pictures.panels import GROUND, Panel, side_by_side, titled, under_each_other
from wsis.reporting.pictures.pictures import decode, encode
from wsis.views.image_names import ImageNames, shortened
from wsis.views.run import Run, class_name, spread

SIDE = 226  # of a panel: five of them are as wide as a page
SAMPLES = 3
CASES, EXAMPLES = 3, 12
_RANKED = 120
_CAPTION = 30  # characters over a panel

Picture = NDArray[np.uint8]


class FigureOfRun(NamedTuple):
    """A figure, and each of its images alone.

    Attributes:
        name: figure2 or figure4.
        caption: what it shows.
        picture: uint8 [H, W, 3], without the caption.
        parts: image id -> uint8 [h, w, 3].
        names: of the images.
    """

    name: str
    caption: str
    picture: Picture
    parts: Mapping[str, Picture]
    names: ImageNames


def write_figures(run: Run, out: Path, chosen: Sequence[str] = (), images: int | None = None) -> list[Path]:
    """Write figure2.png and figure4.png, and a PNG of each of their images, into `out`; unless images are chosen, also
    a contact sheet of each split, sheet_train.png and sheet_val.png.

    Raises: as `figures_of_run`; ConfigError too where the run has nothing yet that a figure shows.
    """
    made = figures_of_run(run, chosen, images)
    if not made:
        what = f"images {', '.join(chosen)}" if chosen else "any image"
        raise ConfigError(
            f"run {run.name}: expected pseudo labels (train) or predictions (val) of {what} to draw, got none yet"
        )
    paths = [path for figure in made for path in write_figure(figure, out)]
    for split, sheet in ({} if chosen else contact_sheets(run)).items():
        paths.append(out / f"sheet_{split}.png")
        write_atomic(paths[-1], encode(sheet, "PNG"))
    return paths


def write_figure(figure: FigureOfRun, out: Path) -> list[Path]:
    """Write a figure, and each of its images, as PNG into a folder; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    named = {f"{figure.name}.png": titled(figure.picture, figure.caption)}
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


class _Shown(NamedTuple):
    """An image at the size of a panel: uint8 [h, w, 3], and what the run says of it."""

    photo: Picture
    sets: ImageSets


class _Drawn:
    """What the figures are drawn from. labels, train, val: outer iteration -> records, in ascending order."""

    def __init__(self, run: Run) -> None:
        self.sources = ImageSources(run)
        self.classes, self.dataset, self.names = run.classes, run.images, run.names
        self.truths, self.proposals = self.sources.truths, self.sources.proposals
        self.labels = self.sources.labels
        self.train, self.val = (self.sources.predicted[split] for split in ("train", "val"))

    def split_of(self, image_id: str) -> str:
        return self.sources.split_of(image_id)

    def image(self, image_id: str) -> "_Shown":
        """The photograph, and what the run says of it, at the size of a panel."""
        data = self.dataset.read(image_id, ("encoded",))["encoded"].tobytes()
        return _Shown(fit(decode(data, image_id), SIDE), sets_of(self.sources, image_id, SIDE))

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
    predicted = f", and the prediction at score ≥ {SURE}," if run.train else ""
    when = plural("outer iteration") if len(iterations) > 1 else "outer iteration"
    samples = "Pseudo labels (samples of the conditional distribution)"
    caption = f"{samples}{predicted} in {when} {' and '.join(map(str, iterations))}"
    return FigureOfRun("figure2", caption, under_each_other(list(parts.values())), parts, run.names)


def _case(run: _Drawn, image_id: str, iterations: Sequence[int]) -> Picture:
    """A row an iteration: image or true masks, the most frequent samples, the prediction; no column that is empty."""
    shown = run.image(image_id)
    labels = run.dataset.read(image_id, ("labels",))["labels"].tolist()
    rows: list[list[Panel]] = []
    drawn: set[int] = set()
    predicted = any(t <= iterations[-1] and image_id in run.train[t] for t in run.train)
    most = min(SAMPLES, max(len(shown.sets.samples.get(t, ())) for t in iterations))
    for iteration in iterations:
        first = _truth_panel(run, shown) if rows else Panel(", ".join(map(run.name, labels)), shown.photo)
        there = [t for t in run.train if t <= iteration and image_id in run.train[t] and t not in drawn]
        drawn |= set(there)
        last = [_trained_panel(run, shown, there[-1] if there else None, iteration)] if predicted else []
        rows.append([first, *_samples(run, image_id, shown, iteration, most), *last])
    ious = [(t, run.sample_iou(image_id, t)) for t in iterations]
    measured = ", ".join(f"{100 * iou:.0f} % in iteration {t}" for t, iou in ious if iou is not None)
    title = run.names.shown(image_id) + (f"   mean IoU of the samples: {measured}" if measured else "")
    return titled(side_by_side([panel for row in rows for panel in row], columns=len(rows[0])), title)


def _samples(run: _Drawn, image_id: str, shown: _Shown, iteration: int, most: int) -> list[Panel]:
    """`most` panels: the most frequent distinct sets; words where there are fewer."""
    samples = shown.sets.samples.get(iteration, [])
    total = sum(count for count, _ in samples)
    panels = []
    for count, one in samples[:most]:
        names = [run.name(label) for label in one.labels.tolist()]
        which = GIVEN if run.sources.is_given(image_id, iteration) else f"{count} of {total}"
        caption = f"iteration {iteration}: {which}"
        panels.append(_instances(caption, shown, one, names))
    return panels + [_missing(shown, "no other sample")] * (most - len(panels))


def _trained_panel(run: _Drawn, shown: _Shown, t: int | None, iteration: int) -> Panel:
    """The prediction of network t on a training image; networks see those for the next iteration alone."""
    if t is None:
        return _missing(shown, f"no prediction of iteration {iteration} on train")
    note = "" if t == iteration else ", the last on train"
    return _prediction(run, f"{predicted(t)}{note}", shown, t)


# ------------------------------------------------------------------------------------------ Figure 4


def _figure_4(run: _Drawn, ids: Sequence[str]) -> FigureOfRun:
    t = max(run.val)
    pairs = {image_id: _example(run, image_id, t) for image_id in ids}
    ranked = any(len(pair) == 2 for pair in pairs.values())
    per_row = 4 if all(len(pair) == 2 for pair in pairs.values()) else 5
    caption = f"Predictions of outer iteration {t} on val at score ≥ {SURE}" + (
        ": true masks beside them, mean IoU" if ranked else ""
    )
    picture = side_by_side([panel for pair in pairs.values() for panel in pair], columns=per_row)
    alone = {i: side_by_side(pair, f"{run.names.shown(i)}: {predicted(t)}") for i, pair in pairs.items()}
    return FigureOfRun("figure4", caption, picture, alone, run.names)


def _example(run: _Drawn, image_id: str, t: int) -> list[Panel]:
    """True masks where there are any, and the prediction."""
    shown, iou = run.image(image_id), run.val_iou(image_id)
    measured = "" if iou is None else f"IoU {100 * iou:.0f} %"
    name = shortened(run.names(image_id), _CAPTION)
    predicted = _prediction(run, measured or name, shown, t)
    return [predicted] if shown.sets.truth is None else [_truth_panel(run, shown, name), predicted]


def _truth_panel(run: _Drawn, shown: _Shown, caption: str = "true masks") -> Panel:
    truth = shown.sets.truth
    if truth is None:  # in a run without any, nobody misses them
        return _missing(shown, "" if run.truths is None else "no true masks")
    return _instances(caption, shown, truth, [run.name(label) for label in truth.labels.tolist()])


def _prediction(run: _Drawn, caption: str, shown: _Shown, t: int) -> Panel:
    found = shown.sets.predictions[t]
    scores = np.zeros(len(found)) if found.scores is None else found.scores
    pairs = zip(found.labels.tolist(), scores.tolist(), strict=True)
    names = [f"{run.name(label)} {score:.2f}" for label, score in pairs]
    return _instances(caption if len(found) else f"{caption}: nothing found", shown, found, names)


def _instances(caption: str, shown: _Shown, one: InstanceSet, names: Sequence[str]) -> Panel:
    masks = shown.sets.pool.masks(one.masks)
    return Panel(caption, draw_instances(shown.photo, masks, shown.sets.colours(one), names))


def _missing(shown: _Shown, why: str) -> Panel:
    """Nothing but words: the panels of a column stay under each other."""
    return Panel(why, np.full_like(shown.photo, GROUND))
