"""Estimates what a run will cost on this machine (time, memory, disk) from measurements of `voc_lite`.

Measured on VOC photographs of 384 x 288 pixels on the CPU (`_SECONDS`, `_BYTES`; `wsis show RUN` gives the same
numbers of any run). Work is counted in images or training examples, scaled by the pixels that a network sees. A short
benchmark of convolutions says how fast this machine is. There is no estimate for networks that were not measured
(ResNets, the paper's U-Net), GPUs and imported proposals. An estimate is right within a factor of two.
"""

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from wsis.engine.settings import Execution, cores
from wsis.runs.config import RunConfig
from wsis.runs.data_size import DataSize
from wsis.runs.plan import Node, plan
from wsis.runs.work import BASE_MODEL, MODELS, WORK, box_candidates, images_of

FACTOR = 2.0  # by which an estimate may be wrong, either way
_THREAD_GAIN = 0.5  # of a training step by each thread beyond the first, in threads
_MOST_THREADS = 4  # that small networks can use
_MEMORY = 3.7e9  # bytes: the largest peak of a stage, workers included
_PROBE_SECONDS = 0.030  # of one `_probe` where the seconds below were measured
_PROBES = 11
_START = 3.0  # CPU seconds to start a node: processes, imports, networks

# CPU seconds of one thread for one unit of work, see `WORK`
_SECONDS: Mapping[str, float] = {
    "dataset": 0.06,
    "ground_truth": 0.07,
    "prm_classifier": 0.095,
    "prm_seeds": 0.34,
    "proposals": 5.2,
    "prm_baseline": 0.34,
    "conditional": 0.135,
    "pseudo_labels": 0.094,
    "prediction": 0.2,
    "ceiling": 0.2,
    "predictions": 0.09,
    "evaluation": 0.01,
}
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
        name, spent = node.stage.name, _seconds(config, data, node) / pace
        together = _threads(config.execution) if name in _TRAINED else _workers(config.execution, name)
        costs.append(NodeCost(node.key, spent, spent / together, _disk(node, data)))
    return RunCost(tuple(costs), _MEMORY)


def _seconds(config: RunConfig, data: DataSize, node: Node) -> float:
    """CPU seconds of a node where costs were measured; 0 where it has no work."""
    name = node.stage.name
    units = WORK[name](config, data, node) if name in WORK else 0.0
    if not units:
        return 0.0
    more = box_candidates(config, data) if name == "proposals" else 0.0
    return _START + units * _SECONDS[name] + more


def unmeasured(config: RunConfig) -> str | None:
    """Why there is no estimate for a configuration: what in it was not measured."""
    model = config.prediction.model
    measured = {
        "prm_classifier.backbone": (config.prm_classifier.backbone, "efficientnet_lite0"),
        "conditional.architecture": (config.conditional.architecture, "lite_unet"),
        "prediction.model": (BASE_MODEL if model in MODELS else model, BASE_MODEL),
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
    """The factor by which `execution.threads` shortens a training step."""
    used = min(execution.threads, cores(), _MOST_THREADS)
    return 1 + _THREAD_GAIN * (used - 1)


def _workers(execution: Execution, stage: str) -> int:
    """Processes at work in a per-image stage."""
    return 1 if stage in ("dataset", "ground_truth") else min(execution.workers, cores())


def _disk(node: Node, data: DataSize) -> float:
    name = node.stage.name
    if name == "dataset":
        return data.images * data.file_bytes
    return _BYTES.get(name, 0.0) * (1 if name in _TRAINED else images_of(node, data))
