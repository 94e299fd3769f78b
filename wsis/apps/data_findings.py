"""What `wsis check` finds in a data set, as plain values: counts, sizes, copies, what is missing, what a run costs.

The keys are stable: `wsis check --json` prints them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_contracts.errors import ContractError, DataError
from data_contracts.printable import counted
from stages.proposals.proposals import check as check_source
from wsis.apps.data_cost import cost_of
from wsis.errors import WsisError
from wsis.readers.inventory import Inventory, InventoryImage, alike, same_bytes
from wsis.readers.learnability import check_learnable, rarely_lacking, spelt_alike
from wsis.readers.shared.records import ROLES, DatasetSource, Role
from wsis.runs.config import RunConfig
from wsis.runs.plan_checks import check_proposals
from wsis.views.image_names import ImageNames

FEW_IMAGES = 10  # of a class: below, hardly anything is learned of it
_SMALL_SIDE = 64  # pixels: images whose shorter side is less
_STRIP = 4.0  # times as long as wide
_SMALL_OBJECT = 16  # pixels of the longer side, at the size that the prediction network sees
_MANY = 0.3  # share from which a property of images or objects is worth a word
_NEARLY_ALL = 0.95  # share of images with boxes from which boxes are worth a hint
_FLOCK = 0.5  # share of images with several of a class from which more seeds a class help
_NAMED = 3
BOXES_TEACH = "objects have boxes: --set data.supervision=box learns from them, with better results"


def findings(source: DatasetSource, found: Inventory, config: RunConfig) -> dict[str, Any]:
    """All that is found.

    Args:
        source: tolerant, as `take_inventory` leaves it. found: what it gave.
        config: the run that is meant; its data section is what `source` reads.
    """
    names = ImageNames({one.image_id: one.file_name for one in found.images})
    problems = [*found.problems, *_unlearnable(source, config)]
    if not found.of("train") and not problems:
        problems.append("data: expected train images, got none")
    problems = problems or _unfit_proposals(source, config)
    values: dict[str, Any] = {
        "ready": not problems,
        "data": {
            "root": "generated scenes" if config.data.root is None else str(config.data.root),
            "supervision": config.data.supervision,
            "classes": list(found.classes),
        },
        "parts": {part: _part(found.of(part)) for part in ROLES},
        "classes": [_class(found, number, name) for number, name in enumerate(found.classes, start=1)],
        "images": _sizes(found.images),
        "objects": _objects(found.images, config.prediction.image_size),
        "boxes": {"clipped": found.clipped, "dropped": found.dropped},
        "masks": {"empty": found.empty},
        "copies": _copies(found.images, names),
        "notes": list(found.notes),
        "problems": problems,
    }
    values["warnings"] = list(_warnings(found, values, config))
    values["hints"] = list(_hints(values, config))
    values["cost"] = cost_of(source, found, config)
    return values


def _unlearnable(source: DatasetSource, config: RunConfig) -> list[str]:
    """What keeps image-level labels from teaching a class."""
    try:
        check_learnable(source, config.data.supervision)
    except DataError as error:
        return [str(error)]
    return []


def _unfit_proposals(source: DatasetSource, config: RunConfig) -> list[str]:
    """What is wrong with the proposals that a run would import."""
    try:
        check_source(config.proposals)
        check_proposals(config, source)
    except (ContractError, WsisError) as error:
        first, *images = str(error).split("\n  - ")
        return ["; ".join([first, *images[:_NAMED], *(["..."] if len(images) > _NAMED else [])])]
    return []


# -- counts -------------------------------------------------------------------------------------------------
def _part(images: Sequence[InventoryImage]) -> dict[str, Any]:
    """Of one part; what only boxes tell is None where no image has any."""
    boxed = [one for one in images if one.boxes_tell]
    return {
        "images": len(images),
        "negatives": sum(not len(one.labels) for one in images),
        "several_classes": sum(len(one.labels) > 1 for one in images),
        "with_boxes": len(boxed),
        "several_of_a_class": sum(_most_of_a_class(one) > 1 for one in boxed) if boxed else None,
        "objects": sum(len(one.boxes) for one in boxed) if boxed else None,
        "with_masks": sum(one.has_masks for one in images),
    }


def _most_of_a_class(one: InventoryImage) -> int:
    return max(Counter(one.box_labels.tolist()).values())


def _class(found: Inventory, number: int, name: str) -> dict[str, Any]:
    """Images that show a class, by part; objects of it where boxes tell."""
    counted: dict[str, Any] = {"name": name}
    for part in ROLES:
        shown = [one for one in found.of(part) if number in one.labels]
        counted[part] = len(shown)
        boxed = [one for one in shown if one.boxes_tell]
        counted[f"{part}_objects"] = (
            int(sum((one.box_labels == number).sum() for one in boxed)) if boxed else None
        )
    return counted


# -- sizes --------------------------------------------------------------------------------------------------
def _sizes(images: Sequence[InventoryImage]) -> dict[str, Any]:
    """Least, median and greatest width, height and aspect (longer by shorter side); small ones, strips, pixels."""
    if not images:
        return {}
    sides = np.array([[one.width, one.height] for one in images])
    aspects = sides.max(axis=1) / sides.min(axis=1)
    return {
        "width": _spread(sides[:, 0]),
        "height": _spread(sides[:, 1]),
        "aspect": [round(value, 2) for value in _spread(aspects)],
        "megapixels": float(sides.prod(axis=1).mean() / 1e6),
        "file_bytes": float(np.mean([one.file_bytes for one in images])),
        "small": int((sides.min(axis=1) < _SMALL_SIDE).sum()),
        "strips": int((aspects > _STRIP).sum()),
        "pixels": dict(Counter(one.pixels for one in images).most_common()),
    }


def _objects(images: Sequence[InventoryImage], network_side: int) -> dict[str, Any] | None:
    """Longer sides of the boxes in pixels, and how many are small for the network; None without boxes."""
    rows = [(one, one.boxes) for one in images if len(one.boxes)]
    if not rows:
        return None
    sides = np.concatenate([(boxes[:, 2:] - boxes[:, :2]).max(axis=1) for _, boxes in rows])
    scales = np.concatenate(
        [np.full(len(boxes), min(1.0, network_side / max(one.height, one.width))) for one, boxes in rows]
    )
    areas = np.concatenate(
        [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / (one.height * one.width) for one, boxes in rows]
    )
    return {
        "longer_side": _spread(sides),
        "share_of_image": [round(value, 4) for value in _spread(areas)],
        "small_for_the_network": int((sides * scales < _SMALL_OBJECT).sum()),
        "network_side": network_side,
        "number": len(sides),
    }


def _spread(values: np.ndarray) -> list[float]:
    return [float(values.min()), float(np.median(values)), float(values.max())]


# -- copies -------------------------------------------------------------------------------------------------
def _copies(images: Sequence[InventoryImage], names: ImageNames) -> dict[str, Any]:
    """Groups of names: the same bytes in both parts, within one, within one under other labels; and look-alikes."""
    same = same_bytes(images)
    across = [group for group in same if len({one.part for one in group}) > 1]
    similar = alike(images)

    def named(groups: Sequence[Sequence[InventoryImage]]) -> list[list[str]]:
        return [[names(one.image_id) for one in group] for group in groups]

    return {
        "train_and_val": named(across),
        "within_a_part": named([group for group in same if group not in across]),
        "other_labels": named([g for g in same if len({tuple(one.labels.tolist()) for one in g}) > 1]),
        "alike_in_train_and_val": named([g for g in similar if len({one.part for one in g}) > 1]),
        "alike_within_a_part": named([g for g in similar if len({one.part for one in g}) == 1]),
    }


# -- what to know --------------------------------------------------------------------------------------------
def _warnings(found: Inventory, values: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    """What a run would not refuse, but its result suffers from."""
    copies = values["copies"]
    if copies["train_and_val"]:
        yield (
            f"the same file in train and val, {counted(len(copies['train_and_val']), 'time')}: "
            f"{_some(copies['train_and_val'])}: val measures too well"
        )
    if copies["alike_in_train_and_val"]:
        yield f"pictures of train that look like ones of val: {_some(copies['alike_in_train_and_val'])}"
    if copies["other_labels"]:
        yield f"the same file under different labels: {_some(copies['other_labels'])}"
    elif copies["within_a_part"]:
        yield f"the same file twice in one part: {_some(copies['within_a_part'])}"
    if found.dropped:
        yield f"{counted(found.dropped, 'box')} of train without area inside the image: left out"
    if found.clipped:
        yield f"{counted(found.clipped, 'box')} of train reaching outside of the image: cut at its edge"
    if found.empty:
        masks = counted(found.empty, "mask")
        yield f"{masks} without a pixel, as of a polygon of one or two points: left out, not measured"
    yield from _class_warnings(values, config)
    yield from _mask_warnings(values, config)
    yield from _size_warnings(values)


def _some(groups: Sequence[Sequence[str]]) -> str:
    shown = ", ".join(" = ".join(group[:_NAMED]) for group in groups[:_NAMED])
    return shown + (", …" if len(groups) > _NAMED else "")


def _class_warnings(values: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    rows = values["classes"]
    yield from spelt_alike(row["name"] for row in rows)
    if absent := [row["name"] for row in rows if not row["train"]]:
        yield f"no train image shows {', '.join(absent)}: nothing is learned of it"
    if few := [f"{row['name']} ({row['train']})" for row in rows if 0 < row["train"] < FEW_IMAGES]:
        yield f"few train images show {', '.join(few)}: expect little of it"
    train = values["parts"]["train"]
    if values["ready"] and config.data.supervision == "image":
        warning = rarely_lacking(train["images"], {row["name"]: row["train"] for row in rows})
        if warning is not None:
            yield warning
    if values["parts"]["val"]["images"]:
        unmeasured_classes = [row["name"] for row in rows if row["train"] and not row["val"]]
        if unmeasured_classes:
            yield f"no val image shows {', '.join(unmeasured_classes)}: not measured"


def _mask_warnings(values: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    val = values["parts"]["val"]
    if not config.evaluate:
        return
    if not val["images"]:
        yield "no val images: no mAP is measured"
    elif not val["with_masks"]:
        yield "val has no masks: no mAP is measured; training is the same"
    elif val["with_masks"] < val["images"]:
        yield f"val images without masks: {val['images'] - val['with_masks']} of {val['images']}"


def _size_warnings(values: Mapping[str, Any]) -> Iterator[str]:
    images, objects = values["images"], values["objects"]
    if images.get("small"):
        yield f"{counted(images['small'], 'image')} less than {_SMALL_SIDE} pixels wide or high"
    if images.get("strips"):
        yield f"{counted(images['strips'], 'strip')}: over {_STRIP:g} times as long as wide"
    if objects and objects["small_for_the_network"] > _MANY * objects["number"]:
        yield (
            f"{objects['small_for_the_network']} of {objects['number']} objects are under {_SMALL_OBJECT} pixels "
            f"where the network sees {objects['network_side']}: they will be missed (prediction.image_size)"
        )


def _hints(values: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    """What could be had for a setting."""
    train = values["parts"]["train"]
    labelled = train["images"] - train["negatives"]
    if config.data.supervision == "image" and labelled and train["with_boxes"] >= _NEARLY_ALL * labelled:
        yield BOXES_TEACH
    several = train["several_of_a_class"]
    if config.data.supervision == "image" and values["ready"] and several and several > _FLOCK * labelled:
        yield "most images hold several of a class: boxes tell them apart better (data.supervision=box)"


def sample(found: Inventory, most: int) -> list[InventoryImage]:
    """Images for a contact sheet: every class and the negatives take turns in each part, evenly over its images.

    Train first, with two thirds of the places.
    """
    chosen: list[InventoryImage] = []
    places: dict[Role, int] = {"train": most - most // 3, "val": most // 3}
    for part in ROLES:
        images = found.of(part)
        rows = [_evenly([one for one in images if n in one.labels]) for n in _rarest_first(images)]
        rows.append(_evenly([one for one in images if not len(one.labels)]))
        taken: dict[str, InventoryImage] = {}
        while len(taken) < places[part] and any(rows):
            for row in rows:
                while row and row[0].image_id in taken:
                    row.pop(0)
                if row and len(taken) < places[part]:
                    one = row.pop(0)
                    taken[one.image_id] = one
        chosen += taken.values()
    return chosen


def _rarest_first(images: Sequence[InventoryImage]) -> list[int]:
    return [n for n, _ in reversed(Counter(n for one in images for n in one.labels.tolist()).most_common())]


def _evenly(images: Sequence[InventoryImage]) -> list[InventoryImage]:
    """In an order whose beginnings are spread over all: that of the bits of their places, the last first."""
    return [images[i] for i in sorted(range(len(images)), key=lambda i: f"{i:032b}"[::-1])]
