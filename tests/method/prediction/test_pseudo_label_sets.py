"""K pseudo-label sets in one step: sampling, merging, and equality with MMDetection on equal sets."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor, nn

from wsis.errors import InputError
from wsis.method.prediction.config import PredictionSpec, training_config
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.method.prediction.data.training_images import ImageInstances, InstanceSet, unite_sets
from wsis.method.prediction.heads.label_set_regions import (
    InstanceSets,
    PseudoLabelAssigner,
    PseudoLabelSampler,
)
from wsis.method.prediction.models import quiet_mmengine

ASSIGNER = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False)


def _sampler(num: int, added: bool) -> PseudoLabelSampler:
    inner = dict(type="RandomSampler", num=num, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=added)
    return PseudoLabelSampler(sampler=inner)


def _instances(boxes: list[list[float]], labels: list[int], weights: list[list[float]]) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(boxes).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        set_weights=torch.tensor(weights).view(len(labels), -1),
    )


def test_sets_are_read_from_the_weight_table() -> None:
    boxes = [[0.0, 0, 9, 9], [0, 0, 5, 5], [3, 3, 9, 9]]
    sets = InstanceSets(_instances(boxes, [0, 1, 1], [[0.5, 0], [0.5, 0.3], [0, 0.3]]))
    assert [m.tolist() for m in sets.members] == [[0, 1], [1, 2], []]  # the last: sets without instances
    assert sets.weights.tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert sets.subset(1).labels.tolist() == [1, 1]


def test_ordinary_ground_truth_is_one_set() -> None:
    truth = InstanceData(bboxes=torch.zeros(2, 4), labels=torch.zeros(2, dtype=torch.long))
    sets = InstanceSets(truth)
    assert len(sets) == 1 and sets.members[0].tolist() == [0, 1] and sets.weights.tolist() == [1.0]


def test_shared_overlaps_assign_as_each_set_alone() -> None:
    priors = torch.rand(200, 4).cumsum(1) * 20
    truth = _instances(
        (torch.rand(5, 4).cumsum(1) * 20).tolist(),
        [0, 1, 2, 0, 1],
        [[0.4, 0], [0.4, 0.6], [0, 0.6], [0.4, 0], [0, 0.6]],
    )
    assigned = PseudoLabelAssigner(ASSIGNER).assign(InstanceData(priors=priors), truth)
    alone = MaxIoUAssigner(0.5, 0.5, match_low_quality=False)
    for u, result in enumerate(assigned.results()):
        expected: AssignResult = alone.assign(InstanceData(priors=priors), assigned.sets.subset(u))
        assert torch.equal(result.gt_inds, expected.gt_inds)
        assert torch.equal(result.labels, expected.labels)


@pytest.mark.parametrize("added", [True, False])
def test_a_region_trains_each_set_in_proportion_to_its_weight(added: bool) -> None:
    """Over many draws, candidate r has set u's target with frequency w_u * (how often u alone samples it)."""
    priors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60], [0, 0, 9, 10]])
    truth = _instances([[0.0, 0, 10, 10], [20, 20, 30, 30]], [0, 1], [[0.3, 0], [0, 0.7]])
    assigner, sampler = PseudoLabelAssigner(ASSIGNER), _sampler(100, added)
    draws, labels = 1000, torch.zeros(len(priors), 3)  # class 0, class 1, background
    sizes = []
    for seed in range(draws):
        torch.manual_seed(seed)
        candidates = InstanceData(priors=priors.clone())
        drawn = sampler.sample(assigner.assign(candidates, truth), candidates, truth)
        shift = len(truth.bboxes) if added else 0
        for index, label in zip(drawn.pos_inds.tolist(), drawn.pos_gt_labels.tolist(), strict=True):
            if index >= shift:
                labels[index - shift, label] += 1
        labels[drawn.neg_inds - shift, 2] += 1
        sizes.append(len(drawn.pos_inds) + len(drawn.neg_inds))
        assert torch.equal(drawn.pos_gt_bboxes, truth.bboxes[drawn.pos_assigned_gt_inds])
        assert torch.equal(drawn.pos_gt_labels, truth.labels[drawn.pos_assigned_gt_inds])
        assert drawn.avg_factor == pytest.approx(4 + added, abs=1e-5)
    expected = torch.tensor([[0.3, 0, 0.7], [0, 0.7, 0.3], [0, 0, 1], [0.3, 0, 0.7]])
    assert torch.allclose(labels / draws, expected, atol=0.06)
    assert (np.array(sizes) - added <= 5).all()
    assert np.mean(sizes) == pytest.approx(4 + (0.3 * 0.3 + 0.7 * 0.7 + 2 * 0.21 if added else 0), abs=0.1)


def test_the_region_budget_is_divided_among_the_sets() -> None:
    priors = (torch.rand(2000, 4).cumsum(1) * 30).round()
    boxes = (torch.rand(10, 4).cumsum(1) * 30).tolist()
    truth = _instances(boxes, [0] * 10, (torch.eye(10) * 0.1).tolist())
    assigner, sampler = PseudoLabelAssigner(ASSIGNER), _sampler(512, True)
    sizes = []
    for seed in range(20):
        torch.manual_seed(seed)
        candidates = InstanceData(priors=priors)
        drawn = sampler.sample(assigner.assign(candidates, truth), candidates, truth)
        sizes.append(len(drawn.pos_inds) + len(drawn.neg_inds))
    assert np.mean(sizes) == pytest.approx(512, rel=0.05)


def test_the_sampler_refuses_another_assigner() -> None:
    truth = _instances([[0.0, 0, 9, 9]], [0], [[1.0]])
    candidates = InstanceData(priors=torch.rand(3, 4))
    plain = MaxIoUAssigner(0.5, 0.5).assign(candidates, truth)
    with pytest.raises(InputError, match=r"expected a PseudoLabelAssigner.*got a AssignResult"):
        _sampler(10, True).sample(plain, candidates, truth)


def test_equal_masks_of_several_sets_are_built_once() -> None:
    sets = [
        InstanceSet(np.array([7, 3]), np.array([1, 2]), 0.5),
        InstanceSet(np.array([3]), np.array([2]), 0.3),
        InstanceSet(np.array([3, 7]), np.array([1, 1]), 0.2),  # mask 3 with another class
    ]
    keys, labels, weights = unite_sets(sets)
    assert keys.tolist() == [3, 3, 7] and labels.tolist() == [1, 2, 1]
    assert weights == pytest.approx(np.array([[0, 0, 0.2], [0.5, 0.3, 0], [0.5, 0, 0.2]]))
    keys, _, weights = unite_sets([InstanceSet(np.empty(0, int), np.empty(0, int), 1.0)])
    assert len(keys) == 0 and weights.shape == (0, 1)


# -- the whole detector


def _batch(source: Any, config: Config, count: int = 3) -> dict[str, Any]:
    quiet_mmengine()
    dataset = PseudoLabelDataset(source, [TRANSFORMS.build(t) for t in config.train_pipeline])
    batch: dict[str, Any] = pseudo_collate([dataset[SampleKey(i, 10 + i)] for i in range(count)])
    return batch


def _loss_and_gradients(
    model: nn.Module, batch: dict[str, Any], seed: int = 3
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    data = model.data_preprocessor(copy.deepcopy(batch), True)  # type: ignore[operator]
    torch.manual_seed(seed)
    losses = model.loss(data["inputs"], data["data_samples"])  # type: ignore[operator]
    total, logged = model.parse_losses(losses)  # type: ignore[operator]
    model.zero_grad()
    total.backward()
    return {n: v.detach() for n, v in logged.items()}, {
        n: p.grad for n, p in model.named_parameters() if p.grad is not None
    }


def _built(config: Config, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    quiet_mmengine()
    torch.manual_seed(0)
    model: nn.Module = MODELS.build(config.model)
    if state is None:
        model.init_weights()  # type: ignore[operator]
    else:
        model.load_state_dict(state)
    return model.train()


def _equal_sets(count: int) -> Callable[[int], ImageInstances]:
    def make(index: int) -> ImageInstances:
        size = (64, 96) if index % 3 else (96, 64)
        masks = np.zeros((2, *size), bool)
        masks[0, 10:40, 12:44], masks[1, 30:60, 30:62] = True, True
        return ImageInstances(masks, np.array([1, 3]), np.full((2, count), 1 / count, np.float32))

    return make


@pytest.mark.parametrize("count", [1, 3, 10])
def test_equal_sets_without_self_diversity_are_mmdetection(
    count: int, tiny_plain: Config, tiny_spec: PredictionSpec, make_source: Any
) -> None:
    """Loss and gradient of K equal sets equal MMDetection's own Mask R-CNN on one, with random sampling."""
    config = training_config(tiny_plain, replace(tiny_spec, self_diversity=0.0))
    reference = _built(tiny_plain)
    own = _built(config, reference.state_dict())
    batch = _batch(make_source(_equal_sets(count)), config)
    expected, expected_gradients = _loss_and_gradients(reference, batch)
    losses, gradients = _loss_and_gradients(own, batch)
    for name, value in expected.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-7), name
    assert gradients.keys() == expected_gradients.keys() and len(gradients) > 30
    for name, gradient in expected_gradients.items():
        assert torch.allclose(gradients[name], gradient, rtol=1e-4, atol=1e-6), name
    assert sum(float(g.abs().sum()) for g in gradients.values()) > 1


def test_different_sets_average_mmdetections_losses(
    tiny_plain: Config, tiny_spec: PredictionSpec, make_source: Any, synthetic_source: Any
) -> None:
    """Mean over many draws = weighted mean of MMDetection's losses on each set (RPN: unbiased; RoI: a ratio)."""

    def only(column: int) -> Callable[[int], ImageInstances]:
        def make(index: int) -> ImageInstances:
            whole = synthetic_source.instances(index)
            kept = whole.set_weights[:, column] > 0
            return ImageInstances(whole.masks[kept], whole.labels[kept], np.ones((int(kept.sum()), 1)))

        return make

    config = training_config(tiny_plain, replace(tiny_spec, self_diversity=0.0))
    reference = _built(tiny_plain)
    own = _built(config, reference.state_dict())

    def mean_losses(model: nn.Module, source: Any, draws: int) -> dict[str, float]:
        batch = _batch(source, config, 2)
        with torch.no_grad():
            data = model.data_preprocessor(copy.deepcopy(batch), True)  # type: ignore[operator]
            found = []
            for seed in range(draws):
                torch.manual_seed(seed)
                loss = model.loss(data["inputs"], copy.deepcopy(data["data_samples"]))  # type: ignore[operator]
                found.append(model.parse_losses(loss)[1])  # type: ignore[operator]
        return {n: float(np.mean([float(f[n]) for f in found])) for n in found[0]}

    first = mean_losses(reference, make_source(only(0)), 10)
    second = mean_losses(reference, make_source(only(1)), 10)
    mixed = mean_losses(own, synthetic_source, 30)
    for name in ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"):
        assert mixed[name] == pytest.approx(0.75 * first[name] + 0.25 * second[name], rel=0.1), name


def test_self_diversity_is_subtracted_and_logged(
    tiny_plain: Config, tiny_spec: PredictionSpec, synthetic_source: Any
) -> None:
    models = {}
    for name, spec in {
        "PW_p": replace(tiny_spec, self_diversity=0.0),
        "weighted": replace(tiny_spec, self_diversity=0.6),
    }.items():
        config = training_config(tiny_plain, spec)
        state = models["PW_p"].state_dict() if models else None
        models[name] = _built(config, state)
    batch = _batch(synthetic_source, config)
    logged = {name: _loss_and_gradients(model, batch)[0] for name, model in models.items()}
    plain = logged["PW_p"]
    entropy = plain["self_diversity_class"] + plain["self_diversity_mask"]
    assert float(plain["self_diversity_class"]) == pytest.approx(np.log(4), rel=0.05)  # untrained: uniform
    assert 0 < float(plain["self_diversity_mask"]) <= np.log(2)
    assert float(logged["weighted"]["loss"]) == pytest.approx(float(plain["loss"] - 0.6 * entropy), rel=1e-5)
    assert "loss_self_diversity_class" not in plain
    assert float(logged["weighted"]["loss_self_diversity_mask"]) == pytest.approx(
        -0.6 * float(plain["self_diversity_mask"]), rel=1e-5
    )


def _odd(kind: str) -> Callable[[int], ImageInstances]:
    def make(index: int) -> ImageInstances:
        size = (64, 96) if index % 3 else (96, 64)
        masks: NDArray[np.bool_] = np.zeros((1, *size), bool)
        if kind == "all sets empty":
            return ImageInstances(masks[:0], np.empty(0, int), np.empty((0, 1), np.float32))
        if kind == "one pixel":
            masks[0, -1, -1] = True
        elif kind == "whole image":
            masks[:] = True
        elif kind == "200 instances":
            masks = np.zeros((200, *size), bool)
            for i in range(200):
                masks[i, (7 * i) % 56 :, (5 * i) % 50 :] = True
        labels = 1 + np.arange(len(masks)) % 3
        return ImageInstances(masks, labels, np.full((len(masks), 1), 0.5, np.float32))

    return make


@pytest.mark.parametrize("kind", ["all sets empty", "one pixel", "whole image", "200 instances"])
def test_odd_pseudo_labels_have_a_defined_loss(kind: str, tiny_training: Config, make_source: Any) -> None:
    batch = _batch(make_source(_odd(kind)), tiny_training, 2)
    losses, gradients = _loss_and_gradients(_built(tiny_training), batch)
    assert all(np.isfinite(float(v)) for v in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients.values())
    assert float(losses["loss_rpn_cls"]) > 0
    if kind == "all sets empty":
        assert float(losses["loss_mask"]) == 0 and float(losses["loss_bbox"]) == 0
