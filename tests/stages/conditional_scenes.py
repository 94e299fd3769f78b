"""A small synthetic data set in a real store, and the stages `conditional` and `pseudo_labels` run on it."""

import cv2
import numpy as np

from data_contracts.records import RecordWriter
from data_contracts.schemas import DATASET, DETECTIONS, PROPOSALS, PSEUDO_LABELS, SEEDS
from data_contracts.store import Store
from stages.conditional import conditional, pseudo_labels
from tests.records import image_record, proposals_of
from wsis.engine.stage import Execution, Stage, StageConfig, execute
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.superpixels import adjacency

SIZE, CELL, CLASSES = 64, 8, ["red", "blue"]
CELLS = SIZE // CELL
CONFIG = conditional.Config(
    architecture="unet",
    pretrained=None,
    widths=(8, 12, 12),
    image_size=SIZE,
    k=4,
    max_proposals=60,
    batch_size=4,
    pretrain_epochs=30,
    epochs=2,
    learning_rate=1e-3,
    temperature=10.0,
    score_noise=0.03,
    warmup_steps=2,
)


class Empty(StageConfig):
    """No settings."""


def scene(index):
    """A coloured rectangle of cells on grey noise: image, class, cells (row, column, height, width)."""
    rng = np.random.default_rng(index)
    name = 1 + index % 2
    height, width = rng.integers(2, 5, 2)
    row, column = rng.integers(0, CELLS - height + 1), rng.integers(0, CELLS - width + 1)
    image = rng.integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    return paint(image, name, (int(row), int(column), int(height), int(width)))


def ambiguous(index):
    """A bar of which the left or the right part is the truth; which one cannot be seen. The third is the other."""
    rng = np.random.default_rng(5000 + index)
    name, row, column = 1 + index % 2, int(rng.integers(0, CELLS - 3)), int(rng.integers(0, 2))
    parts = [(row, column, 3, 4), (row, column + 3, 3, 4)]
    if rng.random() < 0.5:
        parts.reverse()
    image = rng.integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    paint(image, name, parts[1])
    return (*paint(image, name, parts[0]), parts[1])


def paint(image, name, place):
    row, column, height, width = place
    area = np.s_[row * CELL : (row + height) * CELL, column * CELL : (column + width) * CELL]
    image[area] = [220, 40, 40] if name == 1 else [40, 40, 220]
    return image, name, place


def rectangles(rng, truth, other=None):
    """Random rectangles of cells as membership bool [P, S]; the true one is row 7, another before or after it."""
    rows = []
    for _ in range(40):
        height, width = rng.integers(1, 6, 2)
        rows.append((rng.integers(0, CELLS - height + 1), rng.integers(0, CELLS - width + 1), height, width))
    rows[7] = truth
    if other is not None:
        rows[int(rng.choice([3, 11]))] = other
    masks = np.zeros((40, CELLS, CELLS), dtype=bool)
    for mask, (row, column, height, width) in zip(masks, rows, strict=True):
        mask[row : row + height, column : column + width] = True
    return masks.reshape(40, -1)


def records_of(index, boxed, of_scene=scene):
    image, name, truth, *other = of_scene(index)
    membership = rectangles(np.random.default_rng(1000 + index), truth, *other)
    superpixels = np.kron(np.arange(CELLS * CELLS).reshape(CELLS, CELLS), np.ones((CELL, CELL))).astype(
        np.int32
    )
    owner = membership[7][superpixels]
    objects = (np.abs(cv2.blur(image, (5, 5))[..., 1].astype(int) - 40) < 20).astype(np.uint8)
    contour = cv2.morphologyEx(objects, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    edges, sums, lengths = adjacency(superpixels, contour.astype(np.float32))
    proposals = proposals_of(superpixels, membership, (SIZE, SIZE), (edges, sums, lengths))
    boxes = proposals.boxes
    row, column, height, width = truth
    centre = np.array(
        [[name, int((row + height / 2) * CELL), int((column + width / 2) * CELL)]], dtype=np.int32
    )
    response = cv2.GaussianBlur(owner.astype(np.float32), (0, 0), 4)[::4, ::4]
    response = np.rint(255 * response / response.max()).astype(np.uint8)[None]
    dataset = image_record(image, f"{index}.png", labels=(name,))
    seeds = {
        "peaks": centre,
        "scores": np.ones(1, dtype=np.float32),
        "boxes": boxes[7:8] if boxed else np.zeros((0, 4), dtype=np.float32),
        "peak_response_maps": response,
        "class_response_maps": response,
        "response_classes": np.array([name], dtype=np.int32),
    }
    sure = np.eye(3, dtype=np.float32)[[name]] * 0.9 + 0.1 / 3
    detections = {
        "class_probabilities": (sure / sure.sum()).astype(np.float32),
        "boxes": boxes[7:8],
        "masks": np.full((1, 28, 28), 255, dtype=np.uint8),
        "labels": np.array([name], dtype=np.int32),
        "scores": np.array([0.9], dtype=np.float32),
        "size": np.array([SIZE, SIZE], dtype=np.int32),
    }
    return {"dataset": dataset, "proposals": proposals.to_record(), "seeds": seeds, "detections": detections}


def given(store, name, schema_of, images, boxed, of_scene):
    """Commit an artefact of ready records."""
    ids = [f"im{i}" for i in images]

    def write(inputs, config, context):
        writer = RecordWriter(context.workdir, schema_of, ids)
        for shard in range(writer.num_shards):
            numbers = [int(i[2:]) for i in writer.ids_of(shard)]
            writer.write(shard, [records_of(n, boxed, of_scene)[schema_of.name] for n in numbers])
        context.counts["classes"] = CLASSES

    stage = Stage(name=name, version=1, config=Empty, run=write, inputs=(), contract=schema_of.name)
    return execute(stage, Empty(), {}, store).artefact


def make_inputs(path, images=range(12), boxed=False, of_scene=scene):
    store = Store(path)
    names = {"dataset": DATASET, "proposals": PROPOSALS, "prm_seeds": SEEDS, "train_predictions": DETECTIONS}
    return store, {
        name: given(store, name, schema, images, boxed, of_scene) for name, schema in names.items()
    }


def train(store, inputs, config=CONFIG, iteration=1, checkpoint_seconds=60.0, **more):
    chosen = {name: inputs[name] for name in ("dataset", "proposals", "prm_seeds")} | more
    one = Execution(device="cpu", workers=1, threads=1, checkpoint_seconds=checkpoint_seconds)
    return execute(
        conditional.STAGE, config, chosen, store, outer_iteration=iteration, execution=one
    ).artefact


def sample(store, inputs, trained, iteration=1, seed=0, **settings):
    chosen = {name: inputs[name] for name in ("dataset", "proposals", "prm_seeds")} | {"conditional": trained}
    one = Execution(device="cpu", workers=1, threads=1)
    config = pseudo_labels.Config(
        **{"contour_weight": 0, **settings}
    )  # the scenes' contours would answer alone
    return execute(pseudo_labels.STAGE, config, chosen, store, seed, iteration, one).artefact


def share_of_truth(labels):
    """Share of samples that pick exactly the true proposal with the true class."""
    right = total = 0
    for image_id, record in labels.records(PSEUDO_LABELS):
        samples = SampleSet.from_record(record)
        name = scene(int(image_id[2:]))[1]
        for index, count in enumerate(samples.multiplicities.tolist()):
            ids, classes, _ = samples.unique(index)
            right += count * (ids.tolist() == [7] and classes.tolist() == [name])
            total += count
    return right / total
