"""One image of the gallery as plain values: the row that lists it, and all that its view shows.

The row is small: the page sorts and filters by it. The rest travels in chunks, see `chunks`.
"""

from typing import Any, NamedTuple

import numpy as np

from data_contracts.errors import ContractError
from wsis.errors import WsisError
from wsis.method.evaluation.instance_quality import STATES
from wsis.reporting.gallery.measures import Weighted, best_ious, company, loss, mean_states
from wsis.reporting.pictures.image_sets import ImageSets, ImageSources, Samples, sets_of
from wsis.reporting.pictures.instances import InstanceSet

SIDE = 272
"""Pixels of an image's longer side in the gallery, and of its masks."""

Values = dict[str, Any]


class Entry(NamedTuple):
    """Attributes:
    row: see `row_of`. detail: see `detail_of`; None where records of the image cannot be read.
    """

    row: Values
    detail: Values | None


def facts_of(sources: ImageSources, image_id: str) -> Values:
    """What is known of an image before any of it is measured: its name, split and classes 1..C."""
    return {
        "name": sources.names(image_id),
        "split": sources.split_of(image_id),
        "classes": sources.dataset.read(image_id, ("labels",))["labels"].tolist(),
    }


def entry_of(sources: ImageSources, image_id: str) -> Entry:
    """An image measured; what cannot be read is said in its row, under `problem`."""
    facts = facts_of(sources, image_id)
    try:
        sets = sets_of(sources, image_id, SIDE)
        ended = states_of(sets)
        measured = measures_of(sources, image_id, sets, ended)
        return Entry({**facts, **measured}, detail_of(sources, image_id, sets, ended))
    except (ContractError, WsisError, KeyError) as error:
        return Entry({**facts, "problem": str(error)}, None)


def weighted(samples: Samples) -> Weighted:
    """Distinct samples with their shares of the K."""
    total = sum(count for count, _ in samples)
    return [(count / total, one) for count, one in samples]


def judged(sets: ImageSets) -> Weighted:
    """The sets of instances that are compared with the true masks: the samples of the last outer iteration, or the last
    prediction if there are no samples."""
    if sets.samples:
        return weighted(sets.samples[max(sets.samples)])
    return [(1.0, sets.predictions[max(sets.predictions)])] if sets.predictions else []


def states_of(sets: ImageSets) -> list[str]:
    """How each true instance ends in the `judged` sets: found, merged, split or missed; empty without true masks or
    without such sets."""
    found = judged(sets)
    return mean_states(sets.pool, found, sets.truth) if sets.truth is not None and found else []


def measures_of(sources: ImageSources, image_id: str, sets: ImageSets, ended: list[str]) -> Values:
    """What the gallery sorts and filters by; a key is there where it can be measured.

    - company: `alone` or `several`, of its class in the image: by the true instances, else the boxes, else what the
      method found most often.
    - disagreement: mean 1 - IoU over pairs of the K samples of the last outer iteration, in [0, 1].
    - loss: 1 - agreement of the prediction with the samples, of the last outer iteration that has both, in [0, 1].
    - iou: mean over the true instances of the best IoU with one of their class, mean over the samples, in [0, 1].
    - states: how many true instances are found, merged, split, missed.
    - given: the outer iteration from which on its pseudo labels are masks that a person has given.
    """
    row: Values = {}
    if sets.samples:
        record = sources.labels[max(sets.samples)].read(image_id, ("diversity",))
        row["disagreement"] = _rounded(float(record["diversity"][0]))
    if given := [t for t in sets.samples if sources.is_given(image_id, t)]:
        row["given"] = min(given)
    both = [t for t in sets.samples if t in sets.predictions]
    if both:
        row["loss"] = _rounded(
            loss(sets.pool, weighted(sets.samples[max(both)]), sets.predictions[max(both)])
        )
    found = judged(sets)
    if sets.truth is not None and len(sets.truth) and found:
        row["iou"] = _rounded(sum(share * _mean_iou(sets, one) for share, one in found))
        row["states"] = [ended.count(state) for state in STATES[:4]]
    if sets.truth is not None:
        labels = sets.truth.labels
    elif sources.boxes is not None and image_id in sources.boxes:
        labels = sources.boxes[image_id]["box_labels"]
    else:
        labels = found[0][1].labels if found else np.zeros(0, np.int32)
    if (alone := company(labels)) is not None:
        row["company"] = alone
    return row


def detail_of(sources: ImageSources, image_id: str, sets: ImageSets, ended: list[str]) -> Values:
    """All that the view of an image shows. Lengths are pixels of the gallery's size.

    - size, full: [h, w], [H, W]. masks: COCO run lengths, which instances name by their number.
    - boxes: [class, x1, y1, x2, y2]. seeds: [class, x, y].
    - iterations: of each its number t, samples and prediction; `given` where the samples are masks a person has given.
    - truth, samples, prediction, others: instances [mask, class, thing, score or null]; `thing` is the same number
      through all sets. States and IoUs (`iou`, of `samples` and `prediction`) where there are true masks.
    """
    detail: Values = {"size": list(sets.pool.size), "full": list(sets.full)}
    detail |= _weak(sources, image_id, sets)
    if sets.truth is not None:
        detail["truth"] = _instances(sets, sets.truth)
        if judged(sets):
            detail["states"] = ended
    detail["others"] = [{"title": title, **_set(sets, one)} for title, one in sets.others.items()]
    detail["iterations"] = [_iteration(sets, t, sources.is_given(image_id, t)) for t in sets.iterations()]
    detail["masks"] = [counts.decode("ascii") for counts in sets.pool.counts]
    return detail


def _iteration(sets: ImageSets, t: int, given: bool) -> Values:
    row: Values = {"t": t, "given": True} if given else {"t": t}
    if t in sets.samples:
        row["samples"] = [{"count": count, **_set(sets, one, scored=False)} for count, one in sets.samples[t]]
    if t in sets.predictions:
        row["prediction"] = _set(sets, sets.predictions[t])
    return row


def _weak(sources: ImageSources, image_id: str, sets: ImageSets) -> Values:
    """Boxes and seeds, where the run has them for the image."""
    (height, width), (h, w) = sets.full, sets.pool.size
    found: Values = {}
    if sources.boxes is not None and image_id in sources.boxes:
        record = sources.boxes[image_id]
        boxes = record["boxes"] * np.array([w / width, h / height] * 2)
        found["boxes"] = [
            [label, *(round(x, 1) for x in box)]
            for label, box in zip(record["box_labels"].tolist(), boxes.tolist(), strict=True)
        ]
    if sources.seeds is not None and image_id in sources.seeds:
        peaks = sources.seeds.read(image_id, ("peaks",))["peaks"].tolist()
        found["seeds"] = [
            [label, round((column + 0.5) * w / width, 1), round((row + 0.5) * h / height, 1)]
            for label, row, column in peaks
        ]
    return found


def _set(sets: ImageSets, one: InstanceSet, scored: bool = True) -> Values:
    measured: Values = {"instances": _instances(sets, one, scored)}
    if sets.truth is not None and len(sets.truth):
        measured["iou"] = _rounded(_mean_iou(sets, one))
    return measured


def _instances(sets: ImageSets, one: InstanceSet, scored: bool = True) -> list[list[Any]]:
    """Those of samples have no score: theirs are margins, which nobody can compare with a prediction's."""
    known = one.scores if scored else None
    scores = [None] * len(one) if known is None else [round(float(s), 2) for s in known]
    columns = (one.masks.tolist(), one.labels.tolist(), sets.things[one].tolist(), scores)
    return [list(row) for row in zip(*columns, strict=True)]


def _mean_iou(sets: ImageSets, one: InstanceSet) -> float:
    if sets.truth is None:
        raise ValueError("mean IoU: expected an image with true masks, got one without")
    return float(best_ious(sets.pool, one, sets.truth).mean())


def _rounded(value: float) -> float:
    return round(value, 3)
