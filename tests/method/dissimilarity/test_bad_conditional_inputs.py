"""What the conditional distribution does with images it can hardly use: a named error or a defined result."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from test_problems import arrays

from tests.method.conditional.conditional_cases import noise_maps
from tests.records import proposals_of
from wsis.errors import InputError, NonFiniteError
from wsis.method.conditional.architectures import NetworkConfig, build_network
from wsis.method.conditional.energy import add_contours
from wsis.method.conditional.label_sets import deduplicate
from wsis.method.conditional.noise import Noise
from wsis.method.dissimilarity.image_problem import ImageArrays, ProblemConfig, build_problem
from wsis.method.dissimilarity.network_inputs import SamplingConfig, filtered_rows, image_batch, resized
from wsis.method.dissimilarity.objective import LearningConfig, dissimilarity_loss, sample_labels
from wsis.method.dissimilarity.targets import one_hot_targets
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.prm.seeds import Seeds
from wsis.method.proposals import generate
from wsis.method.proposals.config import MCGConfig

SIZE, CLASSES, K = (16, 20), 6, 3
UNET = NetworkConfig(architecture="unet", widths=(8, 8))
BOXES = {"image level": {}, "boxes": {"boxes": [[0, 0, 8, 8], [4, 0, 12, 8]], "box_labels": [5, 2]}}


def target_of(graph):
    """One object of class 2 that is the whole image."""
    return one_hot_targets(torch.tensor([2]), torch.ones(1, graph.membership.shape[1]), CLASSES)


def a_problem(count, supervision="image level", **changes):
    """A problem with `count` proposals left after the filter."""
    every = arrays(**{**BOXES[supervision], **changes})
    parts = ("membership", "proposal_boxes", "proposal_scores")
    few = replace(every, **{name: getattr(every, name)[:count] for name in parts})
    return build_problem(few, SIZE, ProblemConfig(), target_of)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(UNET, CLASSES)


def learn_and_sample(network, problems):
    """One step's logs and gradient norm, and K labelings an image."""
    images = 255 * torch.rand(len(problems), 3, *SIZE)
    noises = [Noise(noise_maps(K, p.feature_size, grid=2)) for p in problems]
    network.zero_grad()
    loss, logs = dissimilarity_loss(
        network, images, problems, noises, [False] * len(problems), LearningConfig()
    )
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients) and np.isfinite(list(logs.values())).all()
    norm = float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else 0.0
    labels, scores = sample_labels(network, images, problems, noises, LearningConfig())
    return logs, norm, labels, scores


@pytest.mark.parametrize("supervision", BOXES)
def test_no_proposal_after_the_filter_is_an_empty_sample_and_no_gradient(network, supervision):
    problem = a_problem(0, supervision)
    logs, norm, labels, scores = learn_and_sample(network, [problem])
    assert labels[0].shape == (K, 0) and norm == 0.0
    assert logs["div_pc"] == pytest.approx(problem.miss)  # the target is missed, and nothing can be done
    samples = deduplicate(labels[0], scores[0], problem.classes, np.zeros(0, dtype=int))
    samples.check(num_samples=K, num_proposals=0, num_classes=CLASSES)
    assert samples.multiplicities.tolist() == [K] and len(samples.proposal_ids) == 0


@pytest.mark.parametrize("supervision", BOXES)
def test_an_image_without_proposals_leaves_the_others_of_the_batch_alone(network, supervision):
    problems = [a_problem(count, supervision) for count in (0, 12, 0)]
    learn_and_sample(network, problems)
    images, noises = 255 * torch.rand(3, 3, *SIZE), [Noise(noise_maps(K, SIZE, grid=2)) for _ in problems]
    energy = LearningConfig()
    together, _ = sample_labels(network, images, problems, noises, energy)
    alone, _ = sample_labels(network, images[1:2], problems[1:2], noises[1:2], energy)
    assert [y.shape for y in together] == [(K, 0), (K, 12), (K, 0)]
    assert torch.equal(together[1], alone[0])


@pytest.mark.parametrize("supervision", BOXES)
@pytest.mark.parametrize("terms", ["U", "U+P", "U+P+H"])
def test_contours_join_the_samples_of_image_labels_where_there_is_a_pairwise_term(
    network, supervision, terms
):
    problems = [a_problem(count, supervision) for count in (12, 0)]
    images, noises = 255 * torch.rand(2, 3, *SIZE), [Noise(noise_maps(K, SIZE, grid=2)) for _ in problems]
    energy = LearningConfig(terms=terms)
    (_, without), (_, found) = (
        sample_labels(network, images, problems, noises, energy, weight) for weight in (0.0, 2.0)
    )
    used = terms != "U" and supervision == "image level"
    expected = add_contours(without[0], problems[0].graph, 2.0) if used else without[0]
    assert torch.equal(found[0], expected) and found[1].shape == without[1].shape


@pytest.mark.parametrize("supervision", BOXES)
def test_one_proposal_is_taken_by_one_class_or_box(network, supervision):
    _, _, labels, _ = learn_and_sample(network, [a_problem(1, supervision)])
    assert (labels[0] > 0).sum(1).tolist() == [
        1
    ] * K  # the other class (or box) has no candidate: it stays empty


def test_a_class_without_candidate_does_not_silence_the_others(network):
    logs, _, labels, _ = learn_and_sample(network, [a_problem(2, labels=(1, 2, 5))])
    assert (labels[0] > 0).all()  # three classes, two proposals: two classes are served
    assert all(len(set(row)) == 2 for row in labels[0].tolist())
    assert logs["instances"] == 2.0


def test_equal_scores_give_one_sample_and_a_step_that_is_finite(network):
    silent = build_network(UNET, CLASSES)
    with torch.no_grad():
        silent.classify.weight.zero_()
        silent.classify.bias.zero_()
    _, _, labels, scores = learn_and_sample(silent, [a_problem(12)])
    assert float(scores[0].max()) == float(scores[0].min()) == 0.0
    expected = [0] * 12
    expected[0], expected[1] = 1, 2  # ties: the lower proposal; the first class is served first
    assert labels[0].tolist() == [expected] * K


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_diverged_is_named(value):
    broken = build_network(UNET, CLASSES)
    with torch.no_grad():
        broken.extractor.encoder[0][0].weight[0, 0, 0, 0] = value
    problem = replace(a_problem(12), image_id="2007_000033")
    with pytest.raises(NonFiniteError, match=r"image 2007_000033: .*NaN or infinite"):
        learn_and_sample(broken, [problem])


def test_no_seed_and_no_proposal_pass_the_filter():
    config = SamplingConfig()
    whole = proposals_of(np.zeros((8, 8), int), np.ones((1, 1), bool), (8, 8))
    none = ProposalSet.from_record(whole.to_record(), np.zeros(0, int))
    maps, boxes = np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4), np.float32)
    seeds = Seeds(np.zeros((0, 3), np.int32), np.zeros(0, np.float32), maps, maps, np.zeros(0, int), boxes)
    assert filtered_rows(none, seeds, config).tolist() == []
    assert filtered_rows(whole, seeds, config).tolist() == [0]


SIZES = [(32, 32), (32, 4000), (4000, 32), (4000, 4000), (33, 47), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_images_from_one_pixel_to_4000_through_proposals_problem_and_samples(network, size):
    """Proposals, network input, problem, one step, K samples and their masks at the image's own size."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8), size[::-1])
    found = generate(image, MCGConfig(contour="lab_gradient", max_side=96, max_regions=40, num_proposals=60))
    pixels = resized(image, 64)
    assert max(pixels.shape[1:]) == 64 and all(side % 32 == 0 for side in pixels.shape[1:])
    described = ImageArrays(
        found.superpixels,
        found.membership,
        found.boxes,
        found.scores,
        found.edges,
        found.edge_contours,
        found.edge_lengths,
        np.array([1, 4]),
        np.zeros((0, 4), dtype=np.float32),
        np.zeros(0, dtype=np.int32),
    )
    problem = build_problem(described, tuple(pixels.shape[1:]), ProblemConfig(), target_of)
    noise = Noise(noise_maps(K, problem.feature_size))
    batch = image_batch([pixels], [False])
    loss, _ = dissimilarity_loss(network, batch, [problem], [noise], [False], LearningConfig())
    assert torch.isfinite(loss)
    labels, scores = sample_labels(network, batch, [problem], [noise], LearningConfig())
    assert (labels[0] > 0).any(1).all() or len(found.membership) == 0
    samples = deduplicate(labels[0], scores[0], problem.classes, np.arange(len(found.membership)))
    masks = ProposalSet.from_record(found.to_record()).masks(samples.unique(0)[0][:2])
    assert masks.shape[1:] == size and masks.any((1, 2)).all()


def test_an_image_without_pixels_or_annotation_is_named():
    with pytest.raises(InputError, match="at least one annotated class"):
        a_problem(3, labels=())
    with pytest.raises(InputError, match="noise_cells: need samples >= 1"):
        noise_maps(0, SIZE)
    for image in (np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32)):
        with pytest.raises(InputError, match=r"image: expected uint8 \[H, W, 3\] with pixels, got"):
            resized(image, 64)
