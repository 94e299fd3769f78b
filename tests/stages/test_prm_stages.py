"""The three PRM stages on a few small pictures: real store, real artefacts, killed and resumed."""

import json

import numpy as np
import pytest
import torch

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import BOXES, DATASET, PROPOSAL_DETECTIONS, PROPOSALS, SEEDS
from data_contracts.store import Store
from stages.prm import prm_baseline, prm_classifier, prm_seeds
from tests.records import image_record, proposals_of
from wsis.engine import batches
from wsis.engine.per_image import write_records
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, Stage, StageConfig, execute
from wsis.engine.training import load_weights
from wsis.errors import MissingWeightsError
from wsis.method.masks.superpixels import adjacency
from wsis.method.prm.augmentation import resize_for_inference
from wsis.method.prm.classifier import ClassifierSpec
from wsis.method.prm.peak_backprop import PeakBackpropagation
from wsis.method.prm.seeds import SeedConfig, generate_seeds

QUIET = Progress(quiet=True)
ONE = Execution(device="cpu", workers=1, threads=1, checkpoint_seconds=1e-6)
SMALL = {
    "image_size": 64,
    "test_size": 64,
    "batch_size": 4,
    "epochs": 4.0,
    "warmup_steps": 2,
}
SIZE = (48, 60)


def picture(number: int) -> tuple[np.ndarray, int, np.ndarray]:
    """A red (class 1) or blue (class 2) square on noise: pixels, class, box."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(60, 120, (*SIZE, 3), dtype=np.uint8)
    label, row, column = 1 + number % 2, int(rng.integers(20)), int(rng.integers(30))
    pixels[row : row + 24, column : column + 24] = (220, 30, 30) if label == 1 else (30, 30, 220)
    return pixels, label, np.array([[column, row, column + 24, row + 24]], np.float32)


def dataset_record(number: int, split: str) -> dict[str, np.ndarray]:
    pixels, label, _ = picture(number)
    return image_record(pixels, f"{number}.png", split, (label,))


def boxes_record(number: int) -> dict[str, np.ndarray]:
    _, label, box = picture(number)
    return {"boxes": box, "box_labels": np.array([label], np.int32)}


def proposals_record(number: int) -> dict[str, np.ndarray]:
    """Proposals: the square, the ground, everything."""
    _, _, box = picture(number)
    x1, y1, x2, y2 = box[0].astype(int)
    superpixels = np.zeros(SIZE, np.uint16)
    superpixels[y1:y2, x1:x2] = 1
    membership = np.array([[0, 1], [1, 0], [1, 1]], bool)
    return proposals_of(superpixels, membership, SIZE, adjacency(superpixels, np.ones(SIZE))).to_record()


class GivenConfig(StageConfig):
    train: int = 15
    val: int = 4


def _write_dataset(inputs, config, context):
    ids = {f"t{n:02d}": (n, "train") for n in range(config.train)}
    ids |= {f"v{n:02d}": (50 + n, "val") for n in range(config.val)}
    write_records(context, DATASET, list(ids), lambda some: (dataset_record(*ids[i]) for i in some))
    context.counts["classes"] = ["red", "blue"]


def _write_boxes(inputs, config, context):
    ids = [f"t{n:02d}" for n in range(config.train)]
    write_records(context, BOXES, ids, lambda some: (boxes_record(int(i[1:])) for i in some))


def _write_proposals(inputs, config, context):
    ids = {f"v{n:02d}": 50 + n for n in range(config.val)}
    write_records(context, PROPOSALS, list(ids), lambda some: (proposals_record(ids[i]) for i in some))


def given(name: str, write) -> Stage:
    return Stage(name=name, version=1, config=GivenConfig, run=write, inputs=(), contract=name)


def do(store: Store, stage: Stage, config: StageConfig, inputs=None, execution: Execution = ONE):
    return execute(stage, config, inputs or {}, store, execution=execution, progress=QUIET).artefact


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Artefacts of one run through all three stages."""
    store = Store(tmp_path_factory.mktemp("store"))
    made = {"store": store, "dataset": do(store, given("dataset", _write_dataset), GivenConfig())}
    made["proposals"] = do(store, given("proposals", _write_proposals), GivenConfig())
    made["prm_classifier"] = do(
        store, prm_classifier.STAGE, prm_classifier.Config(**SMALL), {"dataset": made["dataset"]}
    )
    return made


def pick(run, *names):
    return {name: run[name] for name in names}


def test_views_that_workers_prepare_ahead_give_the_same_bytes(run, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_FEW_IMAGES", 1)
    ahead = Execution(device="cpu", workers=3, checkpoint_seconds=1e-6)
    made = execute(
        prm_classifier.STAGE,
        prm_classifier.Config(**SMALL),
        pick(run, "dataset"),
        Store(tmp_path),
        execution=ahead,
        progress=QUIET,
    ).artefact
    alone = run["prm_classifier"].manifest
    assert made.manifest.files == alone.files
    assert made.manifest.counts.keys() - alone.counts.keys() == {"data_wait_share"}


def test_classifier_artefact(run):
    artefact = run["prm_classifier"]
    counts = artefact.manifest.counts
    assert (counts["training_images"], counts["held_back_images"], counts["steps"]) == (14, 1, 14)
    assert artefact.manifest.supervision == ["ImageNet labels"]
    curve = json.loads(artefact.file("curve.json").read_text())
    assert curve[-1]["step"] == 14 and curve[-1]["loss"] < curve[0]["loss"]
    held = json.loads(artefact.file("held_back.json").read_text())
    assert held["mAP"] == counts["held_back_mAP"] > 0.8
    assert set(held["per_class"]) == {"red", "blue"} and len(held["image_ids"]) == 1
    assert "checkpoint.pt" not in artefact.manifest.files


def test_a_small_data_set_is_trained_for_the_least_steps(run):
    few = prm_classifier.Config(**{**SMALL, "epochs": 0.5, "min_steps": 5})
    artefact = do(run["store"], prm_classifier.STAGE, few, pick(run, "dataset"))
    assert artefact.manifest.counts["steps"] == 5  # half an epoch would be 2


def test_where_all_images_show_the_same_classes_the_warmup_is_all(run, tmp_path, capsys):
    store = Store(tmp_path)

    def of_one_class(inputs, config, context):
        ids = {f"t{n:02d}": 2 * n for n in range(12)}
        write_records(
            context, DATASET, list(ids), lambda some: (dataset_record(ids[i], "train") for i in some)
        )
        context.counts["classes"] = ["red"]

    dataset = do(store, given("dataset", of_one_class), GivenConfig())
    artefact = execute(
        prm_classifier.STAGE, prm_classifier.Config(**SMALL), {"dataset": dataset}, store
    ).artefact
    assert artefact.manifest.counts["steps"] == 2
    assert "nothing to tell apart, 2 steps of 11" in capsys.readouterr().err


def test_training_killed_and_resumed_ends_with_the_same_bytes(run, tmp_path, monkeypatch):
    store = Store(tmp_path)
    dataset = do(store, given("dataset", _write_dataset), GivenConfig())
    real, calls = prm_classifier.classification_loss, []

    def dies(scores, labels):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return real(scores, labels)

    monkeypatch.setattr(prm_classifier, "classification_loss", dies)
    arguments = (store, prm_classifier.STAGE, prm_classifier.Config(**SMALL), {"dataset": dataset})
    with pytest.raises(KeyboardInterrupt):
        do(*arguments)
    artefact = do(*arguments)
    assert len(calls) == 12 + 3  # the checkpoint after step 11 was used
    assert artefact.fingerprint == run["prm_classifier"].fingerprint
    for name in ("weights.pt", "curve.json", "held_back.json", "classifier.json"):
        assert artefact.manifest.files[name] == run["prm_classifier"].manifest.files[name], name


def test_seeds_of_training_images(run):
    seeds = do(
        run["store"],
        prm_seeds.STAGE,
        prm_seeds.Config(image_size=160),
        pick(run, "dataset", "prm_classifier"),
    )
    records = seeds.records(SEEDS)
    assert records.ids == [f"t{n:02d}" for n in range(15)]
    spec = ClassifierSpec(**json.loads(run["prm_classifier"].file("classifier.json").read_text()))
    weights = load_weights(run["prm_classifier"].file("weights.pt"))
    network = PeakBackpropagation(spec.restore(weights, "weights.pt"), stop_stride=4)
    for image_id, one in records:
        pixels, label, _ = picture(int(image_id[1:]))
        batch = torch.from_numpy(resize_for_inference(pixels, 160)).permute(2, 0, 1)[None]
        (expected,) = generate_seeds(network, batch, [np.array([label])], [SIZE], SeedConfig())
        for name in SEEDS.fields:
            np.testing.assert_array_equal(one[name], getattr(expected, name), err_msg=f"{image_id} {name}")
    counts = seeds.manifest.counts
    assert counts["extents"]["at_most"] == max(len(one["peaks"]) for _, one in records)
    assert 1 < counts["extents"]["median_side"] < 54 and 0 < counts["extents"]["median_share"] <= 1
    assert counts["images"] == 15 and counts["seeds"] >= 15 and counts["images_without_seeds"] == 0


def test_what_labels_cannot_teach_is_said_with_the_seeds_and_not_under_boxes(run, tmp_path, monkeypatch):
    """A data set that counts red in 29 of 30 images, and a planted share of wide responses."""
    store = Store(tmp_path)

    def lacking(inputs, config, context):
        _write_dataset(inputs, config, context)
        context.counts.update(train=30, train_images_of_class={"red": 29, "blue": 15})

    inputs = pick(run, "prm_classifier") | {"dataset": do(store, given("dataset", lacking), GivenConfig())}
    config = prm_seeds.Config(image_size=64)
    silent = do(run["store"], prm_seeds.STAGE, config, pick(run, "dataset", "prm_classifier")).manifest.counts
    assert "warnings" not in silent
    monkeypatch.setattr(prm_seeds, "spread_responses", lambda records, names: {"red": 0.8, "blue": 0.4})
    counts = do(store, prm_seeds.STAGE, config, inputs).manifest.counts
    rare, wide = counts["warnings"]
    assert rare.startswith("nearly all of the 30 train images show 'red' (all but 1)")
    assert wide.startswith(
        "the response spreads over nearly the whole image in most images of 'red' (80 %): "
    )
    assert wide.endswith("(docs/howto/common-class.md)")
    assert counts["spread_responses"] == {"red": 0.8, "blue": 0.4}
    boxed = inputs | {"boxes": do(store, given("boxes", _write_boxes), GivenConfig())}
    assert "warnings" not in do(store, prm_seeds.STAGE, config, boxed).manifest.counts


def test_a_classifier_no_better_than_chance_is_said(run, monkeypatch):
    monkeypatch.setattr(prm_classifier, "not_above_chance", lambda scores, labels: [1])
    untrained = prm_classifier.Config(**{**SMALL, "epochs": 0.1})
    counts = do(run["store"], prm_classifier.STAGE, untrained, pick(run, "dataset")).manifest.counts
    assert counts["warnings"][0].startswith(
        "on 1 held-back images the classifier ranks 'blue' no better than"
    )
    assert "warnings" not in run["prm_classifier"].manifest.counts


def test_seeds_from_two_processes_are_the_same(run, tmp_path):
    store = Store(tmp_path)
    inputs = pick(run, "dataset", "prm_classifier")
    config = prm_seeds.Config(image_size=160)
    one = do(run["store"], prm_seeds.STAGE, config, inputs)
    two = do(store, prm_seeds.STAGE, config, inputs, ONE.model_copy(update={"workers": 2}))
    assert one.fingerprint == two.fingerprint
    assert one.manifest.files == two.manifest.files and one.manifest.counts == two.manifest.counts


def test_box_supervision_gives_one_seed_a_box(run):
    store = run["store"]
    inputs = pick(run, "dataset", "prm_classifier") | {
        "boxes": do(store, given("boxes", _write_boxes), GivenConfig())
    }
    seeds = do(store, prm_seeds.STAGE, prm_seeds.Config(image_size=160), inputs)
    for image_id, one in seeds.records(SEEDS):
        _, label, (box,) = picture(int(image_id[1:]))
        assert one["peaks"].shape == (1, 3) and one["peaks"][0, 0] == label
        assert box[1] <= one["peaks"][0, 1] < box[3] and box[0] <= one["peaks"][0, 2] < box[2]
        assert one["boxes"].tolist() == [box.tolist()]


def test_baseline_retrieves_the_square_without_reading_labels(run, monkeypatch):
    real, fields_read = RecordReader.read, set()

    def watched(self, image_id, fields):
        fields_read.update((self.schema.name, field) for field in fields)
        return real(self, image_id, fields)

    monkeypatch.setattr(RecordReader, "read", watched)
    artefact = do(
        run["store"],
        prm_baseline.STAGE,
        prm_baseline.Config(image_size=160, class_threshold=1.0),
        pick(run, "dataset", "prm_classifier", "proposals"),
    )
    assert ("dataset", "labels") not in fields_read
    records = artefact.records(PROPOSAL_DETECTIONS)
    assert records.ids == [f"v{n:02d}" for n in range(4)]
    right = [
        one["labels"].tolist() == [picture(50 + n)[1]] and one["proposal_ids"].tolist() == [0]
        for n, (_, one) in enumerate(records)
    ]
    assert sum(right) >= 3
    assert artefact.manifest.counts["images"] == 4


def test_no_training_images(run, tmp_path):
    store = Store(tmp_path)
    dataset = do(store, given("dataset", _write_dataset), GivenConfig(train=0))
    with pytest.raises(DataError, match="expected training images in the data set, got none"):
        do(store, prm_classifier.STAGE, prm_classifier.Config(**SMALL), {"dataset": dataset})


def test_missing_weights_before_training(run):
    config = prm_classifier.Config(**SMALL, pretrained="nowhere.pth")
    with pytest.raises(MissingWeightsError, match=r"no file nowhere\.pth"):
        do(run["store"], prm_classifier.STAGE, config, pick(run, "dataset"))


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (prm_classifier.Config, {"epochs": 0}, "epochs"),
        (prm_baseline.Config, {"nms": 2}, "nms"),
        (prm_seeds.Config, {"stop_stride": 3}, "stop_stride"),
        (prm_seeds.Config, {"thresh": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_config_values_out_of_range(config, values, message):
    with pytest.raises(ValueError, match=message):
        config(**values)
