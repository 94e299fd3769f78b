"""Networks as they are placed on a CPU (`wsis.method.placement`), against themselves as torch has them by default.

    .venv/bin/python benchmarks/layout.py [--repeats 7]

CPU seconds of one thread, the least of some repeats taken by turns; both are first checked to give the same result to
1e-4 of its largest value. By default: channels first, each BatchNorm a pass of its own, torch's choice of kernels.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import torch
from torch import Tensor, nn

from tests.gpu.laid_as_on_a_gpu import laid_as_on_a_gpu
from wsis.method.backbones import build_backbone
from wsis.method.conditional.architectures import NetworkConfig, build_network
from wsis.method.placement import placed
from wsis.method.proposals.contours.network import ContourNetwork

TOLERANCE = 1e-4
Work = Callable[[], Tensor]


def _network(make: Callable[[], nn.Module], own: bool) -> nn.Module:
    torch.manual_seed(0)
    network = make()
    return placed(network, "cpu") if own else network


def _training(make: Callable[[], nn.Module], images: Tensor, own: bool) -> Work:
    """Forward and backward; gives a loss of the features."""
    network = _network(make, own).train()

    def work() -> Tensor:
        network.zero_grad(set_to_none=True)
        features = network(images)
        parts = features if isinstance(features, list) else [features]
        loss = torch.stack([part.square().mean() for part in parts]).sum()
        loss.backward()
        return loss.detach()

    return work


def _detecting(make: Callable[[], nn.Module], images: Tensor, own: bool) -> Work:
    """Forward alone, in evaluation mode."""
    network = _network(make, own).eval()

    def work() -> Tensor:
        with torch.inference_mode():
            result = network(images)
            return result[-1] if isinstance(result, list) else result

    return work


def _extractor() -> nn.Module:
    return build_network(NetworkConfig(pretrained=None), 20).extractor


def _lite() -> nn.Module:
    return build_backbone("efficientnet_lite0", None, batch_norm="frozen", frozen_blocks=1)


def _resnet() -> nn.Module:
    return build_backbone("resnet50", None, out_indices=(1, 2, 3, 4), batch_norm="frozen")


CASES = (
    ("conditional's features, a step of 4 at 256", _training, _extractor, (4, 3, 192, 256)),
    ("Mask R-CNN's backbone (Lite0), a step of 4 at 288", _training, _lite, (4, 3, 216, 288)),
    ("Mask R-CNN's backbone (Lite0), an image", _detecting, _lite, (1, 3, 288, 384)),
    ("ResNet-50, a step of 2 at 256", _training, _resnet, (2, 3, 192, 256)),
    ("contours of an image", _detecting, lambda: ContourNetwork(None), (1, 3, 288, 384)),
)


def _seconds(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _by_turns(ours: Work, default: Work, repeats: int) -> tuple[float, float]:
    taken = []
    for _ in range(repeats):
        with laid_as_on_a_gpu():
            other = _seconds(default)
        taken.append((_seconds(ours), other))
    return min(one for one, _ in taken), min(other for _, other in taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread\n")
    print("| | ms | by default, ms | ratio | difference |\n|---|---:|---:|---:|---:|")
    for name, kind, make, shape in CASES:
        images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()
        ours, default = kind(make, images, True), kind(make, images, False)
        with laid_as_on_a_gpu():
            expected = default()
        difference = float((ours() - expected).abs().max() / expected.abs().max())
        if difference > TOLERANCE:
            raise SystemExit(f"{name}: the results differ by {difference} of the largest value")
        own, other = _by_turns(ours, default, repeats)
        print(
            f"| {name} | {1000 * own:.0f} | {1000 * other:.0f} | {other / own:.2f} | {difference:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
