"""Numbers and sizes of things, by hand."""

import numpy as np

from wsis.method.masks.extents import extents, extents_line


def test_numbers_and_sizes_by_hand() -> None:
    areas = [np.array([4.0, 16.0, 36.0]), np.zeros(0), np.array([64.0])]
    found = extents(areas, [400.0, 100.0, 640.0])
    # sides 2, 4, 6, 8; shares .01, .04, .09, .1
    assert found == {"an_image": 2.0, "at_most": 3.0, "median_side": 5.0, "median_share": 0.065}
    assert extents_line(found, "boxes") == (
        "boxes an image: 2 (median), at most 3; median side 5 pixels, 6.5 % of the image"
    )


def test_nothing_to_measure() -> None:
    assert extents([], []) == {} and extents([np.zeros(0)], [9.0]) == {}
    assert extents_line({}, "boxes") == "no boxes"
