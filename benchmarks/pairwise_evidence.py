"""What the pairwise term of eq. (1) can know: separations I_uv of neighbouring proposals beside their true quality.

    .venv/bin/python benchmarks/pairwise_evidence.py RUN --store STORE [--images 120]

Takes data, seeds, proposals and the conditional network of outer iteration 1 from a run that evaluates. A proposal's
quality is its best IoU with a true instance; masks are read for measuring alone. First table: exp(-I_uv), which weighs
a neighbour, and how many samples `pairwise=diffuse` changes. Second: how I_uv goes with the difference of quality of
two neighbours, as a distance and as the gain of the outer one of two nested ones.
"""

import argparse
import json
import os
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import numpy as np
import torch
from stored_run import artefacts_of_run, labelled_images

from data_contracts.schemas import GROUND_TRUTH
from stages.conditional.conditional import SAMPLER_NAME, Config
from stages.conditional.examples import Examples
from wsis.engine.training import WEIGHTS_NAME, load_weights
from wsis.method.conditional.architectures import build_network
from wsis.method.conditional.energy import EnergyConfig
from wsis.method.conditional.graph import GraphConfig, ProposalGraph
from wsis.method.conditional.network import ConditionalNetwork
from wsis.method.dissimilarity.network_inputs import SamplerConfig, image_batch, image_key, image_noise
from wsis.method.dissimilarity.objective import ImageProblem, sample_labels
from wsis.method.evaluation.diagnosis import RegionOverlaps, TrueMasks
from wsis.method.evaluation.instances import GroundTruth

GRAPHS = {
    "sum": GraphConfig(),
    "mean": GraphConfig(separation="mean"),
    "mean, weight 5": GraphConfig(separation="mean", separation_weight=5.0),
}
OVERLAPS = ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
_SAMPLES, _STREAM = 4, 9
_NESTED = 0.97  # share of the inner proposal in the outer one
_GOOD = 0.4  # pairs of which neither is near an instance tell nothing
_LARGER = 1.1


class Evidence:
    """What the tables show, gathered over images."""

    def __init__(self) -> None:
        self.attraction: dict[str, list[np.ndarray]] = {name: [] for name in GRAPHS}
        self.pairs: list[
            np.ndarray
        ] = []  # [n, 4]: IoU, I_uv (mean), quality of v less that of u, better of both
        self.nested: list[np.ndarray] = []  # those of them where u lies in v
        self.changed: dict[str, list[bool]] = {name: [] for name in GRAPHS}

    def add_graphs(self, graphs: dict[str, ProposalGraph], quality: np.ndarray) -> None:
        """quality: float [P], best IoU with a true instance."""
        for name, graph in graphs.items():
            self.attraction[name].append(torch.exp(-graph.separations[graph.neighbour_mask]).numpy())
        graph = graphs["mean"]
        listed = graph.neighbour_mask.numpy()
        u = np.broadcast_to(np.arange(graph.num_proposals)[:, None], listed.shape)[listed]
        v = graph.neighbours.numpy()[listed]
        overlap, separation = graph.iou()[u, v].numpy(), graph.separations.numpy()[listed]
        better, gain = np.maximum(quality[u], quality[v]), quality[v] - quality[u]
        pairs = np.stack([overlap, separation, gain, better], axis=1)
        self.pairs.append(pairs)
        inside = graph.containment()[v, u].numpy() > _NESTED  # the share of u in v
        inside &= (graph.areas[v] > _LARGER * graph.areas[u]).numpy()
        self.nested.append(pairs[inside])

    def print(self) -> None:
        """Both tables."""
        print("\n| I_uv | exp(-I_uv): 5 % | 25 % | 50 % | 75 % | 95 % | samples that the term changes |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, values in self.attraction.items():
            shares = np.quantile(np.concatenate(values), [0.05, 0.25, 0.5, 0.75, 0.95])
            changed = f"{100 * np.mean(self.changed[name]):.1f} %"
            print(f"| {name} | " + " | ".join(f"{s:.4f}" for s in shares) + f" | {changed} |")
        print(
            "\n| IoU of the pair | pairs | r(I_uv, difference) | nested pairs | r(I_uv, gain of the outer one) |"
        )
        print("|---|---:|---:|---:|---:|")
        pairs, nested = np.concatenate(self.pairs), np.concatenate(self.nested)
        for low, high in OVERLAPS:
            cells = [_correlation(table, low, high) for table in (np.abs(pairs), nested)]
            print(f"| {low} to {high} | " + " | ".join(f"{n} | {r:+.2f}" for n, r in cells) + " |")


def _correlation(table: np.ndarray, low: float, high: float) -> tuple[int, float]:
    rows = table[(table[:, 0] >= low) & (table[:, 0] < high) & (table[:, 3] > _GOOD)]
    return len(rows), float(np.corrcoef(rows[:, 1], rows[:, 2])[0, 1]) if len(rows) > 2 else float("nan")


def _measure(
    evidence: Evidence,
    image_id: str,
    examples: dict[str, Examples],
    truth: TrueMasks,
    network: ConditionalNetwork,
) -> None:
    """examples: one a graph configuration, the first of them to compare with."""
    built = {name: of.build(image_id) for name, of in examples.items()}
    first, (image, problem) = next(iter(examples.values())), next(iter(built.values()))
    graphs = {name: one.graph for name, (_, one) in built.items()}
    membership = problem.graph.membership.numpy()
    superpixels = first.proposals[image_id]["superpixels"]
    quality = RegionOverlaps(superpixels, membership.shape[1], truth)(membership).iou.max(1, initial=0.0)
    evidence.add_graphs(graphs, quality)
    sampler = replace(first.sampler, score_noise=0.0)
    noise = image_noise(_SAMPLES, problem, sampler, (0, _STREAM, image_key(image_id)))

    def labels(one: ImageProblem, iterations: int) -> torch.Tensor:
        energy = EnergyConfig(pairwise="diffuse", iterations=iterations)
        return sample_labels(network, image_batch([image], [False]), [one], [noise], energy)[0][0]

    without = labels(problem, 0)
    for name, (_, one) in built.items():
        evidence.changed[name] += (labels(one, 3) != without).any(1).tolist()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run whose data set, seeds, proposals, network and ground truth are used")
    parser.add_argument("--store", required=True)
    parser.add_argument("--images", type=int, default=120, help="training images with masks to measure on")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(1)
    inputs = artefacts_of_run(options.store, options.run, "conditional@1")
    chosen = labelled_images(inputs, options.images)
    truths, trained = inputs["ground_truth"].records(GROUND_TRUTH), inputs["conditional@1"]
    sampler = SamplerConfig.from_json(json.loads(trained.file(SAMPLER_NAME).read_text()))
    network = build_network(sampler.network, load_pretrained=False).eval()
    network.load_state_dict(load_weights(trained.file(WEIGHTS_NAME)))
    examples = {}
    for name, graph in GRAPHS.items():
        of_graph = replace(sampler, problem=replace(sampler.problem, graph=graph))
        examples[name] = Examples(inputs, Config(), of_graph, network.extractor.stride)
    evidence = Evidence()
    for image_id in chosen:
        _measure(evidence, image_id, examples, TrueMasks(GroundTruth.from_record(truths[image_id])), network)
    print(f"{len(chosen)} images of run {options.run}, {_SAMPLES} samples each, noise of the scores off")
    evidence.print()


if __name__ == "__main__":
    main()
