"""The stages `conditional` and `pseudo_labels` on a small synthetic data set, through a real store."""

import numpy as np
import pytest

from data_contracts.schemas import PSEUDO_LABELS
from stages.conditional import examples, pseudo_labels
from stages.conditional.examples import Examples
from tests.stages.conditional_scenes import CONFIG, make_inputs, sample, share_of_truth, train
from wsis.engine.training import WEIGHTS_NAME, load_weights
from wsis.errors import InputError
from wsis.method.conditional.label_sets import SampleSet


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store, inputs = make_inputs(tmp_path_factory.mktemp("store"))
    return store, inputs, train(store, inputs)


def test_pretraining_moves_the_samples_to_the_objects(trained):
    store, inputs, weights = trained
    untrained = train(
        store, inputs, CONFIG.model_copy(update={"learning_rate": 1e-9, "pretrain_epochs": 0.1})
    )
    before = share_of_truth(sample(store, inputs, untrained))
    after = sample(store, inputs, weights)
    assert before < 0.3
    assert share_of_truth(after) > 0.7
    assert share_of_truth(sample(store, inputs, untrained, contour_weight=2.0)) > 0.7  # of true contours
    counts = after.manifest.counts
    assert counts["images"] == 12 and counts["samples_per_image"] == 4
    assert counts["images_with_an_unlabelled_class"] == 0


@pytest.mark.parametrize("terms, missing", [("U", True), ("U+P+H", False)])
def test_samples_that_leave_annotated_classes_out_are_said(trained, capsys, terms, missing):
    store, inputs, _ = trained
    untrained = CONFIG.model_copy(update={"terms": terms, "learning_rate": 1e-9, "pretrain_epochs": 0.1})
    labels = sample(store, inputs, train(store, inputs, untrained))
    sets = [
        (record["multiplicities"], np.diff(record["offsets"]) > 0)
        for _, record in labels.records(PSEUDO_LABELS)
    ]
    share = 1 - np.mean([np.average(named, weights=times) for times, named in sets])  # one class an image
    assert labels.manifest.counts["missing_class_share"] == pytest.approx(share)
    assert (share >= 0.25) == missing
    warned = f"warning: {100 * share:.0f} % of the annotated classes are missing in the samples"
    assert (warned in capsys.readouterr().err) == missing
    kept = labels.manifest.counts.get("warnings", [])
    assert any(line.startswith(warned.removeprefix("warning: ")) for line in kept) == missing


def test_samples_that_cover_whole_images_are_said(trained, monkeypatch):
    store, inputs, weights = trained
    said = "the samples cover nearly the whole image in most images of"
    assert not any(
        said in line for line in sample(store, inputs, weights).manifest.counts.get("warnings", [])
    )
    monkeypatch.setattr(pseudo_labels, "whole_images", lambda *of: {"red": 0.75, "blue": 0.5})
    counts = sample(store, inputs, weights, score_noise=0.05).manifest.counts
    assert counts["warnings"][0].startswith(f"{said} 'red' (75 %): ")
    assert counts["whole_images"] == {"red": 0.75, "blue": 0.5}


def test_noise_of_the_scores_makes_samples_differ_and_is_that_of_training_at_most(trained):
    store, inputs, weights = trained
    distinct = [
        sample(store, inputs, weights, score_noise=scale).manifest.counts["mean_distinct"]
        for scale in (0.0, CONFIG.score_noise, 100.0)
    ]
    assert distinct[0] < distinct[1] == distinct[2]
    plain = train(store, inputs, CONFIG.model_copy(update={"score_noise": 0.0, "pretrain_epochs": 1.0}))
    without, asked = (sample(store, inputs, plain, score_noise=scale) for scale in (0.0, 100.0))
    for image_id, record in asked.records(PSEUDO_LABELS):
        np.testing.assert_array_equal(
            record["proposal_ids"], without.records(PSEUDO_LABELS)[image_id]["proposal_ids"]
        )


def test_samples_of_an_image_do_not_depend_on_the_other_images(trained, tmp_path):
    store, inputs, weights = trained
    everything = sample(store, inputs, weights).records(PSEUDO_LABELS)
    _, fewer = make_inputs(tmp_path / "few", images=(9, 2))
    some = sample(store, fewer, weights).records(PSEUDO_LABELS)
    for image_id, record in some:
        for name, values in record.items():
            np.testing.assert_array_equal(values, everything[image_id][name])


def test_the_second_iteration_learns_from_detections(trained):
    store, inputs, weights = trained
    more = {"previous": weights, "train_predictions": inputs["train_predictions"]}
    second = train(store, inputs, iteration=2, **more)
    assert second.manifest.counts["targets"] == "detections"
    assert share_of_truth(sample(store, inputs, second, iteration=2)) > 0.5
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
    labels = sample(store, inputs, weights)
    for _, record in labels.records(PSEUDO_LABELS):
        assert (np.diff(record["offsets"]) == 1).all()
    assert share_of_truth(labels) > 0.5
    counts = labels.manifest.counts
    assert counts["boxes"] == counts["images"] and counts["boxes_without_label"] == []


def test_a_box_without_a_label_of_its_own_is_named():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], np.float32)
    record = {"boxes": boxes, "peaks": np.array([[1, 5, 5], [1, 5, 5], [2, 25, 25]], np.int32)}
    proposals = np.array([[0, 0, 10, 10], [0, 0, 11, 10], [20, 20, 29, 30]], np.float32)

    def missing(*samples):
        ids = np.concatenate([np.array(ids, np.int32) for ids, _ in samples])
        classes = np.concatenate([np.array(classes, np.int32) for _, classes in samples])
        ends = np.cumsum([0, *(len(ids) for ids, _ in samples)]).astype(np.int32)
        ones = np.ones(len(samples), np.int32)
        found = SampleSet(ones, ends, ids, classes, np.zeros(len(ids), np.float32))
        return pseudo_labels._boxes_without_label(found, record, proposals)

    assert missing(([0, 1, 2], [1, 1, 2])) == []
    assert missing(([0, 2], [1, 2])) == [1]  # one label is not that of two boxes
    assert missing(([0, 1, 2], [1, 1, 1])) == [2]  # another class
    assert missing(([0, 1, 2], [1, 1, 2]), ([0, 1], [1, 1])) == [2]  # in one sample of two


def test_a_box_without_a_detection_keeps_its_seed(tmp_path, monkeypatch):
    _, inputs = make_inputs(tmp_path, boxed=True)

    def least_cost_of_its_class(score):
        monkeypatch.setattr(examples, "_MIN_DETECTION_SCORE", score)
        _, problem = Examples(inputs, CONFIG, stride=4).build("im0")
        return float(problem.target_table[:, 1].min())

    # The detection's mask is about a proposal, and the seed's is one; the detection is sure to 14 of 15.
    assert -np.log(14 / 15) <= least_cost_of_its_class(0.5) < 0.1
    assert least_cost_of_its_class(0.95) == pytest.approx(0.0, abs=1e-4)


def test_one_sample_is_the_pointwise_network_in_training_and_in_its_labels(trained):
    """PW_c: no self-diversity, and no noise, so that the seed of the labels does not matter."""
    store, inputs, _ = trained
    weights = train(store, inputs, CONFIG.model_copy(update={"k": 1, "pretrain_epochs": 1.0}))
    assert weights.manifest.counts["last"]["div_cc"] == 0.0
    first, second = (sample(store, inputs, weights, seed=s).records(PSEUDO_LABELS) for s in (0, 1))
    for image_id, record in first:
        assert record["multiplicities"].tolist() == [1]
        np.testing.assert_array_equal(record["proposal_ids"], second[image_id]["proposal_ids"])


def test_no_training_image_is_named(tmp_path):
    store, inputs = make_inputs(tmp_path, images=())
    with pytest.raises(InputError, match="expected at least one training image"):
        train(store, inputs)
