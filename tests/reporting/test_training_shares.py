"""How many training images learn from labels, boxes and given masks, by outer iteration."""

from types import SimpleNamespace

import pytest

from wsis.reporting.tables.training_shares import shares_line, training_shares


def run(*others: str, **counts: dict[str, int] | None):
    """A run with given masks, and the counts of its pseudo labels, `t1={...}`; None: they cannot be read."""
    manifests = {
        f"pseudo_labels@{name[1:]}": None if one is None else SimpleNamespace(counts=one)
        for name, one in counts.items()
    }
    return SimpleNamespace(
        record=SimpleNamespace(entries=dict.fromkeys([*others, *manifests])),
        manifests=lambda: manifests,
        iterations=lambda: [1, 2, 3, 4],
    )


@pytest.mark.parametrize(("others", "weak"), [((), "labels"), (("boxes",), "boxes")])
def test_every_iteration_that_is_there(others, weak) -> None:
    some = {"images": 12, "images_with_given_masks": 3}
    found = training_shares(run("corrections", *others, t1={"images": 12}, t2={"images": 12}, t3=some))
    assert found == [
        {"iteration": 1, weak: 12, "masks": 0},
        {"iteration": 2, weak: 12, "masks": 0},
        {"iteration": 3, weak: 9, "masks": 3},
    ]
    assert shares_line(found) == (
        "training images, by what they learn from: "
        f"iterations 1 to 2: {weak} 12; iteration 3: {weak} 9, given masks 3"
    )


def test_all_have_masks() -> None:
    found = training_shares(run("corrections", t1={"images": 4, "images_with_given_masks": 4}, t2=None))
    assert shares_line(found) == "training images, by what they learn from: iteration 1: given masks 4"


def test_runs_without_given_masks_say_nothing() -> None:
    assert training_shares(run(t1={"images": 12})) == [] and shares_line([]) is None
