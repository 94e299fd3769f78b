"""The plan: order, inputs, and that no training stage can reach a pixel label."""

import pytest

from data_contracts.errors import ArtefactMissingError, ConfigError
from flows.config import load_config
from flows.plan import missing_inputs, plan, select

EVALUATION_ONLY = {"ground_truth", "evaluation"}


def test_every_input_comes_before_its_reader_and_fits_its_stage() -> None:
    seen: set[str] = set()
    for node in plan(load_config("demo")):
        assert set(node.inputs.values()) <= seen, node.key
        assert set(node.stage.inputs) <= set(node.inputs) <= set(node.stage.inputs) | set(node.stage.optional)
        assert node.key not in seen
        seen.add(node.key)


def test_no_stage_but_evaluation_reads_pixel_labels() -> None:
    nodes = plan(load_config("demo"))
    stage_of = {n.key: n.stage.name for n in nodes}
    for node in nodes:
        if node.stage.name != "evaluation":
            assert not {stage_of[k] for k in node.inputs.values()} & EVALUATION_ONLY, node.key


def test_the_alternation_of_the_method() -> None:
    nodes = {n.key: n for n in plan(load_config("demo", ["outer_iterations=3"]))}
    assert "train_predictions" not in nodes["conditional@1"].inputs
    assert nodes["conditional@2"].inputs["train_predictions"] == "predictions.train@1"
    assert nodes["conditional@3"].inputs["previous"] == "conditional@2"
    assert nodes["prediction@3"].inputs["previous"] == "prediction@2"
    assert nodes["prediction@3"].inputs["pseudo_labels"] == "pseudo_labels@3"
    assert "predictions.train@3" not in nodes


def test_without_masks_nothing_is_evaluated_and_training_is_the_same() -> None:
    full = {n.key for n in plan(load_config("demo"))}
    blind = {n.key for n in plan(load_config("demo", ["evaluate=false"]))}
    assert blind < full
    measured = ("evaluation", "ground_truth", "prm_baseline")
    assert full - blind == {k for k in full if k.split(".")[0] in measured}


def test_select_by_stage_node_and_iteration() -> None:
    nodes = plan(load_config("demo"))
    assert [n.key for n in select(nodes, "pseudo-labels", 2)] == ["pseudo_labels@2"]
    assert [n.key for n in select(nodes, "predictions.val", 1)] == ["predictions.val@1"]
    assert {n.key for n in select(nodes, "predictions", 1)} == {"predictions.train@1", "predictions.val@1"}
    with pytest.raises(ConfigError, match=r"stage 'predict': expected one of"):
        select(nodes, "predict", None)
    with pytest.raises(ConfigError, match=r"expected --iteration in \[1, 2, 3, 4\], got 7"):
        select(nodes, "conditional", 7)
    with pytest.raises(ConfigError, match="no outer loop"):
        select(nodes, "proposals", 1)


def test_a_missing_input_names_the_command_that_makes_it() -> None:
    (node,) = select(plan(load_config("demo")), "prediction", 2)
    with pytest.raises(ArtefactMissingError, match=r"wsis stage pseudo_labels --run RUN --iteration 2"):
        missing_inputs(node, {"dataset", "proposals"}.__contains__)
