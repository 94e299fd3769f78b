"""The data set over a source of pseudo labels: transforms, batches, and what it refuses."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config

from wsis.errors import InputError
from wsis.method.masks.boxes import box_of_mask
from wsis.method.masks.superpixels import proposal_masks
from wsis.method.prediction.config import train_pipeline
from wsis.method.prediction.data.batches import BatchOrder
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.method.prediction.data.superpixel_bitmaps import SuperpixelBitmaps
from wsis.method.prediction.data.training_images import ImageInstances, SuperpixelMasks
from wsis.method.prediction.models import quiet_mmengine


def _dataset(source: Any, scale: tuple[int, int] = (192, 192)) -> PseudoLabelDataset:
    quiet_mmengine()
    return PseudoLabelDataset(source, [TRANSFORMS.build(t) for t in train_pipeline([scale])])


def _flipped(dataset: PseudoLabelDataset, index: int, wanted: bool) -> dict[str, Any]:
    for seed in range(50):
        sample = dataset[SampleKey(index, seed)]
        if sample["data_samples"].metainfo["flip"] == wanted:
            return sample
    raise LookupError("no such flip in 50 seeds")


@pytest.mark.parametrize("flip", [False, True])
def test_image_and_all_sets_are_transformed_alike(flip: bool, synthetic_source: Any) -> None:
    sample = _flipped(_dataset(synthetic_source), 1, flip)
    truth, image = sample["data_samples"].gt_instances, synthetic_source.image(1)
    given = synthetic_source.instances(1)
    expected = np.repeat(np.repeat(image, 2, 0), 2, 1)[:, :: -1 if flip else 1]
    # interpolation mixes the region with the darker noise (mean 40) at its border alone
    assert sample["inputs"].shape == (3, 128, 192)
    masks = np.repeat(np.repeat(given.masks, 2, 1), 2, 2)[:, :, :: -1 if flip else 1]
    assert (truth.masks.masks.astype(bool) == masks).all()
    inside = sample["inputs"].float()[:, torch.from_numpy(masks[0].copy())].mean(1)
    assert inside.numpy() == pytest.approx(expected[masks[0]].mean(0), abs=4)
    for box, mask in zip(truth.bboxes.tensor.tolist(), masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert truth.labels.tolist() == (given.labels - 1).tolist()
    assert torch.equal(truth.set_weights, torch.from_numpy(given.set_weights))


def test_a_sample_is_a_function_of_its_key(synthetic_source: Any) -> None:
    dataset = _dataset(synthetic_source)
    np.random.seed(5)
    first = dataset[SampleKey(2, 7)]
    after = np.random.rand()
    np.random.seed(99)
    again = dataset[SampleKey(2, 7)]
    assert torch.equal(first["inputs"], again["inputs"])
    np.random.seed(5)
    assert np.random.rand() == after  # the global generator is left as it was


def test_instances_survive_shrinking(make_source: Any) -> None:
    """A one-pixel mask loses its pixel when the image shrinks: it keeps a box of a pixel and a pixel."""

    def make(index: int) -> ImageInstances:
        masks = np.zeros((2, 64, 96), bool)
        masks[0, 63, 95], masks[1, 10:50, 10:50] = True, True
        return ImageInstances(masks, np.array([1, 2]), np.ones((2, 1)))

    truth = _dataset(make_source(make), (24, 24))[SampleKey(1, 0)]["data_samples"].gt_instances
    boxes = truth.bboxes.tensor
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all() and (boxes >= 0).all()
    assert (boxes[:, 2] <= 24).all() and (boxes[:, 3] <= 16).all()
    assert truth.masks.masks[0].sum() >= 1 and truth.masks.masks[1].sum() == 100


def _superpixels(index: int) -> ImageInstances:
    """Nine random proposals of 40 random superpixels at about half the image's size, of which one is a single pixel."""
    rng = np.random.default_rng(index)
    height, width = (37, 50) if index % 3 else (50, 37)
    superpixels = rng.integers(0, 40, (height // 4 + 1, width // 5 + 1)).repeat(4, 0).repeat(5, 1)
    superpixels = superpixels[:height, :width].astype(np.uint16)
    superpixels.ravel()[:40], superpixels[-1, -1] = np.arange(40), 40
    membership = rng.random((9, 41)) < 0.1
    membership[0] = np.arange(41) == 40
    membership[:, 3] |= ~membership.any(axis=1)
    size = (64, 96) if index % 3 else (96, 64)
    dense = proposal_masks(superpixels, membership, size)
    boxes = np.array([box_of_mask(mask) for mask in dense])
    masks = SuperpixelMasks(superpixels, membership, boxes, size)
    return ImageInstances(masks, 1 + np.arange(9) % 3, np.full((9, 1), 0.5, np.float32))


def _dense(index: int) -> ImageInstances:
    given = _superpixels(index)
    assert isinstance(given.masks, SuperpixelMasks)
    return replace(given, masks=given.masks.dense())


@pytest.mark.parametrize("scale", [(192, 192), (96, 96), (61, 47), (20, 20)])
def test_sets_of_superpixels_equal_dense_masks(scale: tuple[int, int], make_source: Any) -> None:
    lazy, dense = _dataset(make_source(_superpixels), scale), _dataset(make_source(_dense), scale)
    flips = set()
    for seed in range(6):
        for index in (0, 1):
            a, b = lazy[SampleKey(index, seed)], dense[SampleKey(index, seed)]
            assert torch.equal(a["inputs"], b["inputs"])
            ours, theirs = a["data_samples"].gt_instances, b["data_samples"].gt_instances
            assert isinstance(ours.masks, BitmapMasks) and ours.masks.masks.dtype == theirs.masks.masks.dtype
            assert np.array_equal(ours.masks.masks, theirs.masks.masks) and ours.masks.masks.any()
            assert torch.equal(ours.bboxes.tensor, theirs.bboxes.tensor)
            flips.add(a["data_samples"].metainfo["flip"])
    assert flips == {True, False}


def test_superpixel_bitmaps_are_bitmap_masks() -> None:
    given = _superpixels(1).masks
    assert isinstance(given, SuperpixelMasks)
    lazy, dense = SuperpixelBitmaps.of(given), BitmapMasks(given.dense().astype(np.uint8), *given.size)
    for way in ("horizontal", "vertical", "diagonal"):
        assert np.array_equal(lazy.flip(way).masks, dense.flip(way).masks)
    for scale in ((200, 300), (33, 500), 0.37):
        assert np.array_equal(lazy.rescale(scale).masks, dense.rescale(scale).masks)
    assert np.array_equal(lazy.rescale(2.0, "bilinear").masks, dense.rescale(2.0, "bilinear").masks)
    assert np.array_equal(lazy.resize((31, 17)).masks, dense.resize((31, 17)).masks)
    assert np.array_equal(lazy[2:4].masks, dense[2:4].masks) and len(lazy) == len(dense) == 9
    copied = copy.deepcopy(lazy)
    assert type(copied) is BitmapMasks and np.array_equal(copied.masks, dense.masks)


def _broken(**changes: Any) -> Callable[[int], ImageInstances]:
    masks = np.zeros((2, 64, 96), bool)
    masks[:, 3:9, 3:9] = True
    whole = ImageInstances(masks, np.array([1, 3]), np.array([[0.5, 0], [0, 0.5]]))
    return lambda index: replace(whole, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(labels=np.array([1, 4])), r"image image-1: labels: expected classes 1\.\.3, got \[4\]"),
        (dict(labels=np.array([0, 1])), r"image image-1: labels: expected classes 1\.\.3, got \[0\]"),
        (dict(masks=np.ones((2, 64, 95), bool)), r"image image-1: masks: expected bool \[N, 64, 96\]"),
        (dict(masks=np.zeros((2, 64, 96), bool)), r"image image-1: masks \[0, 1\] have no pixel"),
        (dict(set_weights=np.array([[0.7, 0], [0, 0.5]])), r"image image-1: set_weights: .*1\.2"),
        (dict(set_weights=np.array([[0.0, 0], [0, 0.5]])), r"image image-1: set_weights: .*every instance"),
        (dict(labels=np.array([1])), r"image image-1: expected labels \[N\]"),
    ],
)
def test_bad_pseudo_labels_name_the_image(changes: dict[str, Any], message: str, make_source: Any) -> None:
    with pytest.raises(InputError, match=message):
        _dataset(make_source(_broken(**changes)))[SampleKey(1, 0)]


def test_an_empty_source_is_refused(make_source: Any) -> None:
    with pytest.raises(InputError, match="at least one image"):
        _dataset(make_source(count=0))


def test_every_epoch_visits_every_image_once_and_groups_shapes() -> None:
    landscape = np.arange(26) % 3 != 0
    sampler = BatchOrder(landscape, 4, seed=1)
    epochs = [[sampler.batch(step) for step in range(7 * e, 7 * e + 7)] for e in range(2)]
    orders = [[key.image for batch in epoch for key in batch] for epoch in epochs]
    assert all(set(order) == set(range(26)) and len(order) == 28 for order in orders)
    assert orders[0] != orders[1]
    mixed = [len({bool(landscape[key.image]) for key in batch}) > 1 for epoch in epochs for batch in epoch]
    assert sum(mixed) <= 4
    seeds = {key.seed for epoch in epochs for batch in epoch for key in batch}
    assert len(seeds) == 56


def test_batches_are_a_function_of_seed_and_step() -> None:
    whole, sent = (
        BatchOrder([True] * 7, 2, seed=3),
        pickle.loads(pickle.dumps(BatchOrder([True] * 7, 2, seed=3))),
    )
    steps = [whole.batch(step) for step in range(9)]
    assert [sent.batch(step) for step in reversed(range(9))] == steps[::-1]
    assert [BatchOrder([True] * 7, 2, seed=4).batch(step) for step in range(9)] != steps


def test_processes_share_the_global_batch() -> None:
    one = BatchOrder([True] * 11, 4, seed=0)
    halves = [BatchOrder([True] * 11, 2, seed=0, rank=r, world_size=2) for r in range(2)]
    for step in range(5):
        assert halves[0].batch(step) + halves[1].batch(step) == one.batch(step)


@pytest.mark.parametrize(("images", "batch"), [(0, 1), (3, 0)])
def test_batches_of_nothing_are_refused(images: int, batch: int) -> None:
    with pytest.raises(InputError, match="expected at least one image and batch size"):
        BatchOrder([True] * images, batch, 0)


def test_several_scales_are_drawn_from(tiny_training: Config, synthetic_source: Any) -> None:
    quiet_mmengine()
    pipeline = [TRANSFORMS.build(t) for t in train_pipeline([(96, 96), (144, 144)])]
    dataset = PseudoLabelDataset(synthetic_source, pipeline)
    widths = {dataset[SampleKey(1, seed)]["inputs"].shape[2] for seed in range(12)}
    assert widths == {96, 144}
