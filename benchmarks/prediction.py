"""Speed and memory of the prediction network: ours, MMDetection's own and their ratio, from one run.

    .venv/bin/python benchmarks/prediction.py [--device cuda] [--only step data] [--data DEVKIT]

Ours has K = 10 distinct pseudo-label sets and self-diversity, the reference one set and the same budget. Both take
turns on the same images (photographs of --data, or generated scenes); the ratio is the median of the turns' ratios.
Seconds are CPU seconds of one thread, wall time with --threads above 1 or on CUDA.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS; torch's threads are set below

import cv2
import prediction_ops as ops
import prediction_works as works
import torch
from conditional_clock import MEGABYTE
from prediction_data import SETS, Data, make
from prediction_memory import measure
from prediction_works import Network
from proposal_cases import Figure, print_figures

from stages.prediction.settings import PredictionConfig
from stages.prediction.training import train_network
from wsis.engine.batches import DATA_WAIT
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext
from wsis.method.prediction.data.dataset import SampleKey

PARTS = ("step", "ops", "prediction", "data", "wait")
NETWORKS = (Network("mask_rcnn_r50_fpn", 320), Network("mask_rcnn_lite0_fpn", 288))


@dataclass(frozen=True)
class Case:
    """What the parts run on; `tiny` shrinks all of it for a trial of the benchmark itself."""

    data: Data
    device: torch.device
    tiny: bool
    rounds: int

    @property
    def networks(self) -> tuple[Network, ...]:
        """R-50-FPN, and what `voc_lite` uses."""
        return (replace(NETWORKS[1], size=96),) if self.tiny else NETWORKS


def _line(what: str, ours: float, reference: str, theirs: float, ratio: float) -> None:
    print(f"| {what} | {1000 * ours:.1f} | {reference} | {1000 * theirs:.1f} | {ratio:.2f} |", flush=True)


def _head(title: str) -> None:
    print(f"\n## {title}\n\n| | ours ms | reference | its ms | ratio |\n|---|---:|---|---:|---:|", flush=True)


def _step(case: Case) -> list[Figure]:
    _head("Training step")
    figures, memory = [], []
    for network in case.networks:
        reference = works.Training(case.data, network, False, case.device)
        ours = works.Training(case.data, network, True, case.device, reference.model.state_dict())
        own, other, ratio = works.medians(ours.step, reference.step, case.rounds, case.device)
        name = f"{network.name}, {network.size} px"
        _line(f"step, {name}, batch 2, K = {SETS}", own, "MMDetection, one set", other, ratio)
        figures.append(Figure(f"step, {name}: time over MMDetection's", ratio, 1.25))
        del ours, reference
        taken = [measure(case.data, network, own, case.device) for own in (True, False)]
        memory.append(f"{name} {taken[0] / MEGABYTE:.0f} MB, MMDetection {taken[1] / MEGABYTE:.0f} MB")
        figures.append(Figure(f"step, {name}: peak memory over MMDetection's", taken[0] / taken[1], 1.2))
    print(f"\nPeak memory of model, optimiser and four steps: {'; '.join(memory)}.")
    return figures


def _ops(case: Case) -> list[Figure]:
    print(f"\nCompiled operators here: {ops.compiled_name()}. * does a share of the work and is scaled up.")
    _head("Operators in plain torch")
    figures = []
    for row in (*ops.roi_align(case.device, case.tiny), *ops.nms(case.device, case.tiny)):
        _line(row.name, row.ours, row.reference, row.theirs, row.ours / row.theirs)
        if row.name.startswith("roi_align"):
            figures.append(Figure(f"{row.name} over {row.reference}", row.ours / row.theirs, 1))
    return figures


def _prediction(case: Case) -> list[Figure]:
    _head("Prediction of one image")
    figures = []
    for network in case.networks:
        both = works.prediction(case.data, network, case.device)
        own, other, ratio = works.medians(both.ours, both.theirs, 2 * case.rounds, case.device)
        if both.counts[0] != both.counts[1]:
            raise SystemExit(f"{network.name}: detections differ: {both.counts}")
        found = sum(both.counts[0]) / len(both.counts[0])
        name = f"{network.name}, {network.size} px"
        what = f"{name}, from the store, {found:.0f} detections an image"
        _line(what, own, "MMDetection's test_step, from files", other, ratio)
        figures.append(Figure(f"prediction, {name}: time over MMDetection's", ratio, 1.05))
    return figures


def _data(case: Case) -> list[Figure]:
    _head("Data")
    network, rounds, count = case.networks[0], 6 * case.rounds, len(case.data.ids)
    figures = []
    for kept, what in ((256, "again"), (0, "for the first time")):
        ours, theirs = works.our_dataset(case.data, network), works.their_dataset(case.data, network)
        ours.source = case.data.source(kept)
        for i in range(count):
            ours[SampleKey(i, i)]
        own, other, ratio = works.medians(
            lambda i, ours=ours: ours[SampleKey(i % count, i)],
            lambda i, theirs=theirs: theirs[i % count],
            rounds,
            case.device,
        )
        _line(
            f"an image with {SETS} sets, read {what}, {network.size} px",
            own,
            "CocoDataset, one set",
            other,
            ratio,
        )
        figures.append(Figure(f"data, read {what}: time over CocoDataset's", ratio, 1))
    return figures


def _wait(case: Case) -> list[Figure]:
    print("\n## Waiting for data\n\nWall time of training steps with one worker, the first step left out.\n")
    figures = []
    for network in case.networks:
        config = PredictionConfig(
            model=network.name,
            image_size=network.size,
            pretrained=None,
            batch_size=2,
            learning_rate=1e-6,
            data_workers=1,
        )
        with tempfile.TemporaryDirectory() as folder:
            execution = Execution(device="cuda" if case.device.type == "cuda" else "cpu")
            quiet = Progress(quiet=True)
            context = StageContext(Path(folder), 0, None, execution, quiet, "prediction")
            train_network(case.data.source(0), config, 2 * case.rounds, context)
        share = context.counts[DATA_WAIT]
        print(f"- {network.name}, {network.size} px, batch 2: {share:.2%}", flush=True)
        figures.append(Figure(f"{network.name}: share of a step that waits for data", share, 0.05))
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data", type=Path, help="VOC devkit whose val photographs to use")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument(
        "--rounds", type=int, default=8, help="turns of a training step; other parts take more"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="all sizes shrunk, to try the benchmark itself")
    return parser.parse_args()


def main() -> None:
    """Command line."""
    options = _options()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    device = torch.device(options.device)
    parts: dict[str, Callable[[Case], list[Figure]]] = {
        "step": _step,
        "ops": _ops,
        "prediction": _prediction,
        "data": _data,
        "wait": _wait,
    }
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    images = "generated scenes" if options.data is None else "photographs"
    print(f"# Prediction network: {where}, {options.threads} thread(s), {options.images} {images}")
    with tempfile.TemporaryDirectory() as folder:
        data = make(Path(folder) / "data", options.images, options.data, options.tiny)
        case = Case(data, device, options.tiny, options.rounds)
        print_figures([figure for part in PARTS if part in options.only for figure in parts[part](case)])


if __name__ == "__main__":
    main()
