"""The model made to fit the training objects: chosen once, said, stored, exported, kept by later iterations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from data_contracts.manifest import Manifest
from stages.prediction import prediction
from stages.prediction.fit import COUNT, FITTED, Fit, fit_before, fitted
from stages.prediction.settings import PredictionConfig, config_file
from stages.prediction.training import MODEL_JSON_NAME, content_digest, train_network
from tests.method.prediction.conftest import tiny_config as tiny_config
from tests.method.prediction.stored_labels import FakeArtefact, context, make_inputs
from tests.method.prediction.synthetic_source import SyntheticSource
from wsis.engine.training import CURVE_NAME
from wsis.method.prediction.config import from_json, plain_config
from wsis.method.prediction.data.training_images import ImageInstances


def squares(side: int, number: int) -> SyntheticSource:
    """Images of 64 x 96 or 96 x 64 with so many squares."""

    def make(index: int) -> ImageInstances:
        size = (64, 96) if index % 3 else (96, 64)
        masks = np.zeros((number, *size), bool)
        for n in range(number):
            masks[n, n % 30 : n % 30 + side, n % 20 : n % 20 + side] = True
        return ImageInstances(masks, np.ones(number, int), np.ones((number, 1), np.float32))

    return SyntheticSource(make, count=2)


CONFIG = PredictionConfig(pretrained=None, image_size=96, batch_size=2, data_workers=0)


@pytest.mark.parametrize(
    ("side", "number", "model", "detections"),
    [(40, 2, 0, 100), (16, 2, 1, 100), (7, 2, 2, 100), (40, 90, 0, 200), (40, 900, 0, 500)],
)
def test_anchors_follow_the_sizes_and_the_limit_the_number(
    side: int, number: int, model: int, detections: int
) -> None:
    fit = fitted(CONFIG, squares(side, number))
    assert (fit.model, fit.detections) == (FITTED[model], detections)
    assert list(fit.grounds["reached"]) == list(FITTED[: model + 1])
    assert fit.grounds["median_side"] == side and fit.grounds["most_objects"] == number
    assert FITTED[model] in fit.said() and f"at most {detections} detections" in fit.said()


def test_a_users_model_is_left_alone(tiny_config: Path) -> None:
    for model in (str(tiny_config), FITTED[1]):
        own = CONFIG.model_copy(update={"model": model})
        assert fitted(own, squares(7, 900)) == Fit(model) and not Fit(model).counts()
        assert fit_before({f"{COUNT}_model": FITTED[2], f"{COUNT}_detections": 300}, own) == Fit(model)


def test_limits_rise_with_the_detections_and_never_fall() -> None:
    for detections, limits in ((50, (100, 100, 300, 150)), (300, (300, 300, 900, 150))):
        model = plain_config(config_file(FITTED[0]), Fit(FITTED[0], detections).spec(CONFIG, ("a",))).model
        regions = model.test_cfg.rpn, model.train_cfg.rpn_proposal
        found = model.test_cfg.rcnn.max_per_img, *(part.max_per_img for part in regions)
        assert (found[0], found[1], regions[0].nms_pre, found[2]) == limits


def test_later_iterations_keep_the_choice_with_the_weights() -> None:
    first = fitted(CONFIG, squares(7, 90))
    assert fit_before(first.counts(), CONFIG) == first
    assert fit_before({}, CONFIG) == Fit(FITTED[0])  # made before there was a choice


def test_the_choice_is_stored_and_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []

    def shared(work: Any, given: Any, processes: int) -> None:
        trained.append(work)
        (given.workdir / CURVE_NAME).write_text("[{}]")

    monkeypatch.setattr("stages.prediction.training.run_shared", shared)
    given = context(tmp_path / "run", 1)
    train_network(squares(7, 90), CONFIG, 1, given)
    assert given.counts[f"{COUNT}_model"] == FITTED[2] and given.counts[f"{COUNT}_detections"] == 200
    TypeAdapter(Manifest.model_fields["counts"].annotation).validate_python(given.counts)
    model = from_json((given.workdir / MODEL_JSON_NAME).read_text()).model
    assert model.rpn_head.anchor_generator.strides == [4, 8, 16, 32, 64]
    assert model.test_cfg.rcnn.max_per_img == 200
    assert trained[0].args[1].model == FITTED[2]


def test_an_iteration_reads_the_choice_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    chosen = fitted(CONFIG, squares(7, 90))
    previous = FakeArtefact(tmp_path / "previous")
    previous.manifest.counts.update(chosen.counts())
    seen: dict[str, Any] = {}
    monkeypatch.setattr(prediction, "train_network", lambda *given, **named: seen.update(named))
    prediction.run(inputs | {"previous": previous}, CONFIG, context(tmp_path / "second", 2))
    assert seen["fit"] == chosen
    prediction.run(inputs, CONFIG, context(tmp_path / "first", 1))
    assert seen["fit"] is None


def test_every_config_that_may_be_chosen_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def digest(path: Path) -> str:
        read.append(path.stem)
        return "0"

    monkeypatch.setattr("wsis.method.prediction.config.config_digest", digest)
    content_digest(CONFIG)
    content_digest(CONFIG.model_copy(update={"model": FITTED[1]}))
    assert read == [*FITTED, FITTED[1]]
