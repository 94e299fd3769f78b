"""NetworkDetections, and the exported model in MMDetection's own hands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from wsis.errors import InputError, MissingWeightsError, NonFiniteError
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.paste import paste_masks
from wsis.method.prediction.checkpoints import encode_weights
from wsis.method.prediction.config import PredictionSpec, plain_config, training_config
from wsis.method.prediction.inference import Detector, load_detector
from wsis.method.prediction.merging import merge_tiles
from wsis.method.prediction.models import quiet_mmengine
from wsis.method.prediction.settings import PredictSettings
from wsis.method.prediction.training_objects import TrainingObjects

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs" / "mmdet").glob("*.py"))
LOW = PredictSettings(score_threshold=0.2)


@pytest.fixture
def weights(tiny_plain: Config, tmp_path: Path) -> Path:
    """Random weights that give boxes of every class."""
    quiet_mmengine()
    torch.manual_seed(1)
    model = MODELS.build(tiny_plain.copy().model)
    model.init_weights()
    state = model.state_dict()
    for name in ("roi_head.bbox_head.fc_cls.weight", "roi_head.mask_head.conv_logits.weight"):
        state[name] = state[name] * 40
    path = tmp_path / "weights.pth"
    path.write_bytes(encode_weights(state, tiny_plain.metainfo.classes))
    return path


@pytest.fixture
def detector(tiny_plain: Config, weights: Path) -> Detector:
    return load_detector(tiny_plain, weights)


def _same(a: NetworkDetections, b: NetworkDetections) -> bool:
    names = ("class_probabilities", "boxes", "masks", "labels", "scores")
    return a.size == b.size and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


def test_detections_are_as_documented(detector: Detector, synthetic_source: Any) -> None:
    found = detector.predict([synthetic_source.image(0)], LOW)[0]
    count = len(found.scores)
    assert count > 3 and len(set(found.labels.tolist())) > 1
    assert found.class_probabilities.dtype == np.float32 and found.class_probabilities.shape == (count, 4)
    assert found.class_probabilities.sum(1) == pytest.approx(np.ones(count), abs=1e-5)
    assert np.array_equal(found.scores, found.class_probabilities[np.arange(count), found.labels])
    assert (np.diff(found.scores) <= 0).all() and (found.scores > 0.2).all()
    assert found.masks.shape == (count, 28, 28) and found.masks.dtype == np.uint8
    assert found.labels.dtype == np.int32 and found.boxes.dtype == np.float32
    height, width = found.size
    assert (found.size == (96, 64)) and (found.boxes >= 0).all()
    assert (found.boxes[:, 2] <= width).all() and (found.boxes[:, 3] <= height).all()


def test_results_do_not_depend_on_the_company(detector: Detector, synthetic_source: Any) -> None:
    images = [synthetic_source.image(i) for i in range(5)]
    alone = [detector.predict([image], LOW)[0] for image in images]
    together = detector.predict(images, LOW)
    assert all(_same(a, b) for a, b in zip(alone, together, strict=True))
    batched = detector.predict(images, LOW, batch_size=4)
    for a, b in zip(alone, batched, strict=True):
        assert a.labels.tolist() == b.labels.tolist()
        assert np.allclose(a.boxes, b.boxes, atol=1e-2) and np.allclose(a.scores, b.scores, atol=1e-4)


def test_the_export_is_loaded_by_mmdetection_with_equal_results(
    tiny_plain: Config, weights: Path, detector: Detector, synthetic_source: Any, tmp_path: Path
) -> None:
    exported = tmp_path / "model.py"
    tiny_plain.dump(str(exported))
    model = init_detector(str(exported), str(weights), device="cpu")
    assert tuple(model.dataset_meta["classes"]) == ("square", "disc", "bar")
    assert type(model.roi_head).__name__ == "StandardRoIHead"
    image = synthetic_source.image(1)
    theirs = inference_detector(model, np.ascontiguousarray(image[..., ::-1])).pred_instances
    ours = detector.predict([image])[0]
    assert len(ours.scores) == len(theirs.scores) > 3
    assert ours.scores == pytest.approx(theirs.scores.numpy(), abs=1e-5)
    assert (ours.labels - 1).tolist() == theirs.labels.tolist()
    assert ours.boxes == pytest.approx(theirs.bboxes.numpy(), abs=1e-3)
    pasted = paste_masks(ours.masks, ours.boxes, ours.size)
    differing = (pasted != theirs.masks.numpy()).mean()  # soft masks are rounded to 8 bits
    assert differing < 0.002 and pasted.any()


def test_thresholds_and_limits_are_the_settings(detector: Detector, synthetic_source: Any) -> None:
    image = synthetic_source.image(0)
    everything = detector.predict(
        [image], PredictSettings(score_threshold=0.0, nms_iou=0.99, max_detections=1000)
    )[0]
    few = detector.predict([image], PredictSettings(score_threshold=0.0, nms_iou=0.99, max_detections=5))[0]
    strict = detector.predict(
        [image], PredictSettings(score_threshold=0.3, nms_iou=0.3, max_detections=1000)
    )[0]
    assert len(few.scores) == 5 and np.array_equal(few.scores, everything.scores[:5])
    own = detector.model.roi_head.test_cfg  # type: ignore[union-attr]
    assert own.max_per_img == 100 and len(everything.scores) > 130  # type: ignore[union-attr]
    for limit in (130, 100):  # where nothing is said, what the model has from its training
        own.max_per_img = limit  # type: ignore[union-attr]
        free = detector.predict([image], PredictSettings(score_threshold=0.0, nms_iou=0.99))[0]
        assert np.array_equal(free.scores, everything.scores[:limit])
    assert 0 < len(strict.scores) < (everything.scores > 0.3).sum()


def test_an_image_that_fits_gives_the_same_bytes_with_tiles_as_without(
    detector: Detector, synthetic_source: Any
) -> None:
    objects = TrainingObjects.of(synthetic_source, detector.fits)
    chooses = replace(detector, objects=objects)
    images = [synthetic_source.image(i) for i in range(3)]
    plain = detector.predict(images, LOW)
    for settings in ({"tiles": "auto"}, {"tiles": 500}):
        again = chooses.predict(images, LOW.model_copy(update=settings))
        assert all(_same(a, b) for a, b in zip(plain, again, strict=True))


def test_a_long_image_is_looked_at_in_tiles(detector: Detector, synthetic_source: Any) -> None:
    image = np.concatenate([synthetic_source.image(i) for i in (1, 2, 4, 5) * 2], axis=1)  # 64 x 768
    chooses = replace(detector, objects=TrainingObjects.of(synthetic_source, detector.fits))
    auto = LOW.model_copy(update={"tiles": "auto"})
    tiling = chooses.tiling((64, 768), auto)
    assert (
        len(tiling.windows) > 8
        and "because shrunk to 96 x 8 a quarter of its objects would be under" in tiling.said()
    )
    found, whole = chooses.predict([image], auto)[0], chooses.predict([image], LOW)[0]
    assert found.size == (64, 768) and len(found) > 2 * len(whole)
    assert (np.diff(found.scores) <= 0).all() and (found.boxes <= [768, 64, 768, 64]).all()
    assert _same(found, chooses.predict([synthetic_source.image(0), image], auto)[1])
    windows = [*tiling.windows, (0, 0, 64, 768)]
    parts = [detector.predict([image[t:b, x:r]], LOW)[0] for t, x, b, r in windows]
    longer = (parts[-1].boxes[:, 2:] - parts[-1].boxes[:, :2]).max(axis=1, initial=0) > tiling.overlap
    assert _same(found, merge_tiles([*parts[:-1], parts[-1].take(longer)], windows, tiling, 0.5))


def test_an_image_is_looked_at_at_another_size(detector: Detector, synthetic_source: Any) -> None:
    image = synthetic_source.image(1)  # 64 x 96, at 96
    at = LOW.model_copy(update={"size": 192})
    larger = detector.predict([image], at)[0]
    assert not _same(larger, detector.predict([image], LOW)[0])
    doubled = np.asarray(Image.fromarray(image).resize((192, 128), Image.Resampling.BILINEAR))
    twice = replace(detector, pipeline=detector._sized(at).pipeline).predict([doubled], LOW)[0]
    assert abs(len(larger) - len(twice)) <= 2 and larger.size == (
        64,
        96,
    )  # OpenCV and Pillow differ in a grey or two
    assert _same(
        detector.predict([image], LOW.model_copy(update={"size": 96}))[0], detector.predict([image], LOW)[0]
    )


def test_a_config_carries_the_sizes_of_training_objects(tiny_plain: Config, weights: Path) -> None:
    objects = TrainingObjects(
        smallest=8, quarter=12, longest=40, shorter_side=64, pixel_scale=1, keeps_pixels=False
    )
    exported = Config({**tiny_plain.to_dict(), "training_objects": objects.model_dump()})
    assert load_detector(exported, weights).objects == objects
    assert load_detector(tiny_plain, weights).objects is None


def test_an_image_without_detections(detector: Detector) -> None:
    found = detector.predict([np.zeros((10, 300, 3), np.uint8)], PredictSettings(score_threshold=1.0))[0]
    assert found.boxes.shape == (0, 4) and found.class_probabilities.shape == (0, 4)
    assert found.masks.shape == (0, 28, 28) and found.size == (10, 300)
    assert detector.predict([]) == []
    with pytest.raises(InputError, match="image 0: 1 x 900 pixels cannot be resized"):
        detector.predict([np.zeros((1, 900, 3), np.uint8)])


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (0, 10, 3)])
def test_other_arrays_are_refused(shape: tuple[int, ...], detector: Detector) -> None:
    with pytest.raises(InputError, match=r"image 0: expected RGB uint8 \[H, W, 3\]"):
        detector.predict([np.zeros(shape, np.uint8)])


def test_a_network_of_nan_is_reported(detector: Detector, synthetic_source: Any) -> None:
    with torch.no_grad():
        detector.model.roi_head.bbox_head.fc_cls.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(NonFiniteError, match="not finite"):
        detector.predict([synthetic_source.image(0)])


def test_weights_and_config_must_fit(tiny_config: Path, weights: Path) -> None:
    other = plain_config(tiny_config, PredictionSpec(("a", "b", "c"), (96, 96), 0.5))
    with pytest.raises(InputError, match=r"expected the run's classes \['a', 'b', 'c'\], got \['square'"):
        load_detector(other, weights)
    with pytest.raises(InputError, match="asks for 'cuda:9'"):
        load_detector(other, weights, device="cuda:9")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(MissingWeightsError, match="truncated"):
        load_detector(other, weights)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_with_the_runs_classes(path: Path) -> None:
    spec = PredictionSpec(("cat", "dog"), (640, 400), 0.5)
    plain = plain_config(path, spec)
    assert plain.model.roi_head.bbox_head.num_classes == plain.model.roi_head.mask_head.num_classes == 2
    assert plain.test_pipeline[1].scale == (640, 400)
    quiet_mmengine()
    model = MODELS.build(training_config(plain, spec).model)
    assert model.roi_head.bbox_head.fc_cls.out_features == 3
    assert model.roi_head.self_diversity == 0.5
    assert type(model.rpn_head.sampler).__name__ == "PseudoLabelSampler"


def test_bad_configs_are_named(tmp_path: Path) -> None:
    spec = PredictionSpec(("cat",), (64, 64), 0.5)
    with pytest.raises(InputError, match=r"no file .*absent\.py"):
        plain_config(tmp_path / "absent.py", spec)
    one_stage = tmp_path / "one_stage.py"
    one_stage.write_text("model = dict(type='RetinaNet', backbone=dict(type='ResNet', depth=18))")
    with pytest.raises(
        InputError, match="expected a two-stage detector, got a model without rpn_head, roi_head"
    ):
        plain_config(one_stage, spec)
    one_stage.write_text("model = (")
    with pytest.raises(InputError, match="SyntaxError"):
        plain_config(one_stage, spec)
    with pytest.raises(InputError, match="at least one class"):
        plain_config(CONFIGS[0], PredictionSpec((), (64, 64), 0.5))
    cascade = Config(plain_config(CONFIGS[0], spec).to_dict())
    cascade.model.roi_head.type = "PointRendRoIHead"
    with pytest.raises(InputError, match="PointRendRoIHead: self-diversity is built for StandardRoIHead"):
        training_config(cascade, spec)
