"""Training of the conditional network: held-back images, precision, errors by name, diversity of the samples."""

import json
from itertools import chain

import numpy as np
import pytest
import torch

from data_contracts.schemas import PROPOSALS, PSEUDO_LABELS
from stages.conditional import conditional
from stages.conditional.examples import Examples
from stages.conditional.training import Trainer, trained_config
from tests.stages.conditional_scenes import CONFIG, ambiguous, make_inputs, sample, scene, train
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext
from wsis.engine.training import CURVE_NAME, WEIGHTS_NAME, load_weights, seed_everything
from wsis.errors import InputError, NonFiniteError
from wsis.method.conditional.architectures import build_network
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.conditional.network import ConditionalNetwork

HELD = CONFIG.model_copy(update={"pretrain_epochs": 8.0})  # 24 steps, validated after 8, 16, 24
SHORT = CONFIG.model_copy(update={"pretrain_epochs": 1.0})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("store"), images=range(16))


@pytest.fixture(scope="module")
def held(data):
    return train(*data, HELD)


def trainer_of(inputs, path, config=HELD, iteration=1, weights=None):
    network = build_network(config, 2)
    if weights is not None:
        network.load_state_dict(load_weights(weights.file(WEIGHTS_NAME)))
    one = Execution(device="cpu", threads=1)
    context = StageContext(path, 0, iteration, one, Progress(quiet=True), "conditional")
    of_seeds = {name: inputs[name] for name in ("dataset", "proposals", "prm_seeds")}
    return Trainer(network, Examples(of_seeds, config, network.extractor.stride), config, context)


def curve_of(artefact):
    return json.loads(artefact.file(CURVE_NAME).read_text())


def test_the_weights_of_the_best_validation_are_kept(data, held, tmp_path):
    counts = held.manifest.counts
    values = {point["step"]: point["held_back"] for point in curve_of(held) if "held_back" in point}
    assert list(values) == [8, 16, 24]
    assert (counts["images"], counts["held_back_images"], counts["steps"]) == (12, 4, 24)
    kept = trainer_of(data[1], tmp_path, weights=held).validate()
    assert len(kept) == 4
    assert counts["best_held_back"] == values[counts["best_step"]] == pytest.approx(np.mean(kept))
    assert not counts["stopped_early"]
    assert all(0 <= point["reach"] <= 1 for point in curve_of(held))


def test_held_back_images_are_not_learned_from_rotate_and_get_pseudo_labels(data, held, tmp_path):
    turns = []
    for iteration in (1, 2, 3, 4, 5):
        trainer = trainer_of(data[1], tmp_path, iteration=iteration)
        seen = {image for step in range(trainer.steps) for image in trainer.make.order(step)}
        assert seen == set(trainer.train_ids) and len(seen) == 12
        assert not seen & set(trainer.held_back_ids)
        turns.append(trainer.held_back_ids)
    assert sorted(chain(*turns[:4])) == sorted(f"im{i}" for i in range(16))
    assert turns[4] == turns[0]
    labels = sample(*data, held)
    assert len(labels.records(PSEUDO_LABELS).ids) == 16


def test_validation_changes_nothing_and_is_the_same_every_time(data, tmp_path):
    trainer = trainer_of(data[1], tmp_path)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    torch.manual_seed(1)
    first = trainer.validate()
    torch.manual_seed(2)
    assert trainer.validate() == first
    assert all(torch.equal(before[name], value) for name, value in trainer.network.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.network.parameters())


def test_a_small_data_set_is_trained_for_the_least_steps_through_as_many_epochs_as_it_takes(data, tmp_path):
    few = trainer_of(data[1], tmp_path, SHORT)
    assert few.steps == 3  # 12 images, 4 a step
    least = SHORT.model_copy(update={"min_pretrain_steps": 7, "min_steps": 100})
    trainer = trainer_of(data[1], tmp_path, least)
    assert trainer.steps == 7
    seen = [image for step in range(7) for image in trainer.make.order(step)]
    assert seen[:12] == [image for step in range(3) for image in few.make.order(step)]
    assert min(seen.count(image) for image in set(seen)) == 2
    assert trainer_of(data[1], tmp_path, SHORT.model_copy(update={"min_pretrain_steps": 2})).steps == 3


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [12, 18])
def test_stopped_and_resumed_is_the_same_bit_by_bit(step, held, tmp_path, monkeypatch):
    store, inputs = make_inputs(tmp_path, images=range(16))

    def stopping(*key):
        if key[2:] == (step,):
            raise Stop
        seed_everything(*key)

    with monkeypatch.context() as patch:
        patch.setattr("wsis.engine.training.seed_everything", stopping)
        with pytest.raises(Stop):
            train(store, inputs, HELD, checkpoint_seconds=1e-6)
    resumed = train(store, inputs, HELD, checkpoint_seconds=1e-6)
    assert resumed.fingerprint == held.fingerprint
    assert resumed.manifest.files == held.manifest.files
    assert resumed.manifest.counts == held.manifest.counts


def test_a_trapped_network_is_named(data, capsys):
    """Scores so far apart that no loss-augmented inference changes anything, and no penalty pulls them back."""
    apart = {"temperature": 1e6, "score_noise": 0.0, "reach_weight": 0.0}
    artefact = train(*data, HELD.model_copy(update=apart))
    assert capsys.readouterr().err.count("loss-augmented inference changed only") == 1
    assert artefact.manifest.counts["last"]["reach"] < 0.1


def test_few_images_none_is_held_back(tmp_path, capsys):
    store, inputs = make_inputs(tmp_path, images=range(5))
    artefact = train(store, inputs, SHORT)
    assert artefact.manifest.counts["held_back_images"] == 0
    assert "best_step" not in artefact.manifest.counts
    assert "no image is held back" in capsys.readouterr().err


# -- precision, checkpointing, errors ---------------------------------------------------------------------------
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_and_samples(precision, data):
    full = train(*data, SHORT)
    mixed = train(*data, SHORT.model_copy(update={"precision": precision}))
    assert mixed.fingerprint != full.fingerprint
    assert trained_config(mixed).precision == precision
    weights, expected = (load_weights(a.file(WEIGHTS_NAME)) for a in (mixed, full))
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert any(not torch.equal(weights[name], expected[name]) for name in weights)
    assert curve_of(mixed)[0]["div_pc"] == pytest.approx(curve_of(full)[0]["div_pc"], rel=0.2)
    assert sample(*data, mixed).manifest.counts["images"] == 16


def test_checkpointing_gives_the_same_artefact(data, tmp_path):
    kept = train(*data, SHORT)
    store, inputs = make_inputs(tmp_path, images=range(16))
    again = train(store, inputs, SHORT.model_copy(update={"checkpointing": True}))
    assert again.fingerprint == kept.fingerprint
    assert again.manifest.files == kept.manifest.files


def test_what_changes_the_result_changes_the_identity():
    assert CONFIG.model_copy(update={"checkpointing": True}).identity() == CONFIG.identity()
    for change in ({"precision": "bfloat16"}, {"held_back": 0.2}):
        assert CONFIG.model_copy(update=change).identity() != CONFIG.identity()


def test_checkpointing_of_a_resnet_is_refused_before_training():
    config = CONFIG.model_copy(update={"architecture": "resnet18", "stride": 16, "checkpointing": True})
    with pytest.raises(InputError, match="checkpointing: unet and lite_unet offer it, backbones do not"):
        conditional.STAGE.check(config, Execution())


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_features_that_are_not_finite_name_stage_step_and_image(value, data, held, tmp_path, monkeypatch):
    original = ConditionalNetwork.features

    def features(network, images):
        found = original(network, images).clone()
        found[-1, :, 5, 5] = value
        return found

    last = trainer_of(data[1], tmp_path).make.order(0)[3]
    monkeypatch.setattr(ConditionalNetwork, "features", features)
    with pytest.raises(
        NonFiniteError, match=rf"^conditional@1: step 0: image {last}: .*feature is NaN or inf"
    ):
        train(*data, SHORT.model_copy(update={"gamma": 0.4}))
    with pytest.raises(NonFiniteError, match=r"feature is NaN or inf.*--set conditional.precision=bfloat16$"):
        train(*data, SHORT.model_copy(update={"gamma": 0.4, "precision": "float16"}))
    first = trainer_of(data[1], tmp_path).held_back_ids[0]
    with pytest.raises(NonFiniteError, match=rf"^conditional@1: held-back images: image {first}: "):
        trainer_of(data[1], tmp_path).validate()
    with pytest.raises(NonFiniteError, match=r"^pseudo_labels: image im0: .*feature is NaN or inf"):
        sample(*data, held, score_noise=0.01)


# -- diversity --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def uncertain(tmp_path_factory):
    store, inputs = make_inputs(tmp_path_factory.mktemp("uncertain"), images=range(16), of_scene=ambiguous)
    config = CONFIG.model_copy(update={"pretrain_epochs": 16.0, "k": 10})
    return store, inputs, train(store, inputs, config)


def test_noise_gives_several_samples_where_the_image_leaves_it_open(uncertain):
    several = [record["distinct"][0] > 1 for _, record in sample(*uncertain).records(PSEUDO_LABELS)]
    assert np.mean(several) > 0.5


def test_stored_diversity_equals_a_plain_reading_of_the_masks(uncertain):
    labels = sample(*uncertain)
    proposals = uncertain[1]["proposals"].records(PROPOSALS)
    distances, counts = [], labels.manifest.counts
    for image_id, record in labels.records(PSEUDO_LABELS):
        samples, superpixels = SampleSet.from_record(record), proposals[image_id]["superpixels"]
        bits = np.unpackbits(proposals[image_id]["membership_bits"], axis=1, bitorder="little").astype(bool)
        maps = []
        for index, times in enumerate(record["multiplicities"].tolist()):
            ids, classes, _ = samples.unique(index)
            layers = np.zeros((3, *superpixels.shape), bool)
            for proposal, name in zip(ids, classes, strict=True):
                layers[name] |= bits[proposal][superpixels]
            maps += [layers] * times
        pairs = [(a, b) for a in range(10) for b in range(10) if a != b]
        plain = np.mean([1 - (maps[a] & maps[b]).sum() / (maps[a] | maps[b]).sum() for a, b in pairs])
        assert record["diversity"][0] == pytest.approx(plain, abs=1e-5)
        assert record["distinct"][0] == len(record["multiplicities"])
        distances.append(plain)
    assert counts["mean_distance"] == pytest.approx(np.mean(distances), abs=1e-5)
    assert counts["images_with_one_distinct_sample"] == sum(d == 0 for d in distances)


def test_scenes_of_the_tests_are_what_they_say():
    image, name, truth, other = ambiguous(3)
    assert name == 2 and truth[1] != other[1]
    assert (image[truth[0] * 8 + 4, truth[1] * 8 + 4] == image[other[0] * 8 + 4, other[1] * 8 + 4]).all()
    assert len(scene(3)) == 3
