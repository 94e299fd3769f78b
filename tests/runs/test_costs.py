"""What a run is said to cost: every node, in proportion to its work, and nothing where nothing was measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.prediction.fit import FITTED
from stages.prediction.settings import config_file, model_spec
from wsis.method.prediction.config import anchors_of, plain_config
from wsis.method.prediction.object_sizes import ObjectSizes, reached_share
from wsis.runs.config import RunConfig, load_config
from wsis.runs.costs import RunCost, machine_speed, run_cost, unmeasured
from wsis.runs.data_size import DataSize, all_alike, small_side, smooth_share
from wsis.runs.plan import plan

SMALL = DataSize(train=64, negatives=0, val=16, with_masks=80, megapixels=0.11, file_bytes=33e3)
LARGE = DataSize(train=1116, negatives=0, val=119, with_masks=1235, megapixels=0.11, file_bytes=33e3)


def lite(*overrides: str) -> RunConfig:
    return load_config("voc_lite", ("execution.device=cpu", "execution.threads=1", *overrides))


def cost(config: RunConfig, data: DataSize, speed: float = 1.0) -> RunCost:
    found = run_cost(config, data, speed)
    assert found is not None
    return found


def cpu(found: RunCost, stage: str) -> float:
    return sum(n.cpu_seconds for n in found.nodes if n.key.startswith(stage))


def work(found: RunCost, key: str) -> float:
    """CPU seconds of one node beyond its start."""
    (seconds,) = [n.cpu_seconds for n in found.nodes if n.key == key]
    return seconds - 3.0


def test_every_node_that_computes_has_a_cost() -> None:
    config = lite("ceiling=true", "data.supervision=box")
    found = cost(config, SMALL)
    assert [n.key for n in found.nodes] == [n.key for n in plan(config)]
    assert [n.key for n in found.nodes if n.cpu_seconds <= 0] == ["boxes"]


def test_a_run_that_was_measured() -> None:
    """docs/notebook/2026-11-28.md: 4,141 s on one core, 12 minutes of proposals, 19 to 20 of prediction networks."""
    found = cost(lite("execution.workers=1"), LARGE)
    assert found.seconds == pytest.approx(4141, rel=0.25)
    assert cpu(found, "proposals") == pytest.approx(720, rel=0.25)
    assert cpu(found, "prediction@") == pytest.approx(1170, rel=0.25)


# Two runs of 2026-11-29 (docs/notebook/2026-11-29-b.md): CPU seconds of the stages beside ten other jobs
CROWDS = DataSize(216, 0, 61, 277, 0.112, 37e3, boxes=810, small_side=0.046)
CROWDS_SECONDS = {"prm_classifier": 325, "prm_seeds": 85, "proposals": 416, "conditional@1": 294}
ANIMALS_SECONDS = {
    "prm_classifier": 352,
    "prm_seeds": 386,
    "proposals": 918,
    "prm_baseline": 68,
    "conditional@1": 387,
    "pseudo_labels@1": 137,
}
NUCLEI = DataSize(24, 0, 8, 32, 0.088, 41e3, boxes=665, small_side=0.015, alike=True, smooth=1.0)
NUCLEI_SECONDS = {"prm_classifier": 42, "prm_seeds": 20, "proposals": 134}


@pytest.mark.parametrize(
    ("form", "data", "measured"),
    [
        ("box", CROWDS, CROWDS_SECONDS),
        ("image", LARGE, ANIMALS_SECONDS),
        ("box", NUCLEI, NUCLEI_SECONDS),
    ],
)
def test_stages_that_were_measured(form: str, data: DataSize, measured: dict[str, float]) -> None:
    found = cost(lite(f"data.supervision={form}"), data)
    reckoned = {name: cpu(found, name) for name in measured}
    assert {name: seconds / reckoned[name] for name, seconds in measured.items()} == {
        name: pytest.approx(1.25, abs=0.75) for name in measured
    }


def test_stages_of_images_grow_with_them_and_trainings_with_their_steps() -> None:
    small, large = cost(lite(), SMALL), cost(lite(), LARGE)
    assert work(large, "proposals") / work(small, "proposals") == pytest.approx(1235 / 80)
    more = cost(lite("prediction.later_steps=500"), LARGE)
    assert work(more, "prediction@2") == pytest.approx(2 * work(large, "prediction@2"))
    assert work(more, "prediction@1") == pytest.approx(work(large, "prediction@1"))
    longer = cost(lite("conditional.min_steps=220"), SMALL)
    assert 1.5 < work(longer, "conditional@2") / work(small, "conditional@2") < 2
    wider = cost(lite("prediction.image_size=576"), SMALL)
    assert work(wider, "prediction@1") == pytest.approx(4 * work(small, "prediction@1"))


def test_speed_threads_and_what_is_left_to_do(monkeypatch) -> None:
    config = lite()
    whole, half = cost(config, LARGE), cost(config, LARGE, speed=0.5)
    assert half.seconds == pytest.approx(2 * whole.seconds)
    left = [n for n in plan(config) if n.outer_iteration == 4]
    found = run_cost(config, LARGE, 1.0, left)
    assert found is not None and 0 < found.seconds < whole.seconds / 3
    monkeypatch.setattr("wsis.runs.costs.cores", lambda: 2)
    two = cost(
        config.model_copy(update={"execution": config.execution.model_copy(update={"threads": 2})}), LARGE
    )
    assert cpu(two, "prediction@1") == cpu(whole, "prediction@1")
    assert two.seconds < whole.seconds


def test_boxes_cost_candidates_and_small_ones_finer_anchors() -> None:
    config = lite("data.supervision=box", "ceiling=true")
    few, many = (replace(LARGE, boxes=boxes) for boxes in (1200.0, 36_000.0))
    assert work(cost(config, LARGE), "proposals") > work(cost(lite(), LARGE), "proposals")
    assert work(cost(config, many), "proposals") > work(cost(config, few), "proposals")
    assert work(cost(lite(), many), "proposals") == work(cost(lite(), LARGE), "proposals")
    assert work(cost(config, many), "conditional@1") > work(cost(config, few), "conditional@1")
    assert work(cost(lite(), many), "conditional@1") == work(cost(lite(), LARGE), "conditional@1")
    sides = [0.3, 0.05, 0.02]
    steps = [work(cost(config, replace(few, small_side=side)), "prediction@1") for side in sides]
    assert steps == pytest.approx([steps[0], 1.23 * steps[0], 1.4 * steps[0]])
    small = replace(few, small_side=0.02)
    assert work(cost(lite(), small), "prediction@1") == pytest.approx(
        steps[0]
    )  # labels alone give large masks
    ceilings = [work(cost(lite("ceiling=true"), data), "ceiling") for data in (few, small)]
    assert ceilings[1] == pytest.approx(1.4 * ceilings[0])


@pytest.mark.parametrize(("side", "chosen"), [(40, 0), (19, 0), (16, 1), (10, 1), (8, 2), (6, 2)])
def test_the_anchors_are_those_that_the_stage_would_choose(side: float, chosen: int) -> None:
    """Squares, a tenth of them smaller than `side`, all others no larger than half as much again."""
    config = lite("data.supervision=box")
    sides = np.concatenate([np.full(9, 0.8 * side), np.linspace(side, 1.5 * side, 91)])
    objects = ObjectSizes(sides, sides, np.ones(100), 1.0)
    spec = model_spec(config.prediction, ("any",))
    reached = [reached_share(objects, anchors_of(plain_config(config_file(name), spec))) for name in FITTED]
    assert next(i for i, share in enumerate(reached) if share >= 0.9 or i == 2) == chosen
    plain, given = (
        work(cost(config, replace(LARGE, small_side=share)), "prediction@1") for share in (1.0, side / 288)
    )
    assert given / plain == pytest.approx((1.0, 1.23, 1.4)[chosen])


def test_images_of_one_class_shorten_the_classifier_and_smooth_ones_refine_the_grid() -> None:
    alike, smooth = replace(LARGE, alike=True), replace(LARGE, smooth=1.0)
    steps = lite().prm_classifier.total_steps(1060)
    usual = cost(lite(), LARGE)
    assert work(usual, "prm_classifier") == pytest.approx(
        steps / 20 * work(cost(lite(), alike), "prm_classifier")
    )
    assert work(cost(lite(), smooth), "proposals") == pytest.approx(4.2 * work(usual, "proposals"))
    half = cost(lite(), replace(LARGE, smooth=0.5))
    assert work(usual, "proposals") < work(half, "proposals") < work(cost(lite(), smooth), "proposals")


def test_tiles_are_counted() -> None:
    large = replace(SMALL, megapixels=1.92)  # 1600 x 1200
    whole, tiled, finer = (
        work(cost(lite(*settings), large), "predictions.val@1")
        for settings in ((), ("predictions.tiles=800",), ("predictions.tiles=400",))
    )
    assert tiled > 4 * whole and finer > 2 * tiled
    sized = cost(lite("predictions.size=576"), large)
    assert work(sized, "predictions.val@1") == pytest.approx(4 * whole)


def test_what_is_counted_in_the_data() -> None:
    boxes = [np.array([[0, 0, 10, 40], [0, 0, 40, 40]], np.float32), np.zeros((0, 4), np.float32)]
    assert small_side(boxes, [(100, 200), (50, 50)]) == pytest.approx(np.quantile([0.1, 0.2], 0.1))
    assert small_side(boxes[1:], [(50, 50)]) == 1.0
    one, other = np.array([1]), np.array([1, 2])
    assert all_alike([one, one]) and not all_alike([one, other])
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    disc = np.full((96, 128, 3), 200, np.uint8)
    disc[40:60, 50:80] = 60
    settings = lite("proposals.max_regions=100").proposals
    assert smooth_share([], settings) == 0.0
    assert smooth_share([noise, disc], settings) == 0.5


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("voc2012_image", "execution.device=cpu", "prm_classifier.backbone is resnet50"),
        ("voc_lite", "prediction.model=mask_rcnn_r50_fpn", "prediction.model is mask_rcnn_r50_fpn"),
        ("voc_lite", "conditional.architecture=unet", "conditional.architecture is unet"),
    ],
)
def test_what_was_not_measured_has_no_estimate(name: str, override: str, said: str) -> None:
    config = load_config(name, [override])
    assert said in (unmeasured(config) or "") and run_cost(config, SMALL, 1.0) is None
    assert unmeasured(lite()) is None


def test_the_speed_of_this_machine_leaves_torch_as_it_was() -> None:
    threads = torch.get_num_threads()
    assert 0.02 < machine_speed() < 50
    assert torch.get_num_threads() == threads
