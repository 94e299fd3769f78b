"""Learning to rank candidates: which sets of superpixels should come first so that every true region is met early.

Regressing the overlap of each candidate alone ranks ten variants of one region before the next region, and was
worse than no learning (70 train photographs of VOC animals: J_i at 100 .87 to .88, unlearned .90). So the loss is
the measure itself: how well the best of the first candidates covers each region (:func:`expected_best_overlap`),
and a second variant of a region that is met earns nothing.

Suffix legend: h w working size, H W original image, S superpixels, n sets, F features, G true regions,
K candidates that are looked at for a region.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor, nn

from wsis.errors import InputError, NonFiniteError
from wsis.method.masks.superpixels import resize_nearest
from wsis.method.proposals.generator.ranker import RankerWeights, standardise

_WHOLE = 0.95  # a region above this share is the image: always proposed, teaches nothing


@dataclass(frozen=True)
class TrueRegions:
    """What one person calls the regions of an image: labels int32 [H, W], 0 none, 1..G; void bool [H, W], pixels
    that count nowhere; shares float64 [G] of the image."""

    labels: NDArray[np.int32]
    void: NDArray[np.bool_]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class RankingExample:
    """An image to learn from: features float32 [n, F]; rows int64 [K, G], the candidates that overlap each region
    most, best first, and their overlaps float32 [K, G]; shares float64 [G]."""

    features: NDArray[np.float32]
    rows: NDArray[np.int64]
    overlaps: NDArray[np.float32]
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class RankerTraining:
    """How to learn. drawn: how many candidates are drawn, in turn, when the loss asks what the best one covers."""

    hidden: int = 32
    epochs: int = 8
    batch_size: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    drawn: tuple[int, ...] = (50, 100, 200, 400)


def true_regions(labels: NDArray[np.integer], void: NDArray[np.bool_], smallest: float) -> TrueRegions:
    """Regions of a label map [H, W] (0 none) of at least ``smallest`` of the image and less than all of it."""
    count = np.bincount(labels.ravel())
    share = count / labels.size
    kept = (share >= smallest) & (share < _WHOLE)
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return TrueRegions(number[labels], void, share[kept])


def drawn_regions(annotators: NDArray[np.uint8], smallest: float) -> list[TrueRegions]:
    """Regions of each annotator: 4-connected parts of the pixels that are not his boundary, which is void.

    Args: annotators [H, W], bit i of a pixel: annotator i drew a boundary there.
    """
    found = []
    for index in range(int(annotators.max()).bit_length()):
        boundary = ((annotators >> index) & 1).astype(np.bool_)
        labels, _ = ndimage.label(~boundary)
        found.append(true_regions(labels, boundary, smallest))
    return found


def region_overlaps(
    membership: NDArray[np.bool_], superpixels: NDArray[np.int32], regions: TrueRegions
) -> NDArray[np.float32]:
    """IoU float32 [n, G] of sets bool [n, S] of superpixels [h, w] with true regions at the original size."""
    size = (regions.labels.shape[0], regions.labels.shape[1])
    pixels = resize_nearest(superpixels, size)[~regions.void].astype(np.int64)
    columns = len(regions.shares) + 1
    joint = np.bincount(
        pixels * columns + regions.labels[~regions.void], minlength=membership.shape[1] * columns
    ).reshape(-1, columns)
    inside = membership.astype(np.float32) @ joint.astype(np.float32)  # counts below 2^24 are exact
    common = inside[:, 1:]
    union = inside.sum(axis=1, keepdims=True) + joint[:, 1:].sum(axis=0) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def make_example(
    features: NDArray[np.float32],
    membership: NDArray[np.bool_],
    superpixels: NDArray[np.int32],
    truths: Sequence[TrueRegions],
    keep: int,
) -> RankingExample:
    """The features of an image's sets [n, S], and for each region of all ``truths`` its best ``keep`` sets."""
    nothing = np.zeros((len(membership), 0), np.float32)  # nobody may have drawn a region
    found = [region_overlaps(membership, superpixels, truth) for truth in truths]
    overlap = np.concatenate([nothing, *found], axis=1)
    rows = np.argsort(-overlap, axis=0, kind="stable")[:keep]
    return RankingExample(
        features=features,
        rows=rows,
        overlaps=np.take_along_axis(overlap, rows, axis=0),
        shares=np.concatenate([np.zeros(0), *(truth.shares for truth in truths)]),
    )


def expected_best_overlap(scores: Tensor, rows: Tensor, overlaps: Tensor, drawn: int) -> Tensor:
    """Expected overlap of the best drawn candidate with each region, [G].

    About ``drawn`` candidates are drawn independently, candidate i a Poisson number of times with mean
    drawn * softmax(scores)_i. The region's k-th best candidate counts where it is drawn and none of the k - 1
    better ones is: sum_k o_k (exp(-drawn P_{k-1}) - exp(-drawn P_k)), P_k the summed softmax of the first k.

    Args: scores [n]; rows int64 [K, G], overlaps [K, G], falling, of the candidates that overlap a region most.
    """
    missed = torch.exp(-drawn * torch.cumsum(torch.softmax(scores, 0)[rows], 0))
    before = torch.cat([torch.ones_like(missed[:1]), missed[:-1]])
    return (overlaps * (before - missed)).sum(0)


def _loss(network: nn.Module, example: tuple[Tensor, ...], drawn: Sequence[int]) -> Tensor:
    """One less the mean expected best overlap; a region counts with the root of its area."""
    features, rows, overlaps, weights = example
    scores = network(features)[:, 0]
    met = torch.stack([expected_best_overlap(scores, rows, overlaps, count) for count in drawn]).mean(0)
    return 1 - (met * weights).sum() / weights.sum()


def train_ranker(
    examples: Sequence[RankingExample],
    settings: RankerTraining,
    seed: int,
    contour: str,
    supervision: str,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> RankerWeights:
    """Learn from images; the same seed and examples give the same weights (one thread, CPU).

    Args: contour, supervision: see `ranker.RankerWeights`; track: wraps the steps, for progress.

    Raises:
        InputError: no image has a region.
        NonFiniteError: the loss became NaN or infinite.
    """
    used = [one for one in examples if len(one.shares)]
    if not used:
        raise InputError(f"regions: expected some in at least one of {len(examples)} images, got none")
    pixels = sum(len(one.features) for one in used)
    centre = np.sum([one.features.sum(axis=0, dtype=np.float64) for one in used], axis=0) / pixels
    square = sum(np.square(one.features - centre).sum(axis=0) for one in used) / pixels
    centre, spread = centre.astype(np.float32), (np.sqrt(square) + 1e-6).astype(np.float32)
    tensors = [
        (
            torch.from_numpy(standardise(one.features, centre, spread)),
            torch.from_numpy(one.rows),
            torch.from_numpy(one.overlaps),
            torch.from_numpy(np.sqrt(one.shares).astype(np.float32)),
        )
        for one in used
    ]
    network = _train(tensors, settings, seed, track)
    arrays = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return RankerWeights(
        centre=centre,
        spread=spread,
        first=arrays["0.weight"].T.copy(),
        first_bias=arrays["0.bias"],
        second=arrays["2.weight"].T.copy(),
        second_bias=arrays["2.bias"],
        last=arrays["4.weight"][0].copy(),
        contour=contour,
        supervision=supervision,
    )


def _train(
    tensors: Sequence[tuple[Tensor, ...]],
    settings: RankerTraining,
    seed: int,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = settings.hidden
        network = nn.Sequential(
            *(nn.Linear(tensors[0][0].shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
            nn.Linear(width, 1, bias=False),  # a constant changes no order
        )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    batches = -(-len(tensors) // settings.batch_size)
    total = settings.epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=total + 1)
    for step in track(range(total)):
        epoch, place = divmod(step, batches)
        order = np.random.default_rng((seed, epoch)).permutation(len(tensors))
        batch = order[place * settings.batch_size : (place + 1) * settings.batch_size]
        loss = torch.stack([_loss(network, tensors[i], settings.drawn) for i in batch]).mean()
        if not torch.isfinite(loss):
            raise NonFiniteError(f"ranker: step {step}: expected a finite loss, got {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


def rank_correlation(scores: NDArray[np.floating], overlaps: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two rows [n], ties shared; 0 where one of them is constant."""
    one, other = stats.rankdata(scores), stats.rankdata(overlaps)
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum() / scale) if scale > 0 else 0.0
