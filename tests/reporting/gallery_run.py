"""A finished run with everything a gallery shows: true masks, boxes, a baseline, predictions of train and val."""

from pathlib import Path

import cv2
import numpy as np

from data_contracts.runs import save_run
from tests.records import image_record, label_sets_record, truth_record
from tests.reporting.conftest import (
    CLASSES,
    RunBuilder,
    detections_record,
    proposals_record,
    pseudo_labels_record,
    row,
    seeds_record,
)
from wsis.method.masks import rle
from wsis.method.masks.given_masks import GivenMasks

SIZE = (60, 80)
IDS = [*(f"train{i}" for i in range(5)), *(f"val{i}" for i in range(3))]


def two_squares() -> np.ndarray:
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:30, 10:30] = masks[1, 25:55, 40:70] = True
    return masks


def photograph(seed: int) -> np.ndarray:
    """Smooth, as photographs are: a small JPEG keeps it."""
    rng = np.random.default_rng(seed)
    return cv2.resize(
        rng.integers(40, 216, (6, 8, 3), dtype=np.uint8), SIZE[::-1], interpolation=cv2.INTER_CUBIC
    )


def gallery_run(root: Path, masks: bool = True) -> RunBuilder:
    """Five train and three val images of two squares of class cat; image i's true masks lie 4 i pixels beside them.

    train4 is of class cow too, by its label. masks: with ground truth and results.
    """
    builder, squares = RunBuilder(root), two_squares()
    split_of = {i: i.rstrip("0123456789") for i in IDS}
    shift = {i: int(i.lstrip("trainvl")) for i in IDS}
    train = [i for i in IDS if split_of[i] == "train"]
    val = [i for i in IDS if split_of[i] == "val"]
    labels = {i: (1, 2) if i == "train4" else (1,) for i in IDS}
    records = {
        i: image_record(photograph(n), f"{split_of[i]}/{i}.png", split_of[i], labels[i])
        for n, i in enumerate(IDS)
    }
    counts = {"images": len(IDS), "train": len(train), "val": len(val)}
    builder.commit("dataset", "dataset", "dataset", records, counts=counts)
    boxes = {
        "boxes": np.array([[10, 10, 30, 30], [40, 25, 70, 55]], np.float32),
        "box_labels": np.array([1, 1], np.int32),
    }
    builder.commit("boxes", "boxes", "boxes", dict.fromkeys(train, boxes))
    if masks:
        true = {i: truth_record(np.roll(squares, 4 * shift[i], axis=2), split=split_of[i]) for i in IDS}
        builder.commit("ground_truth", "ground_truth", "ground_truth", true)
    builder.commit("prm_seeds", "prm_seeds", "seeds", {i: seeds_record(squares) for i in train})
    builder.commit("proposals", "proposals", "proposals", {i: proposals_record(squares) for i in IDS})
    for t in (1, 2):
        made = {i: pseudo_labels_record(squares) for i in train}
        for number, i in enumerate(train):
            made[i]["diversity"] = np.array([0.1 * number], np.float32)
        counts = {"images": len(train)}
        builder.commit(f"pseudo_labels@{t}", "pseudo_labels", "pseudo_labels", made, counts=counts)
        builder.commit(f"prediction@{t}", "prediction", "weights")
        found = {i: detections_record(squares) for i in val}
        builder.commit(f"predictions.val@{t}", "predictions", "detections", found)
    found = {i: detections_record(squares) for i in train}
    builder.commit("predictions.train@1", "predictions", "detections", found)
    if masks:
        for t in (1, 2):
            metrics = {"metrics.json": row("prediction", t, 0.3 + 0.2 * t)}
            builder.commit(f"evaluation.prediction@{t}", "evaluation", "metrics", files=metrics)
    else:
        builder.record.config["evaluate"] = False
    save_run(builder.store, builder.record)
    return builder


def give_masks(builder: RunBuilder, image_id: str) -> None:
    """A person gives the masks of a training image; iteration 2 is the first to learn from them."""
    squares = two_squares()
    train = [i for i in IDS if i.startswith("train")]
    given = GivenMasks(np.array([1], np.int32), tuple(rle.encode_many(squares[:1])), SIZE)
    builder.commit("corrections", "corrections", "corrections", {image_id: given.to_record()})
    made = {i: pseudo_labels_record(squares) for i in train}
    made[image_id] = label_sets_record([10], [[(0, 1)]], diversity=0.0)
    key, counts = "pseudo_labels@2", {"images": len(train), "images_with_given_masks": 1}
    builder.commit(key, "with_given_masks", "pseudo_labels", made, counts=counts, parents=("corrections",))
    save_run(builder.store, builder.record)


__all__ = ["CLASSES", "IDS", "SIZE", "gallery_run", "give_masks", "photograph", "two_squares"]
