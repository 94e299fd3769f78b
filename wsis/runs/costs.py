"""What a run will cost on this machine: time, memory and disk, from what `voc_lite` was measured to cost.

Measured on VOC photographs of 384 x 288 pixels on the CPU (`_SECONDS`, `_BYTES`; `wsis show RUN` gives the same
numbers of any run). Work is counted in images or in training examples, scaled by the pixels that a network sees; how
fast this machine is, a second of convolutions says. Networks that were not measured (ResNets, the paper's U-Net), GPUs
and imported proposals have no estimate. One that is made is right within a factor of two.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from wsis.engine.settings import Execution, cores
from wsis.engine.weight_selection import held_back_images
from wsis.runs.config import RunConfig
from wsis.runs.plan import Node, plan

FACTOR = 2.0  # by which an estimate may be wrong, either way
_THREAD_GAIN = 0.5  # of a training step by each thread beyond the first, in threads
_MOST_THREADS = 4  # that small networks can use
_MEMORY = 3.7e9  # bytes: the largest peak of a stage, workers included
_PROBE_SECONDS = 0.030  # of one `_probe` where the seconds below were measured
_PROBES = 11
_START = 3.0  # CPU seconds to start a node: processes, imports, networks

# CPU seconds of one thread for one unit of work, see `_WORK`
_SECONDS: Mapping[str, float] = {
    "dataset": 0.06,
    "ground_truth": 0.07,
    "prm_classifier": 0.095,
    "prm_seeds": 0.34,
    "proposals": 5.2,
    "prm_baseline": 0.34,
    "conditional": 0.075,
    "pseudo_labels": 0.094,
    "prediction": 0.2,
    "ceiling": 0.2,
    "predictions": 0.09,
    "evaluation": 0.01,
}
_PREPARED = 2.3  # times the work of a training example: an image's proposal graph and targets, once a stage
_TRAINED = ("prm_classifier", "conditional", "prediction", "ceiling")
# Bytes of the weights of a training; of records for each image of the other stages
_BYTES: Mapping[str, float] = {
    "prm_classifier": 14e6,
    "conditional": 14e6,
    "prediction": 17e6,
    "ceiling": 17e6,
    "ground_truth": 1e3,
    "prm_seeds": 10e3,
    "proposals": 29e3,
    "pseudo_labels": 200,
    "predictions": 5e3,
}


@dataclass(frozen=True)
class DataSize:
    """How much data a run has.

    Attributes:
        train, negatives, val: images; `train` does not count the negatives.
        with_masks: images with masks, of train and val together.
        megapixels: of an image, mean.
        file_bytes: of an image file, mean.
    """

    train: int
    negatives: int
    val: int
    with_masks: int
    megapixels: float
    file_bytes: float

    @property
    def images(self) -> int:
        return self.train + self.negatives + self.val


@dataclass(frozen=True)
class NodeCost:
    """CPU seconds of one thread of this machine, wall seconds, and bytes in the store, of one node of the plan."""

    key: str
    cpu_seconds: float
    seconds: float
    disk_bytes: float


@dataclass(frozen=True)
class RunCost:
    """Of the nodes together; memory is the largest peak of any."""

    nodes: tuple[NodeCost, ...]
    memory_bytes: float

    @property
    def seconds(self) -> float:
        """Wall seconds."""
        return sum(node.seconds for node in self.nodes)

    @property
    def disk_bytes(self) -> float:
        return sum(node.disk_bytes for node in self.nodes)


def run_cost(
    config: RunConfig, data: DataSize, speed: float | None = None, nodes: Iterable[Node] | None = None
) -> RunCost | None:
    """What the nodes of a run will cost here; None where `unmeasured` says why not.

    Args:
        speed: of this machine, see `machine_speed`; None: measured now.
        nodes: those that are still to be computed; None: the whole plan.
    """
    if unmeasured(config) is not None:
        return None
    pace = machine_speed() if speed is None else speed
    costs = []
    for node in plan(config) if nodes is None else nodes:
        name = node.stage.name
        units = _WORK[name](config, data, node) if name in _WORK else 0.0
        spent = (_START + units * _SECONDS[name]) / pace if units else 0.0
        together = _threads(config.execution) if name in _TRAINED else _workers(config.execution, name)
        costs.append(NodeCost(node.key, spent, spent / together, _disk(node, data)))
    return RunCost(tuple(costs), _MEMORY)


def unmeasured(config: RunConfig) -> str | None:
    """Why there is no estimate for a configuration: what in it was not measured."""
    measured = {
        "prm_classifier.backbone": (config.prm_classifier.backbone, "efficientnet_lite0"),
        "conditional.architecture": (config.conditional.architecture, "lite_unet"),
        "prediction.model": (config.prediction.model.removesuffix("_p2"), "mask_rcnn_lite0_fpn"),
        "proposals.source": (config.proposals.source, "generate"),
        "execution.device": (config.execution.torch_device().type, "cpu"),
    }
    for key, (got, wanted) in measured.items():
        if got != wanted:
            return f"{key} is {got}; time was measured with {wanted} alone"
    return None


def machine_speed() -> float:
    """How fast one thread of this machine is beside the one where costs were measured; takes half a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand((4, 96, 56, 56), generator=generator).to(memory_format=torch.channels_last)
        depthwise = torch.rand((96, 1, 3, 3), generator=generator).requires_grad_()
        pointwise = torch.rand((192, 96, 1, 1), generator=generator).requires_grad_()
        for _ in range(2):  # the first calls set the kernels up
            _probe(images, depthwise, pointwise)
        spent = statistics.median(_probe(images, depthwise, pointwise) for _ in range(_PROBES))
    finally:
        torch.set_num_threads(threads)
    return _PROBE_SECONDS / max(spent, 1e-6)


def _probe(images: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor) -> float:
    """CPU seconds of a block of the measured networks, forward and backward."""
    began = time.process_time()
    features = functional.relu(functional.conv2d(images, depthwise, padding=1, groups=len(depthwise)))
    functional.conv2d(features, pointwise).sum().backward()
    return time.process_time() - began


def _threads(execution: Execution) -> float:
    """By how much torch's threads shorten a training step."""
    used = min(execution.threads, cores(), _MOST_THREADS)
    return 1 + _THREAD_GAIN * (used - 1)


def _workers(execution: Execution, stage: str) -> int:
    """Processes at work in a per-image stage."""
    return 1 if stage in ("dataset", "ground_truth") else min(execution.workers, cores())


def _disk(node: Node, data: DataSize) -> float:
    name = node.stage.name
    if name == "dataset":
        return data.images * data.file_bytes
    return _BYTES.get(name, 0.0) * (1 if name in _TRAINED else _images_of(node, data))


def _images_of(node: Node, data: DataSize) -> int:
    """Images that a per-image node makes a record of."""
    split = getattr(node.config, "split", None)
    if split is not None:
        return data.train if split == "train" else data.val
    return {
        "dataset": data.images,
        "ground_truth": data.with_masks,
        "proposals": data.train + data.val,
        "prm_baseline": data.val,
    }.get(node.stage.name, data.train)


# -- units of work by stage -----------------------------------------------------------------------------------
def _dataset(config: RunConfig, data: DataSize, node: Node) -> float:
    """Megapixels to decode."""
    return data.images * data.megapixels


def _ground_truth(config: RunConfig, data: DataSize, node: Node) -> float:
    """Megapixels of masks."""
    return data.with_masks * data.megapixels


def _classifier(config: RunConfig, data: DataSize, node: Node) -> float:
    """Views of 224 x 224."""
    settings, images = config.prm_classifier, data.train + data.negatives
    steps = settings.total_steps(images - settings.held_back_images(images))
    return steps * settings.batch_size * _area(settings.image_size, 224)


def _seeds(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 448 x 448."""
    return data.train * _area(config.prm_seeds.image_size, 448)


def _proposals(config: RunConfig, data: DataSize, node: Node) -> float:
    """Megapixels at the working size."""
    largest = config.proposals.max_side**2 * 0.75 / 1e6  # of a 4:3 photograph
    return (data.train + data.val) * min(data.megapixels, largest)


def _baseline(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 448 x 448."""
    return data.val * _area(config.prm_seeds.image_size, 448)


def _conditional(config: RunConfig, data: DataSize, node: Node) -> float:
    """Training examples of 256 x 256, and the images among them, each prepared once."""
    settings = config.conditional
    images = data.train - held_back_images(settings, data.train)
    examples = settings.batch_size * settings.total_steps(
        images, pretraining=(node.outer_iteration or 1) == 1
    )
    return (examples + _PREPARED * min(examples, images)) * _area(settings.image_size, 256)


def _pseudo_labels(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 256 x 256."""
    return data.train * _area(config.conditional.image_size, 256)


def _prediction(config: RunConfig, data: DataSize, node: Node) -> float:
    """Training examples of 288 x 288."""
    settings = config.prediction
    if node.stage.name == "ceiling":
        steps = sum(settings.total_steps(data.train, t) for t in range(1, config.outer_iterations + 1))
    else:
        steps = settings.total_steps(data.train, node.outer_iteration)
    return steps * settings.batch_size * _area(settings.image_size, 288)


def _predictions(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 288 x 288."""
    return _images_of(node, data) * _area(config.prediction.image_size, 288)


def _evaluation(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images that are compared with their masks."""
    return data.with_masks if "pseudo_labels" in node.inputs else data.val


def _area(side: int, measured: int) -> float:
    return (side / measured) ** 2


_WORK: Mapping[str, Callable[[RunConfig, DataSize, Node], float]] = {
    "dataset": _dataset,
    "ground_truth": _ground_truth,
    "prm_classifier": _classifier,
    "prm_seeds": _seeds,
    "proposals": _proposals,
    "prm_baseline": _baseline,
    "conditional": _conditional,
    "pseudo_labels": _pseudo_labels,
    "prediction": _prediction,
    "ceiling": _prediction,
    "predictions": _predictions,
    "evaluation": _evaluation,
}
