"""Box supervision in every part: filter, seeds as targets, slots, inference per box, learning, samples."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.method.conditional.conditional_cases import noise_maps, random_case
from tests.method.conditional.inference_references import brute_force_boxes
from tests.records import proposals_of
from wsis.errors import InputError
from wsis.method.conditional.architectures import build_network
from wsis.method.conditional.energy import labelling_score
from wsis.method.conditional.inference import infer
from wsis.method.conditional.label_sets import deduplicate
from wsis.method.conditional.noise import Noise
from wsis.method.dissimilarity.image_problem import build_problem
from wsis.method.dissimilarity.network_inputs import SamplingConfig, arrays_of_image, filtered_rows
from wsis.method.dissimilarity.objective import LearningConfig, dissimilarity_loss, sample_labels
from wsis.method.dissimilarity.seed_targets import SeedTargetConfig, seed_targets
from wsis.method.dissimilarity.targets import targets_from_labels
from wsis.method.masks.boxes import box_iou
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.prm.seeds import Seeds

COUNT, CLASSES = 80, 4
# Two boxes of one class, one of another; the image is as large as the superpixel map.
BOXES = np.array([[0, 0, 9, 9], [8, 4, 18, 14], [2, 6, 12, 16]], dtype=np.float32)
BOX_LABELS = np.array([2, 2, 4], dtype=np.int32)
CONFIG = SamplingConfig(architecture="unet", widths=(8, 8), max_proposals=12, box_threshold=0.5)


def rectangles(seed):
    """Proposals that are rectangles of the 4 x 5 grid of superpixels, bool [80, 20]."""
    rng = np.random.default_rng(seed)
    grid = np.zeros((COUNT, 4, 5), dtype=bool)
    for mask in grid:
        (y, x), (h, w) = rng.integers(0, 3, 2), rng.integers(1, 4, 2)
        mask[y : y + h, x : x + w] = True
    return grid.reshape(COUNT, -1)


@pytest.fixture(scope="module", params=[0, 1, 2])
def image(request):
    """Stored records of one image: data set, seeds of boxes (what of them the filter reads), proposals."""
    superpixels, _, (edges, contours, lengths), _ = random_case(request.param)
    membership = rectangles(request.param)
    dataset = {"labels": np.array([2, 4], dtype=np.int32)}
    seeds = seeds_of(BOXES, BOX_LABELS)
    proposals = proposals_of(superpixels, membership, superpixels.shape, (edges, contours, lengths))
    return dataset, seeds, proposals


def seeds_of(boxes, labels):
    """Boxes and classes of seeds; their places and maps are left out, so that nothing could read them."""
    peaks = np.stack([labels, 0 * labels, 0 * labels], axis=1).astype(np.int32)
    return Seeds(peaks, None, None, None, None, boxes)


def filtered(image):
    dataset, seeds, proposals = image
    kept = filtered_rows(proposals, seeds, CONFIG)
    return kept, arrays_of_image(dataset, proposals, seeds, kept)


def a_problem(image, size=(8, 10), targets=None):
    return build_problem(filtered(image)[1], size, CONFIG, targets)


def test_the_filter_asks_the_boxes_alone(image):
    _, _, proposals = image
    kept, arrays = filtered(image)  # the seeds' maps, absent here, have no say
    overlap = box_iou(proposals.boxes, BOXES)
    assert set(overlap.argmax(0)) <= set(kept.tolist())
    fits = {u for u in range(COUNT) if overlap[u].max() >= 0.5} | set(overlap.argmax(0).tolist())
    assert set(kept.tolist()) <= fits
    assert len(kept) == len(fits)  # more than max_proposals: 16 a box are kept at least
    np.testing.assert_array_equal(arrays.proposal_boxes, proposals.boxes[kept])


def test_the_filter_of_an_image_without_proposals_is_empty(image):
    _, seeds, proposals = image
    none = ProposalSet.from_record(proposals.to_record(), np.zeros(0, int))
    assert filtered_rows(none, seeds, CONFIG).tolist() == []


def test_slots_are_the_boxes_with_the_ious_of_the_kept_proposals(image):
    problem, (_, arrays) = a_problem(image), filtered(image)
    assert problem.classes.tolist() == [2, 4]
    assert problem.slots.columns.tolist() == [1, 1, 2]
    expected = box_iou(arrays.proposal_boxes, BOXES)
    np.testing.assert_allclose(problem.slots.box_iou.numpy(), expected, atol=1e-6)


def test_every_box_gets_one_proposal_of_its_class_that_fits_it(image):
    problem = a_problem(image)
    overlap = problem.slots.box_iou.numpy()
    scores = torch.randn(40, len(overlap), 3, generator=torch.Generator().manual_seed(0))
    labels = infer([scores], [problem.slots])[0]
    assert ((labels == 1).sum(1) == 2).all() and ((labels == 2).sum(1) == 1).all()
    alone = replace(problem.slots, candidates=None)  # without the cost of shared pixels
    values = labelling_score(scores.double(), infer([scores], [alone])[0])
    best = np.array([brute_force_boxes(s.numpy(), [1, 1, 2], overlap) for s in scores[:10]])
    reachable = np.isfinite(best)
    assert reachable.any()
    assert (values[:10].numpy()[reachable] <= best[reachable] + 1e-4).all()
    assert (values[:10].numpy()[reachable] >= best[reachable] - 1e-4).mean() > 0.6


def seeds(image, kind="crm_proposal", count=3):
    _, _, proposals = image
    problem, superpixels = a_problem(image), proposals.superpixels
    centres = (BOXES[:, 1::2].mean(1), BOXES[:, 0::2].mean(1))
    peaks = np.stack([BOX_LABELS, *centres], axis=1).astype(np.int32)[:count]
    maps = np.random.default_rng(0).integers(0, 256, (2, 6, 6)).astype(np.uint8)
    prm = np.random.default_rng(1).integers(0, 256, (3, 5, 5)).astype(np.uint8)[:count]
    found = seed_targets(
        problem.graph,
        superpixels,
        peaks,
        prm,
        maps,
        np.array([2, 4]),
        superpixels.shape,
        CLASSES,
        SeedTargetConfig(seed_target=kind),
        (torch.from_numpy(filtered(image)[1].proposal_scores), problem.slots.box_iou),
    )
    return found, problem, superpixels, maps


def test_a_boxs_seed_becomes_a_proposal_that_fits_it_and_leaves_others_theirs(image):
    """Against every choice of one proposal a box, each scored as the text of `box_choice` and `box_fit` says."""
    found, problem, _, _ = seeds(image)
    graph, fits = problem.graph, problem.slots.box_iou.numpy()
    masks = graph.membership.numpy()
    areas = graph.superpixel_areas.numpy()
    common = (masks * areas) @ masks.T
    sizes = np.diag(common)
    scores = filtered(image)[1].proposal_scores
    options, values = [], []
    for n in range(3):
        rows = [u for u in range(len(masks)) if fits[u, n] >= 0.8] or [int(fits[:, n].argmax())]
        value = scores[rows] * fits[rows, n]
        options.append(rows)
        values.append(value / value.max())
    cost = np.mean([v.max() - v.min() for v in values])

    def total(places):
        rows = [options[n][place] for n, place in enumerate(places)]
        shared = 0.0
        for one, other in itertools.combinations(rows, 2):
            shared += 1e3 if one == other else common[one, other] / min(sizes[one], sizes[other])
        return sum(values[n][place] for n, place in enumerate(places)) - cost * shared

    best = max(total(places) for places in itertools.product(*map(range, map(len, options))))
    taken = [np.flatnonzero((masks == mask).all(1)) for mask in found.masks.numpy().astype(bool)]
    places = [next(options[n].index(u) for u in rows if u in options[n]) for n, rows in enumerate(taken)]
    assert total(places) == pytest.approx(best, abs=1e-5)
    assert found.probabilities.argmax(1).tolist() == BOX_LABELS.tolist()


def test_peak_response_maps_of_boxes_stay_soft_masks(image):
    found, *_ = seeds(image, kind="prm")
    assert len(found) == 3 and found.probabilities.argmax(1).tolist() == [2, 2, 4]


def test_a_seed_too_few_is_named(image):
    with pytest.raises(InputError, match="expected one seed a box, got 2 for 3 boxes"):
        seeds(image, count=2)


def test_learning_and_sampling_fill_every_box(image):
    """One step and one sampling through the whole chain; samples refer to the unfiltered proposals."""
    kept, _ = filtered(image)

    def make_targets(graph):
        labels = torch.zeros(graph.num_proposals, dtype=torch.int64)
        labels[[0, 3]] = torch.tensor([2, 4])
        return targets_from_labels(labels, graph.membership, CLASSES)

    problem = a_problem(image, targets=make_targets)
    network = build_network(CONFIG, CLASSES)
    pixels, noise = 255 * torch.rand(1, 3, 8, 10), Noise(noise_maps(5, (8, 10), grid=2))
    loss, logs = dissimilarity_loss(network, pixels, [problem], [noise], [False], LearningConfig())
    loss.backward()
    assert logs["instances"] == 3.0
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    labels, scores = sample_labels(network, pixels, [problem], [noise], CONFIG)
    samples = deduplicate(labels[0], scores[0], problem.classes, kept)
    samples.check(num_samples=5, num_proposals=COUNT, num_classes=CLASSES)
    for index in range(len(samples.multiplicities)):
        ids, classes, _ = samples.unique(index)
        assert sorted(classes.tolist()) == [2, 2, 4] and set(ids.tolist()) <= set(kept.tolist())


def test_boxes_of_two_pixels_and_of_the_whole_image(image):
    dataset, _, proposals = image
    extremes = seeds_of(np.array([[3, 3, 5, 4], [0, 0, 20, 16]], dtype=np.float32), np.array([2, 4]))
    kept = filtered_rows(proposals, extremes, CONFIG)
    arrays = arrays_of_image(dataset, proposals, extremes, kept)
    problem = build_problem(arrays, (8, 10), CONFIG)
    labels = infer([torch.randn(3, len(kept), 3)], [problem.slots])[0]
    assert (labels > 0).sum(1).tolist() == [2, 2, 2]
