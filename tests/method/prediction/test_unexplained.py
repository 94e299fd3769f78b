"""Where a class answers and no pseudo label says so, nothing is taught as background."""

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData

from tests.method.prediction.synthetic_source import SyntheticSource
from tests.method.prediction.synthetic_source import rectangles as two_sets
from wsis.method.masks.boxes import box_of_mask
from wsis.method.masks.superpixels import proposal_masks
from wsis.method.prediction.config import train_pipeline
from wsis.method.prediction.data.confident import donors_of
from wsis.method.prediction.data.copy_paste import PasteInstances
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.method.prediction.data.training_images import ImageInstances, SuperpixelMasks
from wsis.method.prediction.data.unexplained import rectangles, unexplained_boxes
from wsis.method.prediction.heads.label_set_regions import PseudoLabelAssigner, PseudoLabelSampler
from wsis.method.prediction.models import build_model, quiet_mmengine

AREA = np.array([[48, 8, 80, 24], [60, 24, 80, 40]], np.float32)  # disjoint


def _source() -> SyntheticSource:
    def make(index: int) -> ImageInstances:
        given = two_sets(index)
        return ImageInstances(given.masks, given.labels, given.set_weights, AREA * [0.5, 1, 0.5, 1])

    return SyntheticSource(make)


def _dataset(source: Any, *more: Any) -> PseudoLabelDataset:
    quiet_mmengine()
    pipeline = [TRANSFORMS.build(t) for t in train_pipeline([(192, 192)])]
    return PseudoLabelDataset(source, [*pipeline[:2], *more, *pipeline[2:]])


def test_rectangles_are_disjoint_and_cover_the_cells() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.6, 1.0):
        cells = rng.random((9, 13)) < share
        painted = np.zeros((9, 13), int)
        for x1, y1, x2, y2 in rectangles(cells).tolist():
            painted[y1:y2, x1:x2] += 1
        assert np.array_equal(painted, cells)
    assert rectangles(np.ones((4, 6), bool)).tolist() == [[0, 0, 6, 4]]


def test_high_cells_that_labels_of_the_class_do_not_cover() -> None:
    """40 x 40 pixels in 4 x 4 cells: a label of class 1 covers the left half in 60 % of the samples, of class 2 all."""
    masks = np.zeros((2, 40, 40), bool)
    masks[0, :, :20], masks[1] = True, True
    given = ImageInstances(masks, np.array([1, 2]), np.array([[0.6, 0], [0, 0.4]], np.float32))
    response = np.zeros((2, 4, 4), np.uint8)
    response[0, 1], response[1] = 255, 255
    found = unexplained_boxes(response, np.array([1, 2]), given, 0.5)
    assert found.tolist() == [[20, 10, 40, 20]]  # class 1, right half; class 2 is explained everywhere
    faint = ImageInstances(
        masks, given.labels, given.set_weights * np.float32(0.3)
    )  # 18 % and 12 % of the samples
    assert unexplained_boxes(response, np.array([1, 2]), faint, 0.5).tolist() == [[0, 0, 40, 40]]
    response[0, 1] = 127
    assert len(unexplained_boxes(response, np.array([1, 2]), given, 0.5)) == 0
    superpixels = np.array([[0, 1]]).repeat(20, 0).repeat(10, 1)  # the same on a grid of half the size
    membership = np.array([[True, False], [True, True]])
    boxes = np.array([box_of_mask(m) for m in proposal_masks(superpixels, membership, (40, 40))])
    lazy = ImageInstances(
        SuperpixelMasks(superpixels, membership, boxes, (40, 40)), given.labels, given.set_weights
    )
    response[0, 1] = 255
    assert np.array_equal(unexplained_boxes(response, np.array([1, 2]), lazy, 0.5), found)


def test_candidates_by_half_inside_are_neither_background_nor_lost_as_objects() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 60, (300, 2))
    candidates = torch.tensor(
        np.concatenate([corners, corners + rng.uniform(4, 30, (300, 2))], 1), dtype=torch.float32
    )
    boxes = torch.tensor([[10.0, 10, 40, 40], [50, 50, 80, 80]])
    sets = InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 1]), set_weights=torch.tensor([[0.5, 0], [0, 0.5]])
    )
    inner = dict(type="MaxIoUAssigner", pos_iou_thr=0.4, neg_iou_thr=0.4, match_low_quality=True)
    assigner = PseudoLabelAssigner(assigner=inner)
    ignored = InstanceData(bboxes=torch.tensor([[30.0, 30, 60, 45], [40, 45, 60, 70]]), labels=torch.zeros(2))
    plain = assigner.assign(InstanceData(priors=candidates), sets).results
    kept = assigner.assign(InstanceData(priors=candidates), sets, ignored).results
    for before, after in zip(plain, kept, strict=True):
        for candidate, old, new in zip(
            candidates.tolist(), before.gt_inds.tolist(), after.gt_inds.tolist(), strict=True
        ):
            inside = sum(
                max(0.0, min(candidate[2], box[2]) - max(candidate[0], box[0]))
                * max(0.0, min(candidate[3], box[3]) - max(candidate[1], box[1]))
                for box in ignored.bboxes.tolist()
            )
            share = inside / ((candidate[2] - candidate[0]) * (candidate[3] - candidate[1]))
            assert new == (-1 if old == 0 and share >= 0.5 else old)
        assert (after.gt_inds == -1).sum() > 10 and (after.gt_inds > 0).any()
    sampler = PseudoLabelSampler(
        sampler=dict(
            type="RandomSampler", num=250, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=False
        )
    )
    result = assigner.assign(InstanceData(priors=candidates), sets, ignored)
    sampled = sampler.sample(result, InstanceData(priors=candidates), sets)
    never = torch.stack([r.gt_inds == -1 for r in result.results]).all(dim=0)
    assert not never[sampled.neg_inds].any() and len(sampled.neg_inds)


@pytest.mark.parametrize("pasting", [False, True])
def test_rectangles_are_resized_and_flipped_with_the_image(pasting: bool) -> None:
    source = _source()
    more = [PasteInstances(source, donors_of(source), 1.0)] if pasting else []
    dataset, plain = _dataset(source, *more), _dataset(SyntheticSource())
    flips = set()
    for seed in range(6):
        sample = dataset[SampleKey(1, seed)]["data_samples"]
        flips.add(flip := sample.metainfo["flip"])
        expected = AREA * [0.5, 1, 0.5, 1] * 2
        if flip:
            expected = np.stack(
                [192 - expected[:, 2], expected[:, 1], 192 - expected[:, 0], expected[:, 3]], 1
            )
        assert sample.ignored_instances.bboxes.tensor.numpy() == pytest.approx(expected)
        own = plain[SampleKey(1, seed)]["data_samples"].gt_instances
        if not pasting:
            assert torch.equal(sample.gt_instances.bboxes.tensor, own.bboxes.tensor)
            assert np.array_equal(sample.gt_instances.masks.masks, own.masks.masks)
        assert len(sample.gt_instances.set_weights) == len(sample.gt_instances.masks.masks)
    assert flips == {True, False}


def test_a_training_step_takes_them(tiny_training: Config) -> None:
    model = build_model(tiny_training).train()
    dataset = _dataset(_source())
    batch = pseudo_collate([dataset[SampleKey(1, 0)], dataset[SampleKey(2, 1)]])
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
