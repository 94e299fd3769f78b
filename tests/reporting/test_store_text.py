"""What `wsis show` prints of one artefact: counts that a person can read."""

from wsis.reporting.tables.store_text import artefact_text, readable


def test_counts_are_readable():
    assert [readable(x) for x in (0.07599707174813375, 0.0, 1234.5, 1e-7, 3, 61234)] == [
        "0.076", "0", "1234", "1e-07", "3", "61234",
    ]  # fmt: skip
    assert readable({"dog": 0.35714285714285715, "cat": 0.1}) == "dog 0.357, cat 0.1"
    assert readable([]) == readable({}) == readable(None) == "none"
    assert readable(["cat", 0.123456]) == "cat, 0.123" and readable(True) == "True"


def test_an_artefact_is_printed_with_them(demo_run):
    counts = {"mean_distance": 0.07599707174813375, "whole_images": {"dog": 0.35714285714285715}}
    demo_run.commit("pseudo_labels@3", "pseudo_labels", "weights", counts=counts)
    text = artefact_text(demo_run.run, "pseudo_labels@3")
    assert "  mean_distance      0.076\n" in text and "  whole_images       dog 0.357\n" in text
    assert "classes            cat, cow" in text
