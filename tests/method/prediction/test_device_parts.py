"""Our parts in the place of MMDetection's give what those give, on the CPU and in the way that a device has."""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.structures import InstanceData
from torch.utils._python_dispatch import TorchDispatchMode

from tests.method.prediction.test_pseudo_label_sets import _batch, _built, _loss_and_gradients
from wsis.method import transfers
from wsis.method.prediction import inference
from wsis.method.prediction.heads import constants, device_regions, label_set_regions, region_features, rpn
from wsis.method.prediction.heads.constants import ResidentBoxCoder
from wsis.method.prediction.heads.region_features import LevelRoIExtractor
from wsis.method.prediction.models import OWN_PARTS, build_model
from wsis.method.prediction.settings import PredictSettings

MODULES = (transfers, constants, label_set_regions, region_features, rpn)


@contextlib.contextmanager
def as_a_device() -> Iterator[None]:
    """The CPU is one whose answers the host would wait for."""
    with contextlib.ExitStack() as stack:
        for module in MODULES:
            stack.enter_context(mock.patch.object(module, "host_waits", lambda tensor: True))
        yield


def test_a_step_has_the_losses_and_gradients_of_mmdetections_parts(tiny_training, synthetic_source):
    theirs = _built(tiny_training)
    ours = build_model(tiny_training).train()
    ours.load_state_dict(theirs.state_dict())
    found = {type(module).__name__ for module in ours.modules()}
    # the coder and the anchors are no modules
    assert found >= set(OWN_PARTS.values()) - {"ResidentAnchorGenerator", "ResidentBoxCoder"}
    batch = _batch(synthetic_source, tiny_training, 4)
    losses, gradients = _loss_and_gradients(theirs, batch)
    on_cpu = _loss_and_gradients(ours, batch)
    with as_a_device():
        on_device = _loss_and_gradients(ours, batch)
    for own_losses, own_gradients in (on_cpu, on_device):
        assert own_losses.keys() == losses.keys() and own_gradients.keys() == gradients.keys()
        for name, value in losses.items():
            assert torch.equal(own_losses[name], value), name
        for name, value in gradients.items():
            torch.testing.assert_close(own_gradients[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert all(torch.equal(on_cpu[1][name], value) for name, value in gradients.items())


def test_detections_are_the_same(tiny_plain, tmp_path: Path):
    torch.manual_seed(0)
    model = build_model(tiny_plain)
    model.init_weights()
    detector = inference.detector_of(model, tiny_plain, ("a", "b", "c", "d"), torch.device("cpu"))
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    settings = PredictSettings(score_threshold=0.0, max_detections=40)
    (expected,) = detector.predict([image], settings)
    with as_a_device():
        (found,) = detector.predict([image], settings)
    assert len(expected.labels) == 40
    for name in ("boxes", "scores", "labels", "masks", "class_probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize(("instances", "candidates"), [(0, 5), (5, 0), (7, 40)])
def test_overlaps_are_mmdetections(instances, candidates):
    boxes, others = (torch.rand(n, 4).cumsum(1) * 20 for n in (instances, candidates))
    boxes[1::3, 2:] = boxes[1::3, :2]  # without extent
    others[: len(boxes)] = boxes[:candidates]
    expected = BboxOverlaps2D()(boxes, others)
    assert torch.equal(device_regions.box_overlaps(boxes, others), expected)
    assert expected.numel() == 0 or expected.max() == 1


def _sets(instances: int) -> list[torch.Tensor]:
    """All, every second, none, the last, and the first two of the instances."""
    every = torch.arange(instances)
    return [every, every[::2], every[:0], every[-1:], every[:2]]


@pytest.mark.parametrize("together", [1, 1 << 25])
@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize("all_of_them", [True, False])
@pytest.mark.parametrize(("instances", "candidates"), [(0, 30), (1, 30), (6, 30), (6, 0)])
def test_assignment_without_questions(low_quality, all_of_them, instances, candidates, together, monkeypatch):
    monkeypatch.setattr(device_regions, "_ENTRY_BUDGET", together)
    assigner = MaxIoUAssigner(
        0.5, (0.1, 0.4), min_pos_iou=0.2, gt_max_assign_all=all_of_them, match_low_quality=low_quality
    )
    generator = torch.Generator().manual_seed(instances)
    for _ in range(20):
        overlaps = torch.rand(instances, candidates, generator=generator).mul(10).round() / 10  # with ties
        labels = torch.randint(0, 4, (instances,), generator=generator)
        sets = _sets(instances)
        found = device_regions.assign(assigner, overlaps, labels, sets).results()
        assert len(found) == len(sets)
        for members, own in zip(sets, found, strict=True):
            expected = assigner.assign_wrt_overlaps(overlaps[members], labels[members])
            assert own.num_gts == expected.num_gts
            for name in ("gt_inds", "max_overlaps", "labels"):
                assert torch.equal(getattr(own, name), getattr(expected, name)), name


@pytest.mark.parametrize(("num", "upper"), [(8, -1), (8, 1), (200, -1)])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("candidates", [60, 0])
def test_samples_and_the_state_after_them_are_randomsamplers(num, upper, added, candidates):
    sampler = RandomSampler(num, 0.5, neg_pos_ub=upper, add_gt_as_proposals=added)
    generator = torch.Generator().manual_seed(num)
    truth = InstanceData(bboxes=torch.rand(3, 4), labels=torch.tensor([2, 0, 1]))
    priors = torch.rand(candidates, 4, generator=generator)
    assigner = MaxIoUAssigner(0.5, 0.5)
    overlaps = torch.rand(3, candidates, generator=generator)
    sets = _sets(3)
    torch.manual_seed(3)
    assigned = device_regions.assign(assigner, overlaps, truth.labels, sets)
    drawn = device_regions.sample(sampler, assigned)
    state = torch.get_rng_state()
    for members, found in zip(sets, drawn, strict=True):
        torch.manual_seed(3)
        result = assigner.assign_wrt_overlaps(overlaps[members], truth.labels[members])
        expected = sampler.sample(result, InstanceData(priors=priors.clone()), truth[members])
        assert torch.equal(found.positive, expected.pos_inds)
        assert torch.equal(found.negative, expected.neg_inds)
        assert torch.equal(found.assigned, expected.pos_assigned_gt_inds)
    assert torch.equal(torch.get_rng_state(), state)


class _Operations(TorchDispatchMode):
    """How many operations a device would be given."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_set_more_is_no_operation_of_the_device_more():
    assigner, sampler = MaxIoUAssigner(0.7, 0.3, min_pos_iou=0.3), RandomSampler(32, 0.5)
    overlaps, labels = torch.rand(6, 50), torch.zeros(6, dtype=torch.int64)
    counts = []
    for sets in (2, 10):
        with _Operations() as assigning:
            assigned = device_regions.assign(assigner, overlaps, labels, [torch.arange(4)] * sets)
        drawn = device_regions.sample(sampler, assigned)
        counts.append(assigning.count)
        assert len(drawn) == sets
    assert counts[1] - counts[0] <= 8 * 3  # rows of a table that is made on the host


def test_coding_of_boxes():
    means, stds = (0.1, -0.2, 0.0, 0.3), (0.1, 0.1, 0.2, 0.2)
    theirs = DeltaXYWHBBoxCoder(target_means=means, target_stds=stds)
    ours = ResidentBoxCoder(target_means=means, target_stds=stds)
    boxes, targets = (torch.rand(50, 4).cumsum(1) * 20 for _ in range(2))
    deltas = torch.randn(50, 12)
    with as_a_device():
        encoded = ours.encode(boxes, targets)
        decoded = ours.decode(boxes, deltas, max_shape=(40, 30))
        assert len(ours.decode(boxes[:0], deltas[:0])) == 0
    assert torch.equal(encoded, theirs.encode(boxes, targets))
    assert torch.equal(decoded, theirs.decode(boxes, deltas, max_shape=(40, 30)))
    assert torch.equal(ours.decode(boxes, deltas), theirs.decode(boxes, deltas))


@pytest.mark.parametrize("device", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_regions_keep_their_corners_whatever_the_features_are(dtype, device):
    extractor = LevelRoIExtractor(
        dict(type="RoIAlign", output_size=7, sampling_ratio=2), out_channels=2, featmap_strides=[8, 16]
    )
    corners = torch.rand(20, 4).mul(300).sort(1).values + 700
    rois = torch.cat([torch.zeros(20, 1), corners], 1)
    levels = [torch.rand(1, 2, 1100 // s, 1100 // s).to(dtype) for s in (8, 16)]
    exact = extractor([level.float() for level in levels], rois)
    with as_a_device() if device else contextlib.nullcontext():
        found = extractor(levels, rois)
    assert found.dtype == dtype
    assert torch.equal(found, exact.to(dtype))
    moved = extractor([level.float() for level in levels], rois.to(dtype).float())
    assert not torch.equal(moved.to(dtype), found)  # what MMDetection's would give


def test_exported_configs_name_mmdetections_parts(tiny_plain):
    before = copy.deepcopy(tiny_plain)
    build_model(tiny_plain)
    assert tiny_plain.to_dict() == before.to_dict()
    assert tiny_plain.model.rpn_head.type == "RPNHead"
