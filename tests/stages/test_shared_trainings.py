"""The classifier and the conditional network trained by two processes (gloo, CPU) are those trained by one."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data_contracts.schemas import DATASET
from data_contracts.store import Store
from stages.conditional import conditional
from stages.conditional.examples import Examples
from stages.prm import prm_classifier
from tests.method.prediction.stored_labels import FakeArtefact
from tests.records import image_record
from tests.stages.conditional_scenes import CONFIG, make_inputs
from tests.stages.test_prm_stages import SMALL, GivenConfig, _write_dataset, do, given
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.engine.training import CURVE_NAME, WEIGHTS_NAME, load_weights
from wsis.method.dissimilarity.network_inputs import image_batch, resized

FAR, FAR_IN_THE_MEAN = 1e-4, 1e-6
"""Distance of a weight after a dozen steps of at most 1e-3: float32 added up in another order. Adam makes much of it
where a gradient is nearly zero."""


def trained(store, stage, config, inputs, processes, iteration=None):
    """The artefact of so many processes."""
    one = Execution(device="cpu", threads=1, workers=1)
    shared = config.model_copy(update={"processes": processes})
    return execute(stage, shared, inputs, store, 0, iteration, one, Progress(quiet=True)).artefact


def assert_equal(one, two):
    weights, others = (load_weights(artefact.file(WEIGHTS_NAME)) for artefact in (one, two))
    assert weights.keys() == others.keys()
    distances = torch.cat([(weights[k].double() - others[k].double()).abs().flatten() for k in weights])
    assert distances.max() < FAR and distances.mean() < FAR_IN_THE_MEAN
    curves = [json.loads(artefact.file(CURVE_NAME).read_text()) for artefact in (one, two)]
    assert curves[1] == [pytest.approx(point, rel=1e-4, abs=1e-5) for point in curves[0]]
    assert one.fingerprint != two.fingerprint
    assert two.manifest.config == {**one.manifest.config, "processes": 2}


def test_the_conditional_network(tmp_path):
    store, inputs = make_inputs(tmp_path, images=range(16))
    inputs = {name: inputs[name] for name in ("dataset", "proposals", "prm_seeds")}
    config = CONFIG.model_copy(update={"pretrain_epochs": 4.0})
    one, two = (trained(store, conditional.STAGE, config, inputs, n, 1) for n in (1, 2))
    assert_equal(one, two)
    counts = [artefact.manifest.counts for artefact in (one, two)]
    assert counts[0]["held_back_images"] == counts[1]["held_back_images"] == 4
    assert counts[0]["best_step"] == counts[1]["best_step"]
    assert counts[0]["best_held_back"] == pytest.approx(counts[1]["best_held_back"], abs=1e-5)


def test_the_classifier(tmp_path):
    store = Store(tmp_path)
    dataset = do(store, given("dataset", _write_dataset), GivenConfig(train=43))
    config = prm_classifier.Config(**{**SMALL, "epochs": 1.0})
    one, two = (trained(store, prm_classifier.STAGE, config, {"dataset": dataset}, n) for n in (1, 2))
    assert_equal(one, two)
    held = [json.loads(artefact.file("held_back.json").read_text()) for artefact in (one, two)]
    assert held[0] == held[1] and len(held[0]["image_ids"]) == 2


def test_a_part_of_a_batch_is_padded_as_the_whole():
    """Normalisation over an image's area sees the padding."""
    wide, high = (torch.full((3, *size), 7, dtype=torch.uint8) for size in ((32, 64), (64, 32)))
    whole = image_batch([wide, high], [False, True])
    assert torch.equal(image_batch([high], [True], (64, 64)), whole[1:])


def test_sizes_of_a_batch_are_known_without_its_images(tmp_path):
    _, inputs = make_inputs(tmp_path / "store")
    pixels = {"wide": np.zeros((40, 96, 3), np.uint8), "high": np.zeros((96, 50, 3), np.uint8)}
    records = {name: image_record(image, f"{name}.png") for name, image in pixels.items()}
    mixed = {**inputs, "dataset": FakeArtefact.of(tmp_path / "mixed", DATASET, records)}
    largest = Examples(mixed, CONFIG, stride=4).largest
    for ids in (["wide"], ["high"], ["wide", "high"]):
        batch = image_batch([resized(pixels[i], CONFIG.image_size) for i in ids], [False] * len(ids))
        assert largest(ids) == tuple(batch.shape[2:])
    assert largest(["wide", "high"]) == (64, 64)


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ValidationError, match=r"batch_size: expected a multiple of processes \(3\), got 16"):
        prm_classifier.Config(processes=3)
    with pytest.raises(ValidationError, match=r"processes: expected 1 with batch_norm: train.*got 2"):
        conditional.Config(processes=2, batch_norm="train")
