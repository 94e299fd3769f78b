"""Seeds: which cells, where in the image, what happens without peaks, boxes, and bad input."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsis.errors import InputError, NonFiniteError
from wsis.method.backbones import EfficientNetLite0
from wsis.method.prm.boxes import boxes_apart, cell_centres, cells_inside
from wsis.method.prm.classifier import PeakResponseClassifier
from wsis.method.prm.peak_backprop import ForwardPass, PeakBackpropagation
from wsis.method.prm.seeds import SeedConfig, _pool, generate_seeds, quantise


class GivenMaps:
    """Stands for the network: class response maps as told, a peak response map bright around its cell."""

    def __init__(self, maps: Tensor, brightest: tuple[int, int] = (0, 0), sourceless: bool = False) -> None:
        self.maps, self.brightest, self.sourceless = maps, brightest, sourceless
        self.num_classes, self.window = maps.shape[1], 3
        self.calls = 0

    def forward(self, images: Tensor) -> ForwardPass:
        return ForwardPass(self.maps, None, (images.shape[2], images.shape[3]))

    def backward(self, passed: ForwardPass, peaks: Tensor, shared: Tensor) -> Tensor:
        self.calls += 1
        out = torch.zeros(int(shared.max()) + 1 if len(peaks) else 0, *passed.grid)
        for n, (_, _, row, column) in zip(shared.tolist(), peaks.tolist(), strict=True):
            if not self.sourceless:
                out[n, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 1
                out[n, row * 8 + self.brightest[0] * 4, column * 8 + self.brightest[1] * 4] = 20
        return out / out.sum((1, 2), keepdim=True).clamp(min=1e-9)


def two_images() -> Tensor:
    maps = torch.full((2, 3, 4, 5), -2.0)
    maps[0, 0, 0, 0], maps[0, 0, 3, 4], maps[0, 0, 0, 3] = 5.0, 7.0, -1.0  # the last is a peak below 0
    maps[0, 1, 2, 2] = 9.0
    maps[1, 2, 1, 3] = -0.5
    return maps


IMAGES = torch.zeros(2, 3, 32, 40)
SIZES = [(64, 80), (320, 400)]


AT_CELLS = SeedConfig(position="cell")


def run(network: GivenMaps, config: SeedConfig = AT_CELLS, **options):
    labels = [np.array([1]), np.array([3])]
    return generate_seeds(network, IMAGES, labels, SIZES, config, **options)


def test_peaks_of_annotated_classes_strongest_first_in_original_pixels():
    network = GivenMaps(two_images())
    first, second = run(network)
    # 64 / 4 = 16 pixels a row of cells, 80 / 5 = 16 a column; class 2's peak is not annotated
    np.testing.assert_array_equal(first.peaks, [[1, 56, 72], [1, 8, 8]])
    np.testing.assert_array_equal(first.scores, [7, 5])
    np.testing.assert_array_equal(first.response_classes, [1])
    assert (first.class_response_maps.shape, first.class_response_maps.dtype) == ((1, 4, 5), np.uint8)
    assert (
        first.class_response_maps[0, 0, 0] == round(255 * 5 / 7) and first.class_response_maps[0, 0, 3] == 0
    )
    assert (first.fallbacks, second.fallbacks) == (0, 1)
    # no cell above 0: the highest one, counted; its response map is whole, the class map is empty
    np.testing.assert_array_equal(second.peaks, [[3, 120, 280]])
    assert second.scores[0] == -0.5 and second.class_response_maps.max() == 0
    assert second.peak_response_maps.max() == 255
    assert network.calls == 1  # all peaks of the batch at once


def test_position_at_the_brightest_pixel_of_the_response():
    network = GivenMaps(two_images(), brightest=(1, 0))
    first, _ = run(network, SeedConfig(position="response"))
    # the map has a pixel for 4 x 4 of the 32 x 40 input: [8, 10], 8 original pixels each
    assert first.peak_response_maps.shape == (2, 8, 10)
    np.testing.assert_array_equal(first.peaks, [[1, 7 * 8 + 4, 8 * 8 + 4], [1, 1 * 8 + 4, 0 * 8 + 4]])
    assert first.peak_response_maps[0, 7, 8] == 255


def test_map_stride_averages_and_never_enlarges():
    for stride, shape in ((1, (32, 40)), (8, (4, 5)), (64, (1, 1))):
        assert _pool(torch.rand(2, 32, 40), (32, 40), stride).shape[1:] == shape


def test_one_seed_a_box_and_maps_cut_to_it():
    boxes = np.array([[60, 40, 80, 64], [0, 0, 30, 30], [20, 20, 50, 50]], np.float32)
    network = GivenMaps(two_images()[:1])
    (seeds,) = generate_seeds(
        network,
        IMAGES[:1],
        [np.array([1])],
        SIZES[:1],
        SeedConfig(position="response"),
        [(boxes, np.array([1, 1, 1]))],
    )
    assert len(seeds.peaks) == 3 and seeds.fallbacks == 1
    np.testing.assert_array_equal(seeds.scores, [7, 5, -2])  # the third box holds no peak
    for (_, row, column), (x1, y1, x2, y2) in zip(seeds.peaks, boxes, strict=True):
        assert x1 <= column < x2 and y1 <= row < y2
    # first box: columns 60.. of 8-pixel map columns have centres 60, 68, 76; rows 40.. centres 44, 52, 60
    filled = seeds.peak_response_maps[0] > 0
    assert not filled[:5].any() and not filled[:, :7].any() and filled.any()


def test_peaks_outside_every_box_are_dropped_and_nested_boxes_share():
    maps = torch.full((1, 1, 4, 4), -1.0)
    maps[0, 0, 0, 0], maps[0, 0, 2, 2], maps[0, 0, 0, 3] = 3.0, 2.0, 9.0
    boxes = np.array([[0, 0, 48, 64], [32, 32, 48, 48]], np.float32)  # the second inside the first
    (seeds,) = generate_seeds(
        GivenMaps(maps),
        torch.zeros(1, 3, 32, 32),
        [np.array([1])],
        [(64, 64)],
        SeedConfig(position="cell"),
        [(boxes, np.array([1, 1]))],
    )
    np.testing.assert_array_equal(seeds.peaks[:, 1:], [[8, 8], [40, 40]])
    np.testing.assert_array_equal(seeds.scores, [3, 2])  # 9 lies outside, 2 belongs to the smaller box
    assert seeds.fallbacks == 0


def test_box_between_cell_centres_and_image_without_boxes():
    tiny = (np.array([[33, 33, 35, 34]], np.float32), np.array([2]))
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    first, second = run(GivenMaps(two_images()), boxes=[tiny, none])
    np.testing.assert_array_equal(first.peaks, [[2, 33, 34]])  # nearest cell's centre, moved into the box
    assert first.peak_response_maps.max() == 255
    assert second.peaks.shape == (0, 3) and second.peak_response_maps.shape[0] == 0


def test_sourceless_peak_becomes_a_dot_at_its_cell():
    first, _ = run(GivenMaps(two_images(), sourceless=True), SeedConfig(position="response"))
    assert first.sourceless == 2
    np.testing.assert_array_equal((first.peak_response_maps > 0).sum((1, 2)), [1, 1])
    np.testing.assert_array_equal(first.peaks[:, 1:] // 16, [[3, 4], [0, 0]])


def real_network() -> PeakBackpropagation:
    model = PeakResponseClassifier(EfficientNetLite0((4,), with_head=True), 3).eval()
    nn.init.normal_(model.classifier.weight)
    return PeakBackpropagation(model, stop_stride=4)


BOXES = np.array([[2, 2, 30, 40], [40, 2, 62, 30], [64, 30, 96, 64], [20, 20, 62, 60]], np.float32)


def test_boxes_that_are_apart_share_a_pass():
    # the last meets the first two and is alone with the third
    np.testing.assert_array_equal(boxes_apart(BOXES), [0, 0, 0, 1])
    np.testing.assert_array_equal(boxes_apart(BOXES[::-1]), [0, 0, 1, 1])
    side_by_side = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [7, 7, 9, 9]], np.float32)
    np.testing.assert_array_equal(boxes_apart(side_by_side), [0, 0, 0, 1])  # a common edge is no common pixel
    assert boxes_apart(np.zeros((0, 4), np.float32)).shape == (0,)


def test_maps_of_boxes_are_cut_from_the_map_of_their_pass():
    """Over two images whose passes have numbers of their own; the reference sends the peaks down box by box."""
    network = real_network()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    boxes = [(BOXES[:0], np.zeros(0, np.int64)), (BOXES, np.array([1, 2, 1, 3]))]
    labels, sizes = [np.array([1]), np.array([1, 2, 3])], [(64, 96), (64, 96)]
    nothing, seeds = generate_seeds(network, images, labels, sizes, SeedConfig(), boxes)
    assert len(nothing.peaks) == 0
    passed = network.forward(images)
    inside = cells_inside(BOXES, (64, 96), passed.grid)
    cells = [highest_cell(passed, box, label) for box, label in zip(BOXES, [1, 2, 1, 3], strict=True)]
    for box, members in enumerate(([0, 1, 2], [0, 1, 2], [0, 1, 2], [3])):
        together = torch.tensor([cells[member] for member in members])
        expected = network.backward(passed, together, torch.zeros(len(members), dtype=torch.int64))[0].numpy()
        difference = quantise(expected * inside[box]).astype(int) - seeds.peak_response_maps[box]
        assert np.abs(difference).max() <= 1


def highest_cell(passed: ForwardPass, box: np.ndarray, label: int) -> list[int]:
    """(image, class, row, column) of the highest cell in a box of the second image."""
    maps = passed.class_response_maps[1, label - 1].numpy()
    inside = cells_inside(box[None], (64, 96), maps.shape)[0]
    row, column = np.unravel_index(np.where(inside, maps, -np.inf).argmax(), maps.shape)
    return [1, label, int(row), int(column)]


def test_batch_equals_single_images_on_a_real_network():
    network = real_network()
    images = torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)
    labels = [np.array([1, 3]), np.array([2]), np.array([1, 2, 3])]
    sizes = [(60, 91), (200, 300), (33, 50)]
    together = generate_seeds(network, images, labels, sizes, SeedConfig())
    for i, seeds in enumerate(together):
        (alone,) = generate_seeds(
            network, images[i : i + 1], labels[i : i + 1], sizes[i : i + 1], SeedConfig()
        )
        np.testing.assert_array_equal(seeds.peaks, alone.peaks)
        np.testing.assert_allclose(seeds.scores, alone.scores, rtol=1e-4, atol=1e-4)
        assert np.abs(seeds.peak_response_maps.astype(int) - alone.peak_response_maps).max() <= 1
        assert set(seeds.peaks[:, 0].tolist()) == set(labels[i].tolist())
        rows, columns = seeds.peaks[:, 1], seeds.peaks[:, 2]
        assert (
            rows.min() >= 0
            and columns.min() >= 0
            and rows.max() < sizes[i][0]
            and columns.max() < sizes[i][1]
        )
        assert (seeds.peak_response_maps.reshape(len(seeds.peaks), -1).max(1) == 255).all()


def test_cell_centres_and_quantise():
    np.testing.assert_allclose(cell_centres(10, 4), [1.25, 3.75, 6.25, 8.75])
    maps = np.array([[[-3.0, 2.0], [1.0, 0.0]], [[-1.0, -1.0], [-2.0, -5.0]]])
    np.testing.assert_array_equal(quantise(maps), [[[0, 255], [128, 0]], [[0, 0], [0, 0]]])
    assert quantise(np.zeros((0, 3, 2))).shape == (0, 3, 2)


def test_bad_input():
    network = GivenMaps(two_images())
    for labels in (
        [np.array([1]), np.array([4])],
        [np.array([1]), np.array([0])],
        [np.array([1]), np.array([], int)],
    ):
        with pytest.raises(InputError, match=r"labels of image 1: expected classes 1\.\.3"):
            generate_seeds(network, IMAGES, labels, SIZES, SeedConfig())
    with pytest.raises(InputError, match="expected 2 of each, got 1, 2"):
        generate_seeds(network, IMAGES, [np.array([1])], SIZES, SeedConfig())
    broken = two_images()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="weights are unusable"):
        run(GivenMaps(broken))
