"""The plan: order, inputs, and that no training stage can reach a pixel label."""

import pytest

from data_contracts.errors import ArtefactMissingError, ConfigError
from stages.prediction import ceiling
from wsis.runs.config import load_config
from wsis.runs.plan import missing_inputs, plan, select

EVALUATION_ONLY = {"ground_truth", "evaluation"}


def test_every_input_comes_before_its_reader_and_fits_its_stage() -> None:
    seen: set[str] = set()
    for node in plan(load_config("demo")):
        assert set(node.inputs.values()) <= seen, node.key
        assert set(node.stage.inputs) <= set(node.inputs) <= set(node.stage.inputs) | set(node.stage.optional)
        assert node.key not in seen
        seen.add(node.key)


def test_no_stage_but_evaluation_reads_pixel_labels() -> None:
    """With a ceiling it does too, and then nothing but the ceiling's own two nodes goes back to it."""
    for asked in (False, True):
        nodes = plan(load_config("demo", [f"ceiling={asked}"]))
        stage_of = {n.key: n.stage.name for n in nodes}
        for node in nodes:
            if node.stage.name not in ("evaluation", *(["ceiling"] if asked else [])):
                assert not {stage_of[k] for k in node.inputs.values()} & EVALUATION_ONLY, node.key


def test_boxes_reach_proposals_and_seeds_and_what_comes_before_is_shared() -> None:
    labels, boxed = (
        {n.key: n for n in plan(load_config("demo", [f"data.supervision={s}"]))} for s in ("image", "box")
    )
    assert set(boxed) - set(labels) == {"boxes"}
    assert [n.key for n in boxed.values() if "boxes" in n.inputs.values()] == ["proposals", "prm_seeds"]
    for key in ("dataset", "ground_truth", "prm_classifier", "prm_baseline"):
        one, other = labels[key], boxed[key]
        # all that a fingerprint is made of, beside the seed and the files
        assert (one.stage, one.inputs) == (other.stage, other.inputs)
        assert one.config.identity() == other.config.identity(), key


def test_given_masks_reach_the_iterations_after_those_that_stay() -> None:
    plain, given = (
        {n.key: n for n in plan(load_config("demo", more))}
        for more in ([], ["data.masks=some.json", "data.masks_after=2"])
    )
    assert set(given) - set(plain) == {"corrections", "corrected_proposals"}
    readers = {n.key for n in given.values() if {"corrections", "corrected_proposals"} & {*n.inputs.values()}}
    told = ("conditional", "pseudo_labels", "evaluation.pseudo_labels", "prediction")
    assert readers == {"corrected_proposals", *(f"{name}@{t}" for name in told for t in (3, 4))}
    for key in plain:
        if key not in readers:
            assert (plain[key].stage, plain[key].inputs) == (given[key].stage, given[key].inputs), key
            assert plain[key].config.identity() == given[key].config.identity(), key


def test_the_method_is_the_same_with_a_ceiling_beside_it() -> None:
    without = plan(load_config("demo"))
    with_ceiling = plan(load_config("demo", ["ceiling=true"]))
    assert with_ceiling[: len(without)] == without
    added = with_ceiling[len(without) :]
    assert [n.key for n in added] == ["ceiling", "predictions.ceiling", "evaluation.ceiling"]
    assert not {n.stage.name for n in without} & {"ceiling"}
    for node in without:
        assert not set(node.inputs.values()) & {n.key for n in added}, node.key
    assert added[1].inputs["prediction"] == "ceiling" and added[1].config.model_dump()["split"] == "val"


def test_the_ceiling_is_the_prediction_network_without_self_diversity() -> None:
    changed = ["prediction.self_diversity=0.7", "conditional.gamma=0.3"]
    overrides = ["ceiling=true", "prediction.learning_rate=0.002", "outer_iterations=3"]
    (node,) = select(plan(load_config("demo", overrides)), "ceiling", None)
    (other,) = select(plan(load_config("demo", [*overrides, *changed])), "ceiling", None)
    assert node.config == other.config
    assert isinstance(node.config, ceiling.Config) and node.config.self_diversity == 0.0
    assert node.config.learning_rate == 0.002
    assert node.config.all_steps(10_000) == 160 + 2 * 80


def test_a_ceiling_needs_its_measurement() -> None:
    with pytest.raises(ConfigError, match=r"ceiling: expected evaluate=true and both splits"):
        load_config("demo", ["ceiling=true", "evaluate=false"])


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
    with pytest.raises(ConfigError, match=r"expected no --iteration \(no outer loop\), got 1$"):
        select(nodes, "proposals", 1)


def test_a_missing_input_names_the_command_that_makes_it() -> None:
    (node,) = select(plan(load_config("demo")), "prediction", 2)
    with pytest.raises(ArtefactMissingError, match=r"wsis stage pseudo_labels --run mine --iteration 2"):
        missing_inputs(node, {"dataset", "proposals"}.__contains__, "mine")


@pytest.mark.parametrize(("asked", "weight"), [("null", 0.75), ("0", 0.0), ("0.4", 0.4)])
def test_gamma_is_one_switch_where_the_weight_of_the_prediction_networks_diversity_is_null(
    asked: str, weight: float
) -> None:
    config = load_config("demo", [f"prediction.self_diversity={asked}", "conditional.gamma=0.25"])
    nodes = {node.key: node.config for node in plan(config)}
    assert [nodes[f"prediction@{t}"].self_diversity for t in (1, 4)] == [weight] * 2
