"""The rules of the readers on plain values: boxes and the choice of a subset."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import DataError
from wsis.readers.shared.annotations import DeclaredObject, checked_box, pick_spread, role_limit


def test_box_inside_is_unchanged() -> None:
    box = checked_box(DeclaredObject("cat", (0.5, 0, 12, 7.25), "x"), (8, 12), "i")
    assert box.dtype == np.float32
    np.testing.assert_array_equal(box, [0.5, 0, 12, 7.25])


@pytest.mark.parametrize("over", [0.0, 0.5, 1.0])
def test_box_is_clipped_within_the_tolerance(over: float) -> None:
    box = checked_box(DeclaredObject("cat", (-over, -over, 12 + over, 8 + over), "x"), (8, 12), "i")
    np.testing.assert_array_equal(box, [0, 0, 12, 8])


def test_box_beyond_the_tolerance() -> None:
    with pytest.raises(
        DataError, match=r"file: expected a box inside .*12 x 8 .*image i\): 1\.01 pixels outside"
    ):
        checked_box(DeclaredObject("cat", (0, 0, 13.01, 8), "file"), (8, 12), "i")


def test_role_limit() -> None:
    assert [role_limit("train", n) for n in (1, 64)] == [1, 64]
    assert [role_limit("val", n) for n in (1, 32, 64)] == [8, 8, 16]


def test_spread_is_even() -> None:
    assert pick_spread([{"a"}] * 100, 4) == [12, 37, 62, 87]
    assert pick_spread([{"a"}] * 3, 5) == [0, 1, 2]


def test_rare_class_replaces_the_nearest_that_can_be_spared() -> None:
    labels = [{"a"}] * 100
    labels[40] = {"rare"}
    assert pick_spread(labels, 4) == [12, 40, 62, 87]
    labels[37] = {"only"}  # must stay, so the next nearest goes
    assert pick_spread(labels, 4) == [12, 37, 40, 87]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcde"), max_size=3), min_size=1, max_size=60), st.integers(1, 60))
def test_spread_keeps_number_and_classes(labels: list[set[str]], limit: int) -> None:
    picked = pick_spread(labels, limit)
    assert picked == sorted(set(picked))
    assert len(picked) == min(limit, len(labels))
    present = set().union(*labels)
    if limit >= len(present):
        assert set().union(*(labels[i] for i in picked)) == present
