"""Accuracy of the conditional samples: U, U+P, U+P+H (Table 2) and the pairwise forms, before and after training.

    .venv/bin/python benchmarks/conditional_terms.py RUN --store STORE [--steps 200] [--images 100] [--set K=V ...]

Takes data, seeds and proposals from a run that evaluates, trains the conditional network of outer iteration 1 on its
training images (Algorithm 2, as the stage does) for a number of steps, and compares samples with masks; the masks are
read for measuring alone. An instance's IoU is its best with a sample's instances of its class.
"""

import argparse
import os
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import numpy as np
import torch
from stored_run import artefacts_of_run, labelled_images

from data_contracts.records import RecordReader
from data_contracts.schemas import GROUND_TRUTH, PROPOSALS
from stages.conditional.examples import Examples
from stages.conditional.training import Config, Trainer
from wsis.engine.stage import Artefact
from wsis.engine.training import seed_everything
from wsis.method.conditional.architectures import build_network
from wsis.method.dissimilarity.diversity import diversity_statistics
from wsis.method.dissimilarity.network_inputs import image_batch, image_key
from wsis.method.dissimilarity.objective import sample_labels
from wsis.method.evaluation.instances import GroundTruth
from wsis.method.masks import rle
from wsis.method.masks.superpixels import iou_with_masks
from wsis.runs.config import validated
from wsis.views.dataset import class_names

VARIANTS: dict[str, dict[str, object]] = {
    "U": {"terms": "U"},
    "U+P": {"terms": "U+P"},
    "U+P+H": {},
    "U+P+H, literal": {"pairwise": "literal"},
}
_STREAM = 7  # of the noise of these measurements


class Measured:
    """Samples of some training images against their masks."""

    def __init__(self, truths: RecordReader, proposals: RecordReader, image_ids: list[str]) -> None:
        self.truths, self.proposals, self.image_ids = truths, proposals, image_ids

    def __call__(self, trainer: Trainer) -> tuple[float, ...]:
        """Mean over K and best of K instance IoU, mean distance and distinct samples, instances in a sample."""
        trainer.network.eval()
        every = [self._of_image(trainer, image_id) for image_id in self.image_ids]
        ious = np.concatenate([iou for iou, *_ in every], axis=1)
        others = np.mean([rest for _, *rest in every], axis=0)
        return float(ious.mean()), float(ious.max(axis=0).mean()), *others.tolist()

    def _of_image(self, trainer: Trainer, image_id: str) -> tuple[np.ndarray, float, float, float]:
        image, problem = trainer.examples.get(image_id)
        noise = trainer.noise(problem, _STREAM, image_key(image_id))
        batch = image_batch([image], [False])
        labels = sample_labels(trainer.network, batch, [problem], [noise], trainer.settings)[0][0]
        spread = diversity_statistics(labels, problem.graph.membership, problem.graph.superpixel_areas)
        truth = GroundTruth.from_record(self.truths[image_id])
        masks = rle.decode_many(list(truth.counts), truth.size)
        void = None if truth.void is None else rle.decode(truth.void, truth.size)
        superpixels = self.proposals[image_id]["superpixels"].astype(np.int32)
        overlap = iou_with_masks(superpixels, problem.graph.membership.numpy(), masks, void)
        named = torch.cat([problem.classes.new_zeros(1), problem.classes])[labels].numpy()  # [K, P]
        right = named[:, :, None] == truth.labels
        best = (overlap[None] * right).max(axis=1, initial=0.0)  # [K, G]
        return best, spread.mean_distance, float(spread.distinct), float((labels > 0).sum(1).float().mean())


def _trained(
    inputs: dict[str, Artefact], config: Config, seed: int, measured: Measured, steps: int
) -> list[tuple[float, ...]]:
    """Figures before and after `steps` steps."""
    seed_everything(seed, 1)
    network = build_network(config, len(class_names(inputs["dataset"])))
    examples = Examples(inputs, config, network.extractor.stride)
    context = SimpleNamespace(
        seed=seed, outer_iteration=1, device=torch.device("cpu"), title="conditional_terms", log=print
    )
    trainer = Trainer(network, examples, config, context)  # type: ignore[arg-type]
    trainer.steps = steps
    before = measured(trainer)
    for step in range(steps):
        seed_everything(seed, 1, step)
        trainer.step(step)
    return [before, measured(trainer)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run whose data set, seeds, proposals and ground truth are used")
    parser.add_argument("--store", required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images", type=int, default=100, help="training images with masks to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the conditional stage")
    return parser.parse_args()


def main() -> None:
    """Train each variant and print its figures before and after."""
    options = _options()
    torch.set_num_threads(1)
    inputs = artefacts_of_run(options.store, options.run)
    chosen = labelled_images(inputs, options.images)
    truths, proposals = inputs["ground_truth"].records(GROUND_TRUTH), inputs["proposals"].records(PROPOSALS)
    measured = Measured(truths, proposals, chosen)
    print(f"{len(chosen)} images, {options.steps} steps, seed {options.seed} {' '.join(options.set)}\n")
    print(
        "| | mean over K | best of K | mean distance | distinct | instances |\n|---|---:|---:|---:|---:|---:|"
    )
    for name in options.only:
        config = validated(Config, VARIANTS[name], f"variant {name}", options.set)
        figures = _trained(inputs, config, options.seed, measured, options.steps)
        for when, values in zip(("before", "after"), figures, strict=True):
            print(f"| {name}, {when} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)


if __name__ == "__main__":
    main()
