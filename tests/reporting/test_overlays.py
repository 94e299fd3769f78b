"""Drawing: what changes, what does not, and that nothing hides what it names."""

import cv2
import numpy as np
import pytest

from wsis.reporting.pictures.overlays import (
    border,
    draw_instances,
    draw_seeds,
    fit,
    instance_colours,
)
from wsis.reporting.pictures.panels import Panel, side_by_side
from wsis.reporting.pictures.text import contrasting, label_size, put_label, shorten, text_size, wrapped


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def squares() -> np.ndarray:
    masks = np.zeros((2, 100, 120), bool)
    masks[0, 10:50, 10:60] = masks[1, 60:95, 70:110] = True
    return masks


def test_colours_differ():
    colours = instance_colours(30).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 999 * np.eye(30, dtype=int)
    assert colours.shape == (30, 3) and apart.min() > 20
    assert apart[:10, :10].min() > 80
    assert instance_colours(0).shape == (0, 3)


@pytest.mark.parametrize("kind", ["protanopia", "deuteranopia"])
def test_colours_differ_for_who_sees_two_kinds_of_light(kind):
    """As Viénot, Brettel and Mollon (1999) map linear RGB; a difference of 10 in CIELAB is seen at a glance."""
    weights = {"protanopia": (0.11238, 0.88762), "deuteranopia": (0.29275, 0.70725)}[kind]
    linear = (instance_colours(7) / 255.0) ** 2.2
    yellow = linear[:, :2] @ np.array(weights)
    blue = linear[:, 2] + (0.00401 if kind == "protanopia" else -0.02234) * (linear[:, 0] - linear[:, 1])
    seen = np.stack([yellow, yellow, np.clip(blue, 0, 1)], axis=1) ** (1 / 2.2)
    lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 999 * np.eye(7)
    assert apart.min() > 10


def test_without_names_only_pixels_inside_change():
    image, masks = noise(100, 120), squares()
    before = image.copy()
    drawn = draw_instances(image, masks, instance_colours(2))
    np.testing.assert_array_equal(image, before)
    changed = (drawn != image).any(axis=2)
    inside = masks.any(axis=0)
    assert not (changed & ~inside).any()
    assert changed[inside].mean() > 0.95


def test_border_has_the_colour_and_the_inside_is_a_tint():
    image, masks, colours = noise(100, 120), squares(), instance_colours(2)
    drawn = draw_instances(image, masks, colours, fill=0.4)
    for mask, colour in zip(masks, colours, strict=True):
        rim, line = border(mask, 2)
        np.testing.assert_array_equal(drawn[line], np.broadcast_to(colour, (line.sum(), 3)))
        np.testing.assert_array_equal(drawn[rim], np.broadcast_to(contrasting(colour), (rim.sum(), 3)))
        tint = mask & ~rim & ~line
        expected = 0.6 * image[tint] + 0.4 * colour
        assert np.abs(drawn[tint] - expected).max() <= 0.5


def test_border_rings():
    """A 9 x 9 square: a line of 2, a rim of 1, and 3 x 3 left."""
    mask = np.zeros((20, 20), bool)
    mask[5:14, 5:14] = True
    dark, bright = border(mask, 2)
    assert bright.sum() == 81 - 25 and dark.sum() == 25 - 9
    full = np.ones((9, 9), bool)
    assert border(full, 2)[1].sum() == 81 - 25  # the image's edge is a border too
    assert border(mask, 8)[1].sum() == 81 - 25  # half of what it is thick, at most


def test_a_line_is_seen_on_every_ground():
    """Of the line and its rim one differs from any grey by a third of the range of luminance."""
    weights = np.array([0.3, 0.59, 0.11])
    for colour in instance_colours(40):
        two = np.array([weights @ colour, weights @ np.array(contrasting(colour))])
        assert all(np.abs(two - ground).max() >= 60 for ground in range(256))


def test_no_instances_and_empty_masks():
    image = noise(50, 60)
    none = draw_instances(image, np.zeros((0, 50, 60), bool), instance_colours(0), [])
    np.testing.assert_array_equal(none, image)
    empty = draw_instances(image, np.zeros((1, 50, 60), bool), instance_colours(1), ["cat 0.9"])
    np.testing.assert_array_equal(empty, image)


def test_label_of_a_small_instance_leaves_it_visible():
    image, mask = noise(300, 300), np.zeros((1, 300, 300), bool)
    mask[0, 150:162, 140:156] = True
    plain = draw_instances(image, mask, instance_colours(1))
    named = draw_instances(image, mask, instance_colours(1), ["cat 0.93"])
    assert (plain != named).any()
    np.testing.assert_array_equal(plain[mask[0]], named[mask[0]])


def test_names_hide_no_other_instance():
    """Where forty small things lie close together, those names are left out that would cover them."""
    masks = np.zeros((40, 200, 320), bool)
    for index in range(40):
        row, column = divmod(index, 8)
        masks[index, 40 * row + 5 : 40 * row + 35, 40 * column + 5 : 40 * column + 35] = True
    image, colours = noise(200, 320), instance_colours(40)
    plain, named = (
        draw_instances(image, masks, colours),
        draw_instances(image, masks, colours, ["person"] * 40),
    )
    hidden = (plain != named).any(axis=2)
    assert hidden.any()
    assert max(float(hidden[mask].mean()) for mask in masks) <= 0.3


def test_names_are_never_under_ten_pixels():
    assert all(label_size(width) >= 10 for width in (1, 90, 284, 4000))


@pytest.mark.parametrize("about", [(0, 0, 5, 5), (295, 195, 300, 200), (140, 90, 150, 100)])
def test_labels_stay_inside_and_apart(about):
    image, taken = np.zeros((200, 300, 3), np.uint8), []
    for index in range(4):
        plate = put_label(image, f"cat 0.{index}", about, (255, 0, 0), taken, np.zeros((200, 300)))
        assert 0 <= plate[0] < plate[2] <= 300 and 0 <= plate[1] < plate[3] <= 200
        for other in taken:
            assert (
                plate[2] <= other[0] or other[2] <= plate[0] or plate[3] <= other[1] or other[3] <= plate[1]
            )
        taken.append(plate)


def test_a_label_larger_than_the_image_fits():
    image = np.zeros((8, 20, 3), np.uint8)
    plate = put_label(image, "a very long class name", (0, 0, 3, 3), (255, 0, 0), [], np.zeros((8, 20)))
    assert plate == (0, 0, plate[2], 8) and plate[2] <= 20


def test_shorten():
    size = label_size(300)
    assert shorten("cat", 500, size) == "cat"
    short = shorten("a long caption of a panel", 60, size)
    assert short.endswith("…") and text_size(short, size)[0] <= 60


def test_captions_are_wrapped_not_cut():
    text = "prediction of iteration 1 (score ≥ 0.3): 1 found"
    lines = wrapped(text, 120, 14)
    assert len(lines) > 1 and " ".join(lines) == text
    assert all(text_size(line, 14)[0] <= 120 for line in lines)
    assert wrapped("name   iteration 1\nnothing found", 500, 14) == ["name   iteration 1", "nothing found"]
    assert wrapped("a verylongwordthatnothingbreaks", 60, 14)[1].endswith("…") and wrapped("", 60, 14) == [""]


def test_a_long_caption_moves_no_picture():
    """Pictures of a row begin at one height, the captions of all of them right above."""
    portrait, beside = noise(60, 40), noise(60, 40)
    picture = side_by_side([Panel("a caption of three lines", portrait), Panel("one", beside)])
    plain = side_by_side([Panel("one", portrait), Panel("one", beside)])
    assert picture.shape[1] == plain.shape[1] and picture.shape[0] > plain.shape[0]
    np.testing.assert_array_equal(picture[-68:], plain[-68:])
    np.testing.assert_array_equal(picture[-90:-68, 56:], plain[-90:-68, 56:])


def test_seeds_are_bright_at_the_peak_and_dark_elsewhere():
    image = np.full((120, 160, 3), 200, np.uint8)
    response = np.zeros((1, 12, 16), np.uint8)
    response[0, 6, 8] = 255
    drawn = draw_seeds(image, np.array([[1, 65, 85]]), response, instance_colours(1), ["cat 2.1"])
    assert drawn[5, 5].max() < 100
    assert tuple(drawn[65, 85]) == tuple(instance_colours(1)[0])
    assert drawn[58, 78].mean() > drawn[5, 5].mean()
    boxed = draw_seeds(
        image, np.array([[1, 65, 85]]), response, instance_colours(1), boxes=np.array([[70.2, 50, 100, 80]])
    )
    assert (
        tuple(boxed[50, 90]) == tuple(boxed[79, 71]) == tuple(instance_colours(1)[0]) != tuple(drawn[50, 90])
    )
    nothing = draw_seeds(image, np.zeros((0, 3), int), np.zeros((0, 4, 4), np.uint8), instance_colours(0))
    assert nothing.shape == image.shape


def test_fit_gives_the_longer_side_its_pixels():
    assert fit(noise(100, 120), 240).shape == (200, 240, 3)
    assert fit(noise(100, 50), 20).shape == (20, 10, 3)


def test_side_by_side():
    """Two panels of 40 and 30 pixels in width stand beside each other unchanged."""
    left, right = noise(30, 40), noise(20, 30)
    picture = side_by_side([Panel("left", left), Panel("right", right)], "title")
    height = picture.shape[0]
    top = next(r for r in range(height) if (picture[r : r + 30, 8:48] == left).all())
    np.testing.assert_array_equal(picture[top : top + 20, 56:86], right)
    assert (picture[top + 20 : top + 30, 56:86] == 255).all()
    assert picture.shape[1] == 94
    assert side_by_side([Panel("", left)] * 3, columns=2).shape[1] == 104
    told = side_by_side([Panel("left", left), Panel("right", right)], "title", legend=["below"])
    np.testing.assert_array_equal(told[:height], picture)
    assert told.shape[1] == 94 and (told[height:, :8] == 255).all() and (told[height:, 8:] < 255).any()
    with pytest.raises(ValueError, match="at least one panel"):
        side_by_side([])
