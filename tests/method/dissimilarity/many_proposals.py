"""Run by test_many_proposals: peak memory of a problem of P proposals, of sampling and of one step, in MiB as JSON."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tests.method.conditional.conditional_cases import noise_maps
from wsis.method.conditional.architectures import NetworkConfig, build_network
from wsis.method.conditional.noise import Noise
from wsis.method.dissimilarity.image_problem import ImageArrays, ProblemConfig, build_problem
from wsis.method.dissimilarity.objective import LearningConfig, dissimilarity_loss, sample_labels
from wsis.method.dissimilarity.targets import one_hot_targets
from wsis.method.masks.superpixels import adjacency

ROWS, COLUMNS, SIZE, SAMPLES = 20, 30, (60, 90), 10


def peak():
    """Largest resident size of this process so far, MiB (ru_maxrss would count the parent's too)."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def arrays_of(proposals):
    """P random rectangles of a grid of 600 superpixels, four annotated classes."""
    rng = np.random.default_rng(0)
    cells = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    superpixels = cells.repeat(12, 0).repeat(12, 1).astype(np.int32)
    masks = np.zeros((proposals, ROWS, COLUMNS), dtype=bool)
    for mask in masks:
        height, width = rng.integers(1, 9, 2)
        y, x = rng.integers(0, ROWS - height), rng.integers(0, COLUMNS - width)
        mask[y : y + height, x : x + width] = True
    return ImageArrays(
        superpixels,
        masks.reshape(proposals, -1),
        np.tile(np.float32([[0, 0, 5, 5]]), (proposals, 1)),
        np.ones(proposals, np.float32),
        *adjacency(superpixels, rng.random(superpixels.shape).astype(np.float32)),
        np.array([1, 2, 3, 4]),
        np.zeros((0, 4), dtype=np.float32),
        np.zeros(0, dtype=np.int32),
    )


def measure(proposals):
    """Memory above what the process held before, after each of three parts; seconds of each."""
    torch.set_num_threads(1)
    arrays = arrays_of(proposals)
    network = build_network(NetworkConfig(architecture="unet", widths=(8, 8)), 20)
    images, noises = 255 * torch.rand(1, 3, *SIZE), [Noise(noise_maps(SAMPLES, SIZE))]

    def targets(graph):
        return one_hot_targets(torch.tensor([1, 2, 3, 4]), graph.membership[5:9].float(), 20)

    network.features(images)  # what PyTorch needs once
    before, start, result = peak(), time.perf_counter(), {}

    def note(name):
        nonlocal start
        result[name] = {"mib": peak() - before, "seconds": time.perf_counter() - start}
        start = time.perf_counter()

    problem = build_problem(arrays, SIZE, ProblemConfig(), targets)
    note("problem")
    sample_labels(network, images, [problem], noises, LearningConfig())
    note("sampling")
    loss, _ = dissimilarity_loss(network, images, [problem], noises, [False], LearningConfig())
    loss.backward()
    note("step")
    return result


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
