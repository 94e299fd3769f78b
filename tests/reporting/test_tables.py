"""Tables, letter by letter."""

import pytest
from rich.cells import cell_len

from wsis.reporting.tables.tables import (
    COCO,
    THRESHOLDS,
    Column,
    duration,
    format_table,
    percent,
    results_table,
)

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
        "coco": {"AP": 0.2, "AP50": 0.4, "AP75": 0.1, "APs": None, "APm": 0.3, "APl": 0.125},
        "coco_per_class": {"cat": {"AP": 0.3}, "cow": {"AP": 0.1}},
    },
]

TEXT = """\
supervision: image-level labels
  and BSDS boundaries: prediction
images: val 119

                                VOC mAP                    COCO
result        iter  split   .25  .50  .70 .75    AP AP50 AP75 APs  APm  APl
------------  ----  -----  ---- ---- ---- ---  ---- ---- ---- --- ---- ----
prm baseline  –     val    30.0 12.3  5.0 0.0     –    –    –   –    –    –
prediction    2     val     100 50.0 25.0   –  20.0 40.0 10.0   – 30.0 12.5"""

MARKDOWN = """\
| AP .50 | prm baseline – | prediction 2 |
| ------ | -------------: | -----------: |
| cat    |           24.7 |         50.0 |
| cow    |              – |         50.0 |
| mean   |           12.3 |         50.0 |"""

COCO_OF_CLASSES = """\
         prm baseline  prediction
COCO AP             –           2
-------  ------------  ----------
cat                 –        30.0
cow                 –        10.0
mean                –        20.0"""


def test_results_in_the_terminal():
    """The first row was stored before there was COCO AP."""
    assert results_table(ROWS) == TEXT


def test_results_by_class():
    assert results_table(ROWS, "markdown", per_class="0.50") == MARKDOWN
    assert results_table(ROWS, per_class="AP") == COCO_OF_CLASSES


def widest() -> list[dict]:
    """Twelve outer iterations of eighty classes with long names, everything found."""
    full = dict.fromkeys((*THRESHOLDS, *COCO), 1.0)
    classes = {f"{'标签' * 8} number {i}": full for i in range(80)}
    kinds = [("prm_baseline", None), *((k, t) for t in range(1, 13) for k in ("pseudo_labels", "prediction"))]
    return [
        {
            **{"kind": kind, "outer_iteration": t, "split": "train", "images": 118_287},
            **{
                "supervision": [
                    "image labels",
                    "ImageNet labels (weights of a network with a very long name)",
                ]
            },
            **{"mAP": full, "coco": full, "per_class": classes, "coco_per_class": classes},
        }
        for kind, t in kinds
    ]


@pytest.mark.parametrize("per_class", [None, "0.50", "AP"])
def test_no_table_is_wider_than_80_columns_and_none_loses_a_number(per_class):
    text = results_table(widest(), per_class=per_class)
    assert max(map(cell_len, text.splitlines())) <= 80
    assert text.count(" 100") == (25 * 10 if per_class is None else 25 * 81)


def test_columns_that_do_not_fit_stand_in_a_further_table():
    header = ["name", Column("a", "one"), Column("b", "one"), Column("c", "second group")]
    table = format_table(header, ["heading", ["x", "1", "2", "3"]], width=16)
    assert table.splitlines() == [
        "      one",
        "name  a b",
        "----  - -",
        "heading",
        "x     1 2",
        "",
        "      second group",
        "name             c",
        "----  ------------",
        "heading",
        "x                3",
    ]


def test_html_is_escaped():
    table = format_table(["a<b", "n"], [["x & y", "1"]], "html")
    assert "<th>a&lt;b</th>" in table and "<td>x &amp; y</td>" in table
    assert '<td class="number">1</td>' in table


def test_html_names_groups_above_their_columns():
    table = format_table(["a", Column("b", "some"), Column("c", "some")], [["1", "2", "3"]], "html")
    assert (
        '<th class="group" colspan="1"></th><th class="group" colspan="2">some</th></tr><tr><th>a</th>'
        in table
    )
    assert "group" not in format_table(["a"], [["1"]], "html")


def test_empty_table_is_a_header():
    assert results_table([]).splitlines()[1].startswith("result  iter  split  .25 .50 .70 .75  AP AP50")


def test_bad_tables():
    with pytest.raises(ValueError, match="expected 2 cells a row, got 1"):
        format_table(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="style"):
        format_table(["a"], [], "latex")


def test_numbers():
    assert (percent(None), percent(0.0), percent(0.12349), percent(0.9996)) == ("–", "0.0", "12.3", "100")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (184.6, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
