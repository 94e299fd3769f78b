"""The classifier learns, its views are what they say, its schedule and its measure are right."""

import numpy as np
import pytest
import torch

from wsis.engine.optimisation import set_learning_rates, warmup_cosine
from wsis.errors import InputError, MissingWeightsError
from wsis.method.backbones import EfficientNetLite0, ResNet
from wsis.method.prm.augmentation import (
    augment,
    draw_view,
    inference_size,
    jitter_colour,
    random_crop,
    random_factors,
    resize_for_inference,
)
from wsis.method.prm.classifier import ClassifierSpec, PeakResponseClassifier
from wsis.method.prm.multilabel import average_precisions
from wsis.method.prm.peak_stimulation import classification_loss


def test_learns_which_of_two_colours_is_there():
    """Class 1 shows a red square, class 2 a blue one, or both; new pictures are told apart after 40 steps.

    The rate goes to 0: at a constant one the last step decided, and so the machine's rounding.
    """
    torch.manual_seed(0)
    model = PeakResponseClassifier(ResNet(18, (4,), batch_norm="train"), 2)
    optimizer = torch.optim.Adam(model.parameter_groups(3e-4, 3e-3))
    rng = np.random.default_rng(0)

    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = np.full((count, 3, 64, 64), 90, np.uint8), np.zeros((count, 2), np.float32)
        for image, hot in zip(images, labels, strict=True):
            for label in {int(rng.integers(2)), int(rng.integers(2))}:
                row, column = rng.integers(2, size=2) * 32
                image[2 * label, row : row + 32, column : column + 32] = 250
                hot[label] = 1
        return torch.from_numpy(images), torch.from_numpy(labels)

    losses = []
    for step in range(40):
        set_learning_rates(optimizer, warmup_cosine(step, 40, 2))
        images, labels = batch(8)
        loss = classification_loss(model.scores(model(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    images, labels = batch(16)
    with torch.no_grad():
        scores = model.eval().scores(model(images))
    assert float(((scores > 0) == (labels > 0)).float().mean()) > 0.9


def test_maps_are_the_heads_through_the_new_layer():
    model = ClassifierSpec("efficientnet_lite0", 5, output_stride=16).build(None).eval()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        maps = model(images)
        features = model.backbone.head((images.float() - 127) / 128)
    assert maps.shape == (2, 5, 4, 6)
    expected = torch.einsum("bdhw,cd->bchw", features, model.classifier.weight[:, :, 0, 0])
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)


def test_parameter_groups_cover_what_learns():
    model = ClassifierSpec("efficientnet_lite0", 2, "frozen", frozen_blocks=3).build(None)
    groups = model.parameter_groups(2e-4, 2e-3)
    grouped = {id(p) for group in groups for p in group["params"]}
    assert grouped == {id(p) for p in model.parameters() if p.requires_grad}
    assert [g["lr"] for g in groups] == [2e-4, 2e-3]


def test_bad_classifiers():
    with pytest.raises(InputError, match="num_classes: expected at least 1, got 0"):
        PeakResponseClassifier(EfficientNetLite0(with_head=True), 0)
    with pytest.raises(MissingWeightsError, match=r"no file nowhere\.pth"):
        ClassifierSpec("resnet50", 3).build("nowhere.pth")


def test_restore_is_the_same_network_or_an_error():
    spec = ClassifierSpec("resnet18", 3)
    model = spec.build(None).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(spec.restore(model.state_dict(), "here")(images), model(images))
    with pytest.raises(
        MissingWeightsError, match=r"here: 'classifier.weight' expected shape \(4, 512, 1, 1\)"
    ):
        ClassifierSpec("resnet18", 4).restore(model.state_dict(), "here")


def photo(height: int = 50, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_augmentation_is_a_function_of_its_generator():
    views = [draw_view((50, 80), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    one, again, other = (augment(photo(), 32, view) for view in views)
    assert one.shape == (32, 32, 3) and one.dtype == np.uint8 and one.flags.c_contiguous
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_augmentation_of_odd_sizes(size):
    for seed in range(20):
        view = draw_view(size, np.random.default_rng(seed))
        assert augment(photo(*size), 16, view).shape == (16, 16, 3)


def test_crops_are_parts_of_the_image_of_the_asked_area():
    for seed in range(20):
        rows, columns = random_crop((100, 100), np.random.default_rng(seed))
        assert 0 <= rows.start < rows.stop <= 100 and 0 <= columns.start < columns.stop <= 100
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert 0.36 <= height * width / 1e4 <= 1.0
        assert 0.7 <= height / width <= 1.43


def test_colour_jitter_moves_brightness_by_at_most_its_strength():
    grey = np.full((8, 8, 3), 100, np.uint8)
    means = [jitter_colour(grey, random_factors(np.random.default_rng(s), 0.2)).mean() for s in range(30)]
    assert min(means) >= 79 and max(means) <= 121 and np.ptp(means) > 15
    np.testing.assert_array_equal(
        jitter_colour(photo(), random_factors(np.random.default_rng(0), 0.0)), photo()
    )


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((375, 500), 320, (256, 320)),
        ((500, 375), 320, (320, 256)),
        ((333, 500), 448, (288, 448)),
        ((10, 1000), 320, (32, 320)),
    ],
)
def test_inference_size(size, side, expected):
    assert inference_size(size, side) == expected
    assert resize_for_inference(photo(*size), side).shape == (*expected, 3)


def test_bad_images():
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\], got float64 \(4, 4, 3\)"):
        resize_for_inference(np.zeros((4, 4, 3)), 64)
    with pytest.raises(InputError, match="at least 32"):
        inference_size((10, 10), 16)


def test_schedule():
    factors = [warmup_cosine(i, 100, 20) for i in range(100)]
    assert factors[0] == pytest.approx(1 / 21) and factors[19] == pytest.approx(20 / 21) and factors[20] == 1
    assert factors[60] == pytest.approx(0.5) and 0 < factors[99] < 0.001
    with pytest.raises(InputError, match=r"expected 0\.\.99"):
        warmup_cosine(100, 100, 20)
    optimizer = torch.optim.AdamW(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 2.0, "initial_lr": 2.0}]
    )
    for factor in (0.5, 0.25):
        set_learning_rates(optimizer, factor)
        assert optimizer.param_groups[0]["lr"] == 2 * factor


def test_average_precision_by_hand():
    scores = np.array([[0.9, 0.1, 0], [0.8, 0.9, 0], [0.7, 0.8, 0], [0.1, 0.2, 0]])
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    got = average_precisions(scores, labels)
    # class 0: positives at ranks 1 and 3; class 1: at ranks 2 and 4
    np.testing.assert_allclose(got[:2], [(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])
    assert np.isnan(got[2])
    with pytest.raises(InputError, match="like scores"):
        average_precisions(scores, labels[:3])
