"""The stages `conditional` and `pseudo_labels` on a small synthetic data set, through a real store."""

import json

import numpy as np
import pytest

from data_contracts.schemas import PSEUDO_LABELS
from stages.conditional.conditional import SAMPLER_NAME
from stages.conditional.examples import Examples
from tests.stages.conditional_scenes import CONFIG, make_inputs, sample, share_of_truth, train
from wsis.engine.training import WEIGHTS_NAME, load_weights
from wsis.errors import InputError
from wsis.method.dissimilarity.network_inputs import SamplerConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store, inputs = make_inputs(tmp_path_factory.mktemp("store"))
    return store, inputs, train(store, inputs)


def test_pretraining_moves_the_samples_to_the_objects(trained):
    store, inputs, weights = trained
    untrained = train(
        store, inputs, CONFIG.model_copy(update={"learning_rate": 1e-9, "pretrain_epochs": 0.1})
    )
    before = share_of_truth(sample(store, inputs, untrained, k=4))
    after = sample(store, inputs, weights, k=4)
    assert before < 0.3
    assert share_of_truth(after) > 0.7
    counts = after.manifest.counts
    assert counts["images"] == 12 and counts["samples_per_image"] == 4
    assert counts["images_with_an_unlabelled_class"] == 0


@pytest.mark.parametrize("terms, missing", [("U", True), ("U+P+H", False)])
def test_samples_that_leave_annotated_classes_out_are_said(trained, capsys, terms, missing):
    store, inputs, _ = trained
    untrained = CONFIG.model_copy(update={"terms": terms, "learning_rate": 1e-9, "pretrain_epochs": 0.1})
    labels = sample(store, inputs, train(store, inputs, untrained), k=4)
    sets = [
        (record["multiplicities"], np.diff(record["offsets"]) > 0)
        for _, record in labels.records(PSEUDO_LABELS)
    ]
    share = 1 - np.mean([np.average(named, weights=times) for times, named in sets])  # one class an image
    assert labels.manifest.counts["missing_class_share"] == pytest.approx(share)
    assert (share >= 0.25) == missing
    warned = f"warning: {100 * share:.0f} % of the annotated classes are missing in the samples"
    assert (warned in capsys.readouterr().err) == missing


def test_zero_noise_gives_one_distinct_sample(trained):
    store, inputs, weights = trained
    labels = sample(store, inputs, weights, k=5, zero_noise=True)
    assert all(record["multiplicities"].tolist() == [5] for _, record in labels.records(PSEUDO_LABELS))
    assert labels.manifest.counts["images_with_one_distinct_sample"] == 12


def test_noise_of_the_scores_makes_samples_differ_and_is_that_of_training_at_most(trained):
    store, inputs, weights = trained
    distinct = [
        sample(store, inputs, weights, k=5, score_noise=scale).manifest.counts["mean_distinct"]
        for scale in (0.0, CONFIG.score_noise, 100.0)
    ]
    assert distinct[0] < distinct[1] == distinct[2]
    plain = train(store, inputs, CONFIG.model_copy(update={"score_noise": 0.0, "pretrain_epochs": 1.0}))
    without, asked = (sample(store, inputs, plain, k=5, score_noise=scale) for scale in (0.0, 100.0))
    for image_id, record in asked.records(PSEUDO_LABELS):
        np.testing.assert_array_equal(
            record["proposal_ids"], without.records(PSEUDO_LABELS)[image_id]["proposal_ids"]
        )


def test_samples_of_an_image_do_not_depend_on_the_other_images(trained, tmp_path):
    store, inputs, weights = trained
    everything = sample(store, inputs, weights, k=4).records(PSEUDO_LABELS)
    _, fewer = make_inputs(tmp_path / "few", images=(9, 2))
    some = sample(store, fewer, weights, k=4).records(PSEUDO_LABELS)
    for image_id, record in some:
        for name, values in record.items():
            np.testing.assert_array_equal(values, everything[image_id][name])


def test_the_second_iteration_learns_from_detections(trained):
    store, inputs, weights = trained
    more = {"previous": weights, "train_predictions": inputs["train_predictions"]}
    second = train(store, inputs, iteration=2, **more)
    assert second.manifest.counts["targets"] == "detections"
    assert share_of_truth(sample(store, inputs, second, iteration=2, k=4)) > 0.5
    before, after = (load_weights(a.file(WEIGHTS_NAME))["mix.weight"] for a in (weights, second))
    assert 0 < float((before - after).abs().max()) < 1  # went on from the previous weights


def test_a_later_iteration_has_its_own_least_steps(trained):
    store, inputs, weights = trained
    more = {"previous": weights, "train_predictions": inputs["train_predictions"]}
    few = CONFIG.model_copy(update={"epochs": 0.1, "min_pretrain_steps": 50, "min_steps": 3})
    assert train(store, inputs, few, iteration=2, **more).manifest.counts["steps"] == 3


def test_box_supervision_gives_every_box_one_instance(tmp_path):
    store, inputs = make_inputs(tmp_path, boxed=True)
    weights = train(store, inputs, CONFIG.model_copy(update={"pretrain_epochs": 10.0}))
    labels = sample(store, inputs, weights, k=4)
    for _, record in labels.records(PSEUDO_LABELS):
        assert (np.diff(record["offsets"]) == 1).all()
    assert share_of_truth(labels) > 0.5


def test_a_box_without_a_detection_keeps_its_seed(tmp_path):
    _, inputs = make_inputs(tmp_path, boxed=True)
    sampler = CONFIG.sampler(2)

    def least_cost_of_its_class(score):
        settings = CONFIG.model_copy(update={"min_detection_score": score})
        examples = Examples(inputs, settings, sampler, stride=4)
        _, problem = examples.build("im0")
        return float(problem.target_table[:, 1].min())

    # The detection's mask is about a proposal, and the seed's is one; the detection is sure to 14 of 15.
    assert -np.log(14 / 15) <= least_cost_of_its_class(0.5) < 0.1
    assert least_cost_of_its_class(0.95) == pytest.approx(0.0, abs=1e-4)


def test_pointwise_conditional_network_trains(trained):
    store, inputs, _ = trained
    config = CONFIG.model_copy(update={"k": 1, "gamma": 0.0, "zero_noise": True, "pretrain_epochs": 1.0})
    assert train(store, inputs, config).manifest.counts["last"]["div_cc"] == 0.0


def test_contrast_trains_and_is_stored_with_the_weights(tmp_path):
    store, inputs = make_inputs(tmp_path)
    config = CONFIG.model_copy(
        update={"pairwise": "contrast", "contrast_weight": 0.5, "pretrain_epochs": 10.0}
    )
    weights = train(store, inputs, config)
    stored = SamplerConfig.from_json(json.loads(weights.file(SAMPLER_NAME).read_text()))
    assert (stored.energy.pairwise, stored.energy.contrast_weight) == ("contrast", 0.5)
    assert share_of_truth(sample(store, inputs, weights, k=4)) > 0.5


@pytest.mark.parametrize(
    "terms, pairwise, neighbours", [("U", "diffuse", 0), ("U+P", "contrast", 0), ("U+P+H", "diffuse", 16)]
)
def test_neighbours_are_listed_only_where_a_term_reads_them(terms, pairwise, neighbours):
    sampler = CONFIG.model_copy(update={"terms": terms, "pairwise": pairwise}).sampler(2)
    assert sampler.problem.graph.max_neighbours == neighbours


def test_no_training_image_is_named(tmp_path):
    store, inputs = make_inputs(tmp_path, images=())
    with pytest.raises(InputError, match="expected at least one training image"):
        train(store, inputs)
