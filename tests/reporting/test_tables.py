"""Tables, letter by letter."""

import pytest

from reporting.tables import duration, format_table, percent, results_table

ROWS = [
    {
        "kind": "prm_baseline",
        "outer_iteration": None,
        "split": "val",
        "supervision": "image-level labels",
        "images": 119,
        "mAP": {"0.25": 0.3, "0.50": 0.1234, "0.70": 0.05, "0.75": 0.0},
        "per_class": {"cat": {"0.50": 0.2468}, "cow": {"0.50": None}},
    },
    {
        "kind": "prediction",
        "outer_iteration": 2,
        "split": "val",
        "supervision": ["image-level labels", "BSDS boundaries"],
        "images": 119,
        "mAP": {"0.25": 1.0, "0.50": 0.5, "0.70": 0.25, "0.75": None},
        "per_class": {"cat": {"0.50": 0.5}, "cow": {"0.50": 0.5}},
    },
]

TEXT = """\
result        iter  split  supervision                          images  mAP 0.25  mAP 0.50  mAP 0.70  mAP 0.75
------------  ----  -----  -----------------------------------  ------  --------  --------  --------  --------
prm baseline  –     val    image-level labels                      119      30.0      12.3       5.0       0.0
prediction    2     val    image-level labels, BSDS boundaries     119     100.0      50.0      25.0         –"""

MARKDOWN = """\
| result       | iter | split | supervision                         | images |  cat |  cow | mAP 0.50 |
| ------------ | ---- | ----- | ----------------------------------- | -----: | ---: | ---: | -------: |
| prm baseline | –    | val   | image-level labels                  |    119 | 24.7 |    – |     12.3 |
| prediction   | 2    | val   | image-level labels, BSDS boundaries |    119 | 50.0 | 50.0 |     50.0 |"""


def test_results_in_the_terminal():
    assert results_table(ROWS) == TEXT


def test_results_by_class_in_markdown():
    assert results_table(ROWS, "markdown", per_class="0.50") == MARKDOWN


def test_html_is_escaped():
    table = format_table(["a<b", "n"], [["x & y", "1"]], "html")
    assert "<th>a&lt;b</th>" in table and "<td>x &amp; y</td>" in table
    assert '<td class="number">1</td>' in table


def test_empty_table_is_a_header():
    assert results_table([]).splitlines()[0].startswith("result  iter  split  supervision  images  mAP 0.25")


def test_bad_tables():
    with pytest.raises(ValueError, match="expected 2 cells a row, got 1"):
        format_table(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="style"):
        format_table(["a"], [], "latex")


def test_numbers():
    assert (percent(None), percent(0.0), percent(0.12349)) == ("–", "0.0", "12.3")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (184.6, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
