"""Instances pasted into training images: exact occlusion and boxes, in every set, by the sample's key alone."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS

from tests.method.prediction.synthetic_source import SyntheticSource
from wsis.method.masks.boxes import box_of_mask
from wsis.method.masks.superpixels import proposal_masks
from wsis.method.prediction.config import train_pipeline
from wsis.method.prediction.data import copy_paste
from wsis.method.prediction.data.confident import (
    AGREED,
    Donor,
    agreed_rows,
    agreement,
    donors_of,
    mask_overlaps,
)
from wsis.method.prediction.data.copy_paste import Pasted, PasteInstances, Scene
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.method.prediction.data.training_images import ImageInstances, SuperpixelMasks
from wsis.method.prediction.models import quiet_mmengine


def _dataset(source: Any, share: float = 1.0) -> PseudoLabelDataset:
    quiet_mmengine()
    pipeline = [TRANSFORMS.build(t) for t in train_pipeline([(96, 96)])]
    pipeline.insert(2, PasteInstances(source, donors_of(source), share))
    return PseudoLabelDataset(source, pipeline)


def _results(index: int = 1) -> dict[str, Any]:
    return PseudoLabelDataset(SyntheticSource(), []).unaugmented(index)


def _plain(before: dict[str, Any], layers: list[tuple[Pasted, int, int]]) -> list[tuple[Any, ...]]:
    """Pixel by pixel: of every instance what nothing lies over, with its box, class and weights."""
    masks = before["gt_masks"].masks.astype(bool)
    weights = before["gt_set_weights"]
    shares = [float(column.max()) for column in weights.T]
    rest = 1.0 - sum(shares)
    added = [rest] if rest > 1e-4 else []
    every = [
        (mask.copy(), label, [*row.tolist(), *([0.0] * len(added))])
        for mask, label, row in zip(masks, before["gt_bboxes_labels"], weights, strict=True)
    ]
    image = before["img"].copy()
    for pasted, y, x in layers:
        own = np.zeros(image.shape[:2], bool)
        for row in range(pasted.mask.shape[0]):
            for column in range(pasted.mask.shape[1]):
                if pasted.mask[row, column]:
                    image[y + row, x + column] = pasted.pixels[row, column]
                    own[y + row, x + column] = True
                    for mask, _, _ in every:
                        mask[y + row, x + column] = False
        every.append((own, pasted.label, shares + added))
    seen = [(mask, label, row) for mask, label, row in every if mask.any()]
    return [image, *([m for m, _, _ in seen], [int(c) for _, c, _ in seen], [r for _, _, r in seen])]


@pytest.mark.parametrize("empty", [0.0, 0.25])
def test_occlusion_boxes_and_sets_equal_a_plain_reference(empty: float) -> None:
    """Random shapes over instances, of which one vanishes, and over each other; empty samples get them too."""
    rng = np.random.default_rng(3)
    before = _results()
    before["gt_set_weights"] = before["gt_set_weights"] * np.float32(1 - empty)
    layers = []
    for size in ((9, 14), (25, 25), (12, 7)):
        mask = rng.random(size) < 0.8
        mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = True
        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        layers.append((Pasted(pixels, mask, 1), int(rng.integers(0, 30)), int(rng.integers(0, 60))))
    cover = Pasted(np.full((20, 20, 3), 7, np.uint8), np.ones((20, 20), bool), 0)
    layers.append((cover, 40, 40))  # hides the third instance whole
    scene = Scene(before)
    for layer in layers:
        scene.paste(*layer)
    after = scene.into(dict(before))
    image, masks, labels, weights = _plain(before, layers)
    assert np.array_equal(after["img"], image) and len(masks) == 6
    assert np.array_equal(after["gt_masks"].masks.astype(bool), masks)
    assert after["gt_bboxes_labels"].tolist() == labels
    assert after["gt_set_weights"] == pytest.approx(np.array(weights, np.float32))
    assert after["gt_bboxes"].tensor.numpy().tolist() == [box_of_mask(mask).tolist() for mask in masks]
    assert after["gt_set_weights"].max(axis=0).sum() == pytest.approx(1)
    assert after["gt_ignore_flags"].shape == (6,)


def test_an_instance_that_nothing_lies_over_keeps_its_box() -> None:
    """Resizing moves boxes by fractions of a pixel: only what was cut is measured again."""
    before = _results()
    before["gt_bboxes"].tensor[2] += 0.25
    scene = Scene(before)
    scene.paste(Pasted(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool), 0), 0, 80)
    assert scene.boxes[2].tolist() == [40.25, 40.25, 60.25, 60.25]


def test_a_sample_is_a_function_of_its_key_in_any_process() -> None:
    dataset = _dataset(SyntheticSource())
    first = dataset[SampleKey(2, 7)]
    dataset[SampleKey(1, 3)]
    np.random.seed(99)
    again = pickle.loads(pickle.dumps(_dataset(SyntheticSource())))[SampleKey(2, 7)]
    assert torch.equal(first["inputs"], again["inputs"])
    ours, theirs = (s["data_samples"].gt_instances for s in (first, again))
    assert np.array_equal(ours.masks.masks, theirs.masks.masks)
    assert torch.equal(ours.bboxes.tensor, theirs.bboxes.tensor)
    assert torch.equal(ours.set_weights, theirs.set_weights)


def test_images_get_several_instances_of_one_class_and_every_box_fits_its_mask() -> None:
    dataset, most = _dataset(SyntheticSource()), 0
    for seed in range(12):
        truth = dataset[SampleKey(1, seed)]["data_samples"].gt_instances
        pasted = (truth.set_weights > 0).all(dim=1)  # of the source's own instances none is in both sets
        most = max(most, int(pasted.sum()))
        assert len(set(truth.labels[pasted].tolist())) <= 1
        for mask, box in zip(truth.masks.masks, truth.bboxes.tensor.tolist(), strict=True):
            assert mask.any() and box == box_of_mask(mask.astype(bool)).tolist()
    assert most >= 3


def test_no_image_is_touched_without_a_share() -> None:
    bare = PseudoLabelDataset(SyntheticSource(), [TRANSFORMS.build(t) for t in train_pipeline([(96, 96)])])
    without = _dataset(SyntheticSource(), share=0.0)
    for seed in range(4):
        a, b = bare[SampleKey(0, seed)], without[SampleKey(0, seed)]
        assert torch.equal(a["inputs"], b["inputs"])
        assert torch.equal(
            a["data_samples"].gt_instances.set_weights, b["data_samples"].gt_instances.set_weights
        )


def test_nothing_below_loses_more_than_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such place, nothing is pasted."""
    before = _results()
    before["gt_set_weights"][:] = 1.0
    before["gt_masks"].masks[:] = 1
    scene = Scene(before)
    small = Pasted(np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), bool), 0)
    large = Pasted(np.zeros((60, 90, 3), np.uint8), np.ones((60, 90), bool), 0)
    assert copy_paste._place(small, scene) is not None and copy_paste._place(large, scene) is None


# -- who may be pasted ------------------------------------------------------------------------------------------
def _uncertain(index: int) -> ImageInstances:
    """K = 4: one object on which three samples agree in part and all in class, one that a single sample sees."""
    masks = np.zeros((4, 64, 96), bool)
    masks[0, 10:30, 10:30], masks[1, 10:30, 10:28], masks[2, 10:30, 10:30], masks[3, 40:60, 40:60] = (
        True,
    ) * 4
    weights = np.array([[0.5, 0, 0], [0, 0.25, 0], [0, 0, 0.25], [0, 0.25, 0]], np.float32)
    return ImageInstances(masks, np.array([1, 1, 2, 2]), weights)


def test_agreement_is_the_expected_overlap_with_a_sample() -> None:
    given = _uncertain(0)
    worth = agreement(mask_overlaps(given.masks), given)
    assert worth == pytest.approx([0.5 + 0.25 * 0.9, 0.5 * 0.9 + 0.25, 0.25, 0.25])


def test_each_object_is_taken_once_and_only_where_samples_agree() -> None:
    given = _uncertain(0)
    assert agreed_rows(given) == []
    sure = ImageInstances(
        given.masks[[0, 1, 3]], given.labels[[0, 1, 3]], np.array([[0.9, 0], [0, 0.1], [0.9, 0.1]])
    )
    worth = agreement(mask_overlaps(sure.masks), sure)
    assert worth[0] > worth[1] >= AGREED  # the second is the first again
    assert agreed_rows(sure) == [2, 0]
    corner = sure.masks.copy()
    corner[0, :31, :31] = True  # reaches two borders
    assert agreed_rows(ImageInstances(corner, sure.labels, sure.set_weights)) == [2]
    source = SyntheticSource(lambda index: sure if index % 3 else _uncertain(index), count=4)
    assert donors_of(source) == [Donor(1, 2, 2), Donor(1, 0, 1), Donor(2, 2, 2), Donor(2, 0, 1)]


def test_overlaps_of_superpixels_are_those_of_their_pixels() -> None:
    rng = np.random.default_rng(0)
    superpixels = np.repeat(np.repeat(np.arange(30).reshape(5, 6), 7, 0), 4, 1)
    membership = rng.random((6, 30)) < 0.4
    dense = proposal_masks(superpixels, membership, superpixels.shape)
    boxes = np.array([box_of_mask(mask) for mask in dense])
    lazy = SuperpixelMasks(superpixels, membership, boxes, superpixels.shape)
    assert mask_overlaps(lazy) == pytest.approx(mask_overlaps(dense))
    for i, j in ((0, 1), (2, 5)):
        expected = (dense[i] & dense[j]).sum() / (dense[i] | dense[j]).sum()
        assert mask_overlaps(dense)[i, j] == pytest.approx(expected)
