"""What a run is said to cost: every node, in proportion to its work, and nothing where nothing was measured."""

import pytest
import torch

from wsis.runs.config import RunConfig, load_config
from wsis.runs.costs import DataSize, RunCost, machine_speed, run_cost, unmeasured
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
