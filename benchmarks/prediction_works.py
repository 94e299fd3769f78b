"""What `benchmarks/prediction.py` times: ours and MMDetection's own of each part, on the same images.

Both networks are built in the same memory format, from the same weights, and take steps with the same optimiser.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditional_clock import synchronise
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from prediction_data import CLASSES, SETS, Data

from wsis.method.placement import placed
from wsis.method.prediction.checkpoints import encode_weights
from wsis.method.prediction.config import PredictionSpec, plain_config, training_config
from wsis.method.prediction.data.dataset import PseudoLabelDataset, SampleKey
from wsis.method.prediction.inference import load_detector
from wsis.method.prediction.models import build_model, quiet_mmengine
from wsis.views.dataset import read_image

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "mmdet"
Work = Callable[[int], object]


@dataclass(frozen=True)
class Network:
    """A config of configs/mmdet by name, and the longer side of its input."""

    name: str
    size: int

    @property
    def spec(self) -> PredictionSpec:
        """As a run has it: self-diversity included."""
        return PredictionSpec(CLASSES, (self.size, self.size), self_diversity=0.1)

    @property
    def plain(self) -> Config:
        """MMDetection's own."""
        return plain_config(CONFIGS / f"{self.name}.py", self.spec)

    @property
    def training(self) -> Config:
        """Ours."""
        return training_config(self.plain, self.spec)


def medians(ours: Work, reference: Work, rounds: int, device: torch.device) -> tuple[float, float, float]:
    """Median seconds of both and the median of their ratios; they take turns, so that noise of the machine meets both.

    CPU seconds on one thread, which others' work does not lengthen by much, else wall time. The first turn of each is
    not counted.
    """
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter

    def timed(work: Work, turn: int) -> float:
        synchronise(device)
        start = clock()
        work(turn)
        synchronise(device)
        return clock() - start

    timed(ours, 0), timed(reference, 0)
    taken = []
    for turn in range(rounds):
        if turn % 2:
            other, own = timed(reference, turn), timed(ours, turn)
        else:
            own, other = timed(ours, turn), timed(reference, turn)
        taken.append((own, other))
    table = np.array(taken)
    return (*np.median(table, 0).tolist(), float(np.median(table[:, 0] / table[:, 1])))


# -- data


def our_dataset(data: Data, network: Network) -> PseudoLabelDataset:
    """All ten sets straight from the records."""
    quiet_mmengine()
    return PseudoLabelDataset(data.source(), [TRANSFORMS.build(t) for t in network.training.train_pipeline])


def their_dataset(data: Data, network: Network) -> Any:
    """One set from files and JSON, through the same resizing and mirroring."""
    quiet_mmengine()
    moves = [t for t in network.training.train_pipeline if t["type"] in ("Resize", "RandomFlip")]
    loading = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
    ]
    return data.coco([*loading, *moves, {"type": "PackDetInputs"}])


# -- training


class Training:
    """Steps of one network over a few batches of two images that are kept in memory.

    Args:
        own: with all sets and self-diversity; else MMDetection's model on one set.
        state: weights to start from.
    """

    def __init__(
        self,
        data: Data,
        network: Network,
        own: bool,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ) -> None:
        config = network.training if own else network.plain
        torch.manual_seed(0)
        self.model: Any = placed(build_model(config), "cpu")
        self.model.init_weights()
        if state is not None:
            self.model.load_state_dict(state)
        self.model.to(device).train()
        self.optimizer = torch.optim.SGD(
            [p for p in self.model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9
        )
        one: Work
        if own:
            ours = our_dataset(data, network)
            one = lambda i: ours[SampleKey(i, i)]  # noqa: E731
        else:
            one = their_dataset(data, network).__getitem__
        firsts = range(0, min(8, len(data.ids)) - 1, 2)
        self.batches = [pseudo_collate([one(i), one(i + 1)]) for i in firsts]
        if own:
            self._check()

    def _check(self) -> None:
        for batch in self.batches:
            for sample in batch["data_samples"]:
                count = sample.gt_instances.set_weights.shape[1]
                if count != SETS:
                    raise SystemExit(f"image {sample.img_id}: expected {SETS} distinct sets, got {count}")

    def step(self, number: int) -> dict[str, float]:
        """Forward, backward, update."""
        data = self.model.data_preprocessor(copy.copy(self.batches[number % len(self.batches)]), True)
        samples_of = copy.deepcopy(data["data_samples"])  # a step adds to them
        torch.manual_seed(number)
        loss, logged = self.model.parse_losses(self.model.loss(data["inputs"], samples_of))
        if not torch.isfinite(loss):
            raise SystemExit(f"the loss became {loss.item()}: the times would not be those of training")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        return {name: float(value) for name, value in logged.items()}


# -- prediction


@dataclass(frozen=True)
class Prediction:
    """One image from the store to detections, and MMDetection's test loop's step on the same; detections by image."""

    ours: Work
    theirs: Work
    counts: tuple[list[int], list[int]]


def prediction(data: Data, network: Network, device: torch.device) -> Prediction:
    """Both with the weights of one file, which find some ten things an image."""
    plain, weights = network.plain, data.root / f"{network.name}.pth"
    weights.write_bytes(encode_weights(_finding(plain), CLASSES))
    detector = load_detector(plain, weights, str(device))
    theirs = load_detector(plain, weights, str(device)).model
    records, loader = data.source().dataset, data.coco(plain.test_pipeline, test=True)
    counts: tuple[list[int], list[int]] = ([], [])

    def own(i: int) -> None:
        image = read_image(records, data.ids[i % len(data.ids)])
        counts[0].append(len(detector.predict([image])[0].scores))

    @torch.no_grad()
    def reference(i: int) -> None:
        batch = pseudo_collate([loader[i % len(data.ids)]])
        results = theirs.test_step(batch)  # type: ignore[operator]
        counts[1].append(len(results[0].pred_instances))

    return Prediction(own, reference, counts)


def _finding(plain: Config) -> dict[str, Any]:
    """Random weights whose class scores are spread about the threshold: as a trained network's, few are above."""
    torch.manual_seed(0)
    model: Any = build_model(plain)
    model.init_weights()
    state: dict[str, Any] = model.state_dict()
    state["roi_head.bbox_head.fc_cls.weight"] *= 40
    state["roi_head.bbox_head.fc_cls.bias"][-1] += 4
    return state
