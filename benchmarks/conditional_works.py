"""What is timed: each part of the conditional distribution as ours, as its references, and the check that they agree.

Suffix legend: P proposals, S superpixels, K samples, D channels, J score columns, Q problems, h w map, B images.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from conditional_problems import CONTAINMENT, Sizes, regions, scores, slots
from conditional_references import (
    dense_diffusion,
    masked_means,
    multiplied_means,
    pixel_neighbours,
    plain_algorithm,
)
from torch import Tensor

from wsis.method.conditional.architectures import NetworkConfig, build_network
from wsis.method.conditional.energy import ITERATIONS, EnergyConfig, refine_scores
from wsis.method.conditional.graph import MAX_NEIGHBOURS
from wsis.method.conditional.inference import infer
from wsis.method.conditional.noise import Noise, noise_cells, upsampled
from wsis.method.conditional.pooling import pool_matrix, pool_proposals, segment_sums
from wsis.method.dissimilarity.objective import ImageProblem, LearningConfig, dissimilarity_loss
from wsis.method.dissimilarity.surrogate import SurrogateConfig, augmented_scores
from wsis.method.dissimilarity.targets import targets_from_labels
from wsis.method.dissimilarity.task_loss import loss_table, miss_cost, sample_loss_tables
from wsis.method.placement import placed
from wsis.method.transfers import moved

TOLERANCE = 1e-5
AMPLE, TRAINED = 0.0, 9.0  # the background's lead: half of all scores beat it, or none but the required ones
WEIGHT = 0.02  # of I_uv where the results are compared: at 1 most neighbours are too far apart to show a difference
Work = Callable[[], Tensor]


@dataclass(frozen=True)
class Timed:
    """Ours, and references that give the same result: the result's first part where they do a share of the work.

    `share` is what the references do of the whole, `what` names the sizes.
    """

    ours: Work
    references: dict[str, Work] = field(default_factory=dict)
    share: float = 1.0
    what: str = ""

    def difference(self, expected: Tensor) -> float:
        """Largest difference of a reference's result from ours.

        Raises:
            SystemExit: it is above the tolerance, times the largest value where that is above 1.
        """
        part = self.ours()[tuple(slice(0, n) for n in expected.shape)]
        difference = float((part - expected).abs().max())
        if difference > TOLERANCE * max(1.0, float(expected.abs().max())):
            raise SystemExit(f"{self.what}: the reference differs from ours by {difference}")
        return difference


def pooling(sizes: Sizes, device: torch.device, share: float = 1.0) -> Timed:
    """Averages of K x D feature maps over P proposals, from the superpixel map and the feature maps on."""
    case = regions(sizes)
    height, width = case.superpixels.shape
    membership = torch.from_numpy(case.membership).to(device)
    area = torch.from_numpy(np.bincount(case.superpixels.ravel()).astype(np.float32)).to(device)
    areas = membership.float() @ area
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(sizes.samples, sizes.channels, height, width, generator=generator).to(device)
    pixels = height * width

    def ours() -> Tensor:
        matrix = pool_matrix(case.superpixels, (height, width), membership.shape[1]).to(device)
        pooled = pool_proposals(segment_sums(matrix, maps.flatten(0, 1)), membership, areas, pixels)
        return pooled.reshape(-1, sizes.samples, sizes.channels).transpose(0, 1)

    def masks() -> Tensor:
        few = case.membership[: max(1, round(share * len(membership)))]
        return torch.from_numpy(few[:, case.superpixels]).flatten(1).to(device)

    return Timed(
        ours,
        {
            "mask x map": lambda: masked_means(maps.flatten(2), masks()),
            "mask x map as matrix products": lambda: multiplied_means(maps.flatten(2), masks()),
        },
        share,
        f"{width}x{height}, S = {membership.shape[1]}, P = {len(membership)}, {sizes.channels} channels, "
        f"K = {sizes.samples}",
    )


def inference(sizes: Sizes, device: torch.device, background: float, share: float = 1.0) -> Timed:
    """Algorithm 1 on the K + K(K-1) loss-augmented problems of eq. (26)."""
    graph = regions(sizes).graph()
    slot = slots(graph, sizes.annotated)
    drawn = scores(graph, sizes, background)
    labels = infer([drawn], [slot])[0]
    tables = sample_loss_tables(labels, graph, drawn.shape[2])
    config = SurrogateConfig(gamma=0.5, direction="away")
    problems = augmented_scores(drawn, tables[0], tables, config)
    suppress, columns, plain = slot.suppress.numpy(), slot.columns.numpy(), problems.numpy()
    order = np.random.default_rng(0).permutation(len(problems))  # a share is of both kinds
    on_device, there = problems[torch.from_numpy(order)].to(device), moved(slot, device)
    few = max(1, round(share * len(problems)))
    picks = float((infer([problems], [slot])[0] > 0).sum(1).float().mean())

    def reference() -> Tensor:
        rows = [plain_algorithm(plain[q], columns, suppress) for q in order[:few]]
        return torch.tensor(rows, device=device)

    return Timed(
        lambda: infer([on_device], [there])[0],
        {"plain Algorithm 1": reference},
        share,
        f"{len(problems)} problems, P = {graph.num_proposals}, {sizes.annotated} classes, {picks:.0f} picks each",
    )


def pairwise(sizes: Sizes, device: torch.device) -> Timed:
    """The proposal graph and the three iterations of eq. (1)-(2)."""
    case, energy = regions(sizes), EnergyConfig()
    drawn = scores(case.graph(), sizes, AMPLE).to(device)
    contour = torch.from_numpy(case.contour).to(device)

    def reference() -> Tensor:
        masks = torch.from_numpy(case.membership[:, case.superpixels]).to(device)
        listed, separation = pixel_neighbours(masks, contour, MAX_NEIGHBOURS)
        return dense_diffusion(drawn, listed, separation * WEIGHT, energy.delta, ITERATIONS)

    def ours() -> Tensor:
        graph = case.graph()
        return refine_scores(
            drawn, moved(replace(graph, separations=WEIGHT * graph.separations), device), energy
        )

    height, width = case.superpixels.shape
    return Timed(
        ours,
        {"pairs of pixel masks": reference},
        what=f"{width}x{height}, P = {len(case.membership)}, K = {sizes.samples}, {ITERATIONS} iterations, "
        "graph included",
    )


def updates(sizes: Sizes, device: torch.device) -> Timed:
    """The three iterations alone, forward and backward."""
    graph = regions(sizes).graph()
    drawn, there = scores(graph, sizes, AMPLE).to(device).requires_grad_(), moved(graph, device)

    def ours() -> Tensor:
        (gradient,) = torch.autograd.grad(refine_scores(drawn, there, EnergyConfig()).square().sum(), drawn)
        return gradient

    return Timed(ours)


def graph_building(sizes: Sizes, device: torch.device) -> Timed:
    """Neighbours, separations, and which proposal contains which; on the processor, once an image."""
    case = regions(sizes)
    return Timed(lambda: case.graph().contains(CONTAINMENT))


def step(sizes: Sizes, device: torch.device, batch: int, stride: int = 4) -> Timed:
    """One training step on a batch of images, against the network's own forward and backward."""
    torch.manual_seed(0)
    network = placed(build_network(NetworkConfig(pretrained=None, stride=stride), 20), device).train()
    size = (sizes.height // stride, sizes.width // stride)
    problems = []
    for index in range(batch):
        case = regions(sizes, index)
        graph = case.graph()
        labels = torch.zeros(graph.num_proposals, dtype=torch.int64)
        labels[: sizes.annotated] = torch.arange(1, sizes.annotated + 1)
        targets, classes = targets_from_labels(labels, graph.membership, 20), labels[: sizes.annotated]
        problem = ImageProblem(
            graph,
            pool_matrix(case.superpixels, size, case.membership.shape[1]),
            size,
            classes,
            slots(graph, sizes.annotated),
            loss_table(graph, targets, classes),
            miss_cost(targets),
        )
        problems.append(moved(problem, device))
    images = 255 * torch.rand(batch, 3, sizes.height, sizes.width, device=device)
    noises = moved([Noise(noise_cells(sizes.samples, size)) for _ in range(batch)], device)
    config, flipped = LearningConfig(gamma=0.5, reach_weight=0), [False] * batch

    def ours() -> Tensor:
        network.zero_grad(set_to_none=True)
        value, _ = dissimilarity_loss(network, images, problems, noises, flipped, config)
        value.backward()
        return value.detach()

    def alone() -> Tensor:
        network.zero_grad(set_to_none=True)
        features = network.features(images)
        total = torch.stack(
            [
                network.proposal_scores(f, upsampled(z.cells, size), p.matrix, p.graph, p.classes).sum()
                for f, z, p in zip(features, noises, problems, strict=True)
            ]
        ).sum()
        total.backward()
        return total.detach()

    return Timed(
        ours,
        {"the network's forward and backward": alone},
        what=f"{batch} images of {sizes.width}x{sizes.height}, P = {sizes.proposals}, K = {sizes.samples}, "
        f"{sizes.annotated} classes",
    )
