"""The peak response classifier, trained on image-level labels alone (Zhou et al., CVPR 2018; paper 6.2).

Writes weights.pt, classifier.json (how to build the network again), curve.json (training loss) and
held_back.json (multi-label average precision on training images that were not trained on; no pixel labels).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from pydantic import Field

from data_contracts.errors import DataError
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET
from stages.prm.peak_network import SPEC_NAME
from wsis.engine.batches import Batches, processes_ahead
from wsis.engine.group import own_part, rank, shared_out, size
from wsis.engine.optimisation import descend, set_learning_rates, warmup_cosine
from wsis.engine.shared_work import SharedTraining, check_processes, run_shared
from wsis.engine.stage import Artefact, Execution, Stage, StageContext
from wsis.engine.training import finish, run_steps
from wsis.engine.worker_processes import Patience
from wsis.method.backbones import BackboneName, weights_digest
from wsis.method.placement import placed
from wsis.method.prm.augmentation import augment, draw_view, resize_for_inference
from wsis.method.prm.classifier import ClassifierSpec, PeakResponseClassifier
from wsis.method.prm.learning import not_above_chance
from wsis.method.prm.multilabel import average_precisions
from wsis.method.prm.peak_stimulation import classification_loss
from wsis.method.transfers import moved
from wsis.views.dataset import class_names, image_ids, read_image

NAME = "prm_classifier"
ALGORITHM_VERSION = 3
HELD_BACK_NAME = "held_back.json"
_CLASSIFIER_RATE = 2e-3  # learning rate of the new 1x1 convolution
_WEIGHT_DECAY = 1e-4  # of AdamW
_HELD_BACK = 0.05  # share of the training images kept for measuring
_PATIENCE = Patience("views of training images", 300.0, "--set execution.workers=1")
_ORDER_STREAM, _VIEW_STREAM, _SPLIT_STREAM = 1, 2, 3  # independent random streams of one seed


class Config(SharedTraining):
    """How the classifier is made and trained."""

    backbone: BackboneName = Field("efficientnet_lite0", description="network below the 1x1 convolution")
    pretrained: str | None = Field(
        "imagenet", description="imagenet, PATH or URL with #sha256=; null only by choice"
    )
    image_size: int = Field(224, ge=32, le=2048, description="side of the training views")
    test_size: int = Field(
        320, ge=32, le=2048, description="longer side where the held-back images are scored"
    )
    batch_size: int = Field(16, ge=1, le=1024, description="images a step")
    epochs: float = Field(3.0, gt=0, le=1000, description="passes over the training images")
    min_steps: int = Field(
        0, ge=0, description="steps at least, where the epochs of a small data set are fewer"
    )
    learning_rate: float = Field(2e-4, gt=0, description="of the backbone")
    warmup_steps: int = Field(20, ge=0, description="steps in which the learning rates rise")

    def held_back_images(self, images: int) -> int:
        """How many of the training images are kept for measuring."""
        return min(round(_HELD_BACK * images), images - 1)

    def total_steps(self, images: int) -> int:
        """Steps of a training on so many images, those held back not counted."""
        return max(1, self.min_steps, round(self.epochs * images / self.batch_size))

    def spec(self, num_classes: int) -> ClassifierSpec:
        """What builds the network."""
        return ClassifierSpec(self.backbone, num_classes)


def run(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train on the training images of the data set.

    Raises:
        DataError: the data set has no training images.
        MissingWeightsError: the pretrained weights are absent or of another network.
        WorkerDiedError: one of several processes was killed.
    """
    run_shared(partial(_train, inputs, config), context, config.processes)


def _train(inputs: Mapping[str, Artefact], config: Config, context: StageContext) -> None:
    """Train in this process, alone or as one of a group."""
    classes = class_names(inputs["dataset"])
    places = own_part(range(config.batch_size))
    examples = _Examples(inputs["dataset"].records(DATASET), len(classes), config, context.seed, places)
    spec = config.spec(len(classes))
    torch.manual_seed(context.seed)  # the new layer's initial weights
    model = placed(spec.build(config.pretrained), context.device)
    optimizer = torch.optim.AdamW(
        model.parameter_groups(config.learning_rate, _CLASSIFIER_RATE),
        weight_decay=_WEIGHT_DECAY,
        fused=True,
    )
    total = _steps(examples, config, context)
    workers = processes_ahead(
        context.execution, total * config.batch_size, context.device.type == "cpu", size()
    )
    model.train()

    def step(i: int) -> dict[str, float]:
        images, labels = batches.at(i)
        set_learning_rates(optimizer, warmup_cosine(i, total, config.warmup_steps))
        images, labels = moved((images, labels), context.device)
        loss = classification_loss(model.scores(model(images)), labels)
        descend(loss, optimizer, average=True)
        return {"loss": loss.item()}

    with Batches(examples.batch, total, workers, _PATIENCE) as batches:
        run_steps(context, {"model": model, "optimizer": optimizer}, total, step)
        waited = batches.wait_counts()
    scores = _held_back_scores(model, examples, context)
    if rank() > 0:
        return
    context.counts.update(waited)
    _measure(scores, examples, classes, context)
    context.write_json(SPEC_NAME, asdict(spec))
    finish(context, model.state_dict())


def _steps(examples: "_Examples", config: Config, context: StageContext) -> int:
    """Steps of the training: those of the warmup alone where there is nothing to tell apart (boxes of one class)."""
    total = config.total_steps(len(examples.train))
    enough = max(1, config.warmup_steps)
    if total <= enough or not examples.alike():
        return total
    context.log(
        f"all training images show the same classes: nothing to tell apart, {enough} steps of {total}"
    )
    return enough


class _Examples:
    """Training images and labels; batch i is a function of (seed, i); this process has its `places`."""

    def __init__(
        self, records: RecordReader, num_classes: int, config: Config, seed: int, places: Sequence[int]
    ) -> None:
        self.records, self.config, self.seed, self.places = records, config, seed, places
        self.num_classes = num_classes
        ids = image_ids(records, "train")
        if not ids:
            raise DataError(f"{NAME}: expected training images in the data set, got none")
        order = np.random.default_rng((seed, _SPLIT_STREAM)).permutation(len(ids))
        count = config.held_back_images(len(ids))
        self.held_back = sorted(ids[i] for i in order[:count])
        self.train = sorted(ids[i] for i in order[count:])

    def alike(self) -> bool:
        """Whether all training images have the same labels."""
        hot = self.labels([*self.train, *self.held_back])
        return bool((hot == hot[:1]).all())

    def image(self, image_id: str) -> np.ndarray:
        return read_image(self.records, image_id)

    def labels(self, image_ids: Sequence[str]) -> np.ndarray:
        """Multi-hot bool [B, C]."""
        hot = np.zeros((len(image_ids), self.num_classes), np.bool_)
        for row, image_id in zip(hot, image_ids, strict=True):
            row[self.records.read(image_id, ("labels",))["labels"] - 1] = True
        return hot

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Views uint8 [B, 3, s, s] and multi-hot labels float [B, C] of one step, or of this process's part of it."""
        many, count = self.config.batch_size, len(self.train)
        ids = []
        for position in range(step * many, (step + 1) * many):
            epoch, index = divmod(position, count)
            ids.append(self.train[self._order(epoch)[index]])
        rng = np.random.default_rng((self.seed, _VIEW_STREAM, step))
        views = [(i, draw_view(self.size(i), rng)) for i in ids]
        drawn = [views[place] for place in self.places]
        images = np.stack([augment(self.image(i), self.config.image_size, view) for i, view in drawn])
        labels = self.labels([i for i, _ in drawn])
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).float()

    def size(self, image_id: str) -> tuple[int, int]:
        """Height and width."""
        height, width = self.records.read(image_id, ("size",))["size"].tolist()
        return height, width

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, _ORDER_STREAM, epoch)).permutation(len(self.train))


@torch.no_grad()
def _held_back_scores(
    model: PeakResponseClassifier, examples: _Examples, context: StageContext
) -> list[np.ndarray]:
    """Scores [C] of each held-back training image."""
    model.eval()
    if not examples.held_back:
        return []
    bar = context.progress.bar(len(examples.held_back), f"{context.title} held-back images", "img")

    def score(image_id: str) -> np.ndarray:
        image = resize_for_inference(examples.image(image_id), examples.config.test_size)
        view = torch.from_numpy(image).permute(2, 0, 1)[None].to(context.device)
        shown.update(min(size(), len(examples.held_back) - shown.done))
        found: np.ndarray = model.scores(model(view))[0].cpu().numpy()
        return found

    with bar as shown:
        return shared_out(examples.held_back, score)


def _measure(
    scores: Sequence[np.ndarray], examples: _Examples, classes: Sequence[str], context: StageContext
) -> None:
    """Multi-label average precision on the held-back training images."""
    context.counts.update(training_images=len(examples.train), held_back_images=len(examples.held_back))
    if not examples.held_back:
        return
    labels = examples.labels(examples.held_back)
    precisions = average_precisions(np.stack(scores), labels)
    known = [value for value in precisions.tolist() if not math.isnan(value)]
    mean = float(np.mean(known)) if known else None
    per_class = {n: None if math.isnan(v) else v for n, v in zip(classes, precisions.tolist(), strict=True)}
    context.write_json(HELD_BACK_NAME, {"mAP": mean, "per_class": per_class, "image_ids": examples.held_back})
    context.counts["held_back_mAP"] = mean
    if unlearned := [repr(classes[index]) for index in not_above_chance(np.stack(scores), labels)]:
        context.warn(
            f"on {len(labels)} held-back images the classifier ranks {', '.join(unlearned)} no better than chance: "
            "seeds will lie anywhere; more images of it would help, or longer training (prm_classifier.epochs)"
        )


def _check(config: Config, execution: Execution) -> None:
    """Find and load the weights before any hour is spent, and count GPUs."""
    check_processes(config, execution, NAME)
    config.spec(1).build(config.pretrained)


STAGE = Stage(
    name=NAME,
    version=ALGORITHM_VERSION,
    config=Config,
    run=run,
    inputs=("dataset",),
    contract="weights",
    supervision=lambda config: () if config.pretrained is None else ("ImageNet labels",),
    content_digest=lambda config: weights_digest(config.pretrained),
    check=_check,
    threaded=True,
    prepared_ahead=True,
    on_device=True,
    less_gpu_memory="a smaller prm_classifier.batch_size or prm_classifier.image_size, with --replace",
)
