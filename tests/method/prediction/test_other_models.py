"""Other two-stage mask models of MMDetection in Mask R-CNN's place, by config; and those that cannot be."""

from pathlib import Path
from typing import Any

import mmdet
import numpy as np
import pytest
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config

from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, DETECTIONS
from stages.prediction import prediction, predictions
from tests.method.prediction.stored_labels import FakeArtefact, context, make_inputs
from wsis.engine.stage import Execution
from wsis.errors import InputError
from wsis.views.dataset import read_image

OWN = Path(mmdet.__file__).parent / ".mim" / "configs"


def _shrunk(source: str, path: Path) -> Path:
    """A config of MMDetection's own with few channels."""
    config = Config.fromfile(str(OWN / source))
    model = config.model
    model.backbone.update(depth=18, base_channels=8, frozen_stages=-1)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        extractor.out_channels = 16
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.update(in_channels=16, fc_out_channels=32)
    model.roi_head.mask_head.update(num_convs=1, in_channels=16, conv_out_channels=16)
    if "mask_iou_head" in model.roi_head:
        model.roi_head.mask_iou_head.update(in_channels=16, conv_out_channels=16, fc_out_channels=32)
    Config({"model": model}).dump(str(path))
    return path


def _config(model: Path, **changes: Any) -> prediction.Config:
    small: dict[str, Any] = dict(pretrained=None, image_size=96, steps=2, batch_size=2, warmup_steps=1)
    return prediction.Config(model=str(model), data_workers=0, **small, **changes)


# MMDetection's own prediction of a cascade copies a tensor in a way that torch warns of
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")
@pytest.mark.parametrize(
    ("source", "equal"),
    [
        ("_base_/models/cascade-mask-rcnn_r50_fpn.py", True),
        ("ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py", False),  # its scores are the classes' times the masks' quality
    ],
)
def test_trains_predicts_and_is_plain_mmdetection(source: str, equal: bool, tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    config = _config(_shrunk(source, tmp_path / "model.py"), self_diversity=0)
    assert prediction.STAGE.check is not None
    prediction.STAGE.check(config, Execution())
    trained = context(tmp_path / "trained", 1)
    prediction.run(inputs, config, trained)
    assert trained.counts["last"]["step"] == 2 and np.isfinite(trained.counts["last"]["loss"])

    network = FakeArtefact(trained.workdir)
    found = context(tmp_path / "found", 1, "predictions")
    settings = predictions.Config(split="train", score_threshold=0.05, max_detections=20)
    predictions.run({"dataset": inputs["dataset"], "prediction": network}, settings, found)
    records = RecordReader(found.workdir, DETECTIONS)
    record = records["a"]
    assert record["masks"].shape[1:] == (28, 28) and record["class_probabilities"].shape[1] == 3

    model = init_detector(str(network.file("model.py")), str(network.file("weights.pth")), device="cpu")
    image = read_image(RecordReader(inputs["dataset"].path, DATASET), "a")
    theirs = inference_detector(model, np.ascontiguousarray(image[..., ::-1])).pred_instances[:20]
    assert len(theirs) == len(record["scores"]) > 0
    if equal:
        assert record["scores"] == pytest.approx(theirs.scores.numpy(), abs=1e-4)
        assert record["boxes"] == pytest.approx(theirs.bboxes.numpy(), abs=1e-2)


def test_self_diversity_is_for_mask_r_cnn_alone(tmp_path: Path) -> None:
    model = _shrunk("_base_/models/cascade-mask-rcnn_r50_fpn.py", tmp_path / "model.py")
    check = prediction.STAGE.check
    assert check is not None
    with pytest.raises(
        InputError, match="CascadeRoIHead: self-diversity is built for StandardRoIHead; use self_diversity=0"
    ):
        check(_config(model), Execution())
    check(_config(model, self_diversity=0), Execution())


def test_what_cannot_predict_is_refused_before_training(tmp_path: Path) -> None:
    check = prediction.STAGE.check
    assert check is not None
    path = _shrunk("_base_/models/mask-rcnn_r50_fpn.py", tmp_path / "model.py")
    config = Config.fromfile(str(path))
    config.model.roi_head.mask_head.upsample_cfg = dict(type=None)
    config.dump(str(path))
    with pytest.raises(InputError, match=r"mask_head: expected masks 28 x 28, got \(14, 14\)"):
        check(_config(path), Execution())
    config.model.train_cfg.rcnn = [config.model.train_cfg.rcnn]
    config.model.roi_head.update(type="HybridTaskCascadeRoIHead", num_stages=1, stage_loss_weights=[1])
    config.model.roi_head.mask_head = dict(
        config.model.roi_head.mask_head, type="HTCMaskHead", with_conv_res=False
    )
    config.dump(str(path))
    with pytest.raises(
        InputError, match=r"roi_head: expected a StandardRoIHead .* got HybridTaskCascadeRoIHead"
    ):
        check(_config(path, self_diversity=0), Execution())
