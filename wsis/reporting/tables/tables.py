"""Tables in the terminal (80 columns), in Markdown and in HTML: first columns left, numbers right, aligned."""

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size

from wsis.views.evaluations import SHARES

Style = Literal["text", "markdown", "html"]
THRESHOLDS = ("0.25", "0.50", "0.70", "0.75")
COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl")
WIDTH = 80
ABSENT = "–"
"""In the place of a value that there is none of."""


@dataclass(frozen=True)
class Column:
    """A column's title; columns of one group stand close together under its name."""

    title: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.group} {self.title}".strip()


def format_table(
    header: Sequence[str | Column],
    rows: Sequence[Sequence[str]],
    style: Style = "text",
    left_columns: int = 1,
    width: int | None = None,
) -> str:
    """A table of texts; the first `left_columns` are aligned left, the others right.

    Args:
        rows: cells, as many as columns; in the style text a row that is a plain text heads those below it.
        width: of text: columns beyond it go on in a further table below, where the left ones stand again.

    Raises:
        ValueError: a row has another number of cells than the header, or an unknown style.
    """
    columns = [Column(one) if isinstance(one, str) else one for one in header]
    for row in rows:
        heading = style == "text" and isinstance(row, str)
        if len(row) != len(columns) and not heading:
            raise ValueError(f"table: expected {len(columns)} cells a row, got {len(row)}: {list(row)}")
    if style == "html":
        return _html(columns, rows, left_columns)
    if style == "markdown":
        return _markdown([str(one) for one in columns], rows, left_columns)
    if style == "text":
        return _text(columns, rows, left_columns, width)
    raise ValueError(f"table style: expected text, markdown or html, got {style!r}")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left_columns: int) -> str:
    widths = [max(3, *(cell_len(line[i]) for line in [header, *rows])) for i in range(len(header))]
    rule = ["-" * w if i < left_columns else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [_padded(line, widths, left_columns) for line in [header, *rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _text(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], left_columns: int, width: int | None
) -> str:
    if width is not None:
        rows = [
            row if isinstance(row, str) else [_shortened(cell, width // 2) for cell in row] for row in rows
        ]
    lines = [[one.title for one in columns], *(row for row in rows if not isinstance(row, str))]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    blocks = _blocks(columns, widths, left_columns, width)
    return "\n\n".join("\n".join(_text_block(columns, rows, widths, left_columns, one)) for one in blocks)


def _shortened(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _text_block(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    left_columns: int,
    block: Sequence[int],
) -> list[str]:
    widths = _widened(columns, widths, block)
    gaps = ["", *(" " * _gap(columns, a, b) for a, b in pairwise(block))]

    def line(cells: Sequence[str]) -> str:
        padded = _padded([cells[i] for i in block], [widths[i] for i in block], left_columns)
        return "".join(gap + cell for gap, cell in zip(gaps, padded, strict=True)).rstrip()

    lines = [
        line([one.title for one in columns]),
        line(["-" * one for one in widths]),
        *(row if isinstance(row, str) else line(row) for row in rows),
    ]
    if any(columns[i].group for i in block):
        names = (name.center(_span(columns, widths, some)) for name, some in _groups(columns, block))
        lines.insert(0, "  ".join(names).rstrip())
    return lines


def _groups(columns: Sequence[Column], indices: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Neighbouring columns of one group together; a column without a group alone."""
    found: list[tuple[str, list[int]]] = []
    for name, some in groupby(indices, key=lambda i: columns[i].group):
        members = list(some)
        found += [(name, members)] if name else [("", [one]) for one in members]
    return found


def _gap(columns: Sequence[Column], a: int, b: int) -> int:
    return 1 if columns[a].group and columns[a].group == columns[b].group else 2


def _span(columns: Sequence[Column], widths: Sequence[int], indices: Sequence[int]) -> int:
    return sum(widths[i] for i in indices) + sum(_gap(columns, a, b) for a, b in pairwise(indices))


def _widened(columns: Sequence[Column], widths: Sequence[int], block: Sequence[int]) -> list[int]:
    """Widths with which the names of the groups in a block fit above their columns."""
    wider = list(widths)
    for name, some in _groups(columns, block):
        wider[some[-1]] += max(0, cell_len(name) - _span(columns, widths, some))
    return wider


def _blocks(
    columns: Sequence[Column], widths: Sequence[int], left_columns: int, width: int | None
) -> list[list[int]]:
    """Which columns stand in each of the tables, one below the other; groups are parted where they must be."""

    def fits(block: Sequence[int]) -> bool:
        return width is None or _span(columns, _widened(columns, widths, block), block) <= width

    lead = list(range(left_columns))
    blocks = [lead]
    for _, group in _groups(columns, range(left_columns, len(columns))):
        for piece in [group] if fits([*lead, *group]) else [[i] for i in group]:
            if blocks[-1] != lead and not fits([*blocks[-1], *piece]):
                blocks.append(lead)
            blocks[-1] = [*blocks[-1], *piece]
    return blocks


def _padded(cells: Sequence[str], widths: Sequence[int], left_columns: int) -> list[str]:
    fill = [" " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
    return [c + f if i < left_columns else f + c for i, (c, f) in enumerate(zip(cells, fill, strict=True))]


# -- results ----------------------------------------------------------------------------------------------
def results_table(
    rows: Sequence[Mapping[str, Any]], style: Style = "text", per_class: str | None = None
) -> str:
    """Results in percent, one row per evaluated thing and outer iteration; above them what they share.

    Args:
        rows: objects as `wsis results --json` gives them.
        per_class: a VOC threshold such as "0.50", or "AP" and the other COCO measures: that AP of every class, a row
            a class and a column a result.
    """
    table = _table_of_classes(rows, style, per_class) if per_class else _table_of_results(rows, style)
    shared = [] if per_class else _shared(rows)
    if style == "html":
        return "".join(f'<p class="note">{html.escape(line)}</p>\n' for line in shared) + table
    lines = [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in shared]
    return "\n".join([*lines, "", table] if lines else [table])


def measured_tables(rows: Sequence[Mapping[str, Any]], style: Style = "text") -> str:
    """Rows of other data, as `results.measured_of` gives them: a table for each data set and content."""
    parts = []
    for (data, form, digest), some in groupby(sorted(rows, key=_data), key=_data):
        heading = f"measured on {data} ({form}, labels {digest[:12]})"
        heading = f"<h3>{html.escape(heading)}</h3>\n" if style == "html" else f"{heading}\n"
        parts.append(heading + results_table(list(some), style))
    return "\n\n".join(parts)


def _data(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["data"], row["format"], row["digest"]


def _table_of_results(rows: Sequence[Mapping[str, Any]], style: Style) -> str:
    header = [
        *(Column(title) for title in ("result", "iter", "split")),
        *(Column(t.lstrip("0"), "VOC mAP") for t in THRESHOLDS),
        *(Column(measure, "COCO") for measure in COCO),
    ]
    body = [
        [
            _name(row),
            _iteration(row),
            str(row["split"]),
            *(percent(row["mAP"].get(t)) for t in THRESHOLDS),
            *(percent(row.get("coco", {}).get(m)) for m in COCO),
        ]
        for row in rows
    ]
    return format_table(header, body, style, 3, WIDTH)


def _table_of_classes(rows: Sequence[Mapping[str, Any]], style: Style, measure: str) -> str:
    by_class, means = ("coco_per_class", "coco") if measure in COCO else ("per_class", "mAP")
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    ordered = sorted(rows, key=lambda row: kinds.index(row["kind"]))
    title = f"COCO {measure}" if measure in COCO else f"AP {measure.lstrip('0')}"
    header = [Column(title), *(Column(_iteration(row), _name(row)) for row in ordered)]
    names = list(dict.fromkeys(name for row in rows for name in row["per_class"]))
    body = [
        [name, *(percent(row.get(by_class, {}).get(name, {}).get(measure)) for row in ordered)]
        for name in names
    ]
    body.append(["mean", *(percent(row.get(means, {}).get(measure)) for row in ordered)])
    return format_table(header, body, style, 1, WIDTH)


def _shared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What rows have in common, said once: what supervised them, and the images of each split."""
    if not rows:
        return []
    sources = [_sources(row) for row in rows]
    common = [one for one in sources[0] if all(one in some for some in sources)]
    lines = [f"supervision: {', '.join(common) or 'none in common'}"]
    for more in dict.fromkeys(tuple(one for one in some if one not in common) for some in sources):
        if more:
            having = dict.fromkeys(
                _name(row) for row, some in zip(rows, sources, strict=True) if set(more) <= set(some)
            )
            lines.append(f"  and {', '.join(more)}: {', '.join(having)}")
    images: dict[str, dict[str, None]] = {}
    for row in rows:
        images.setdefault(str(row["split"]), {})[str(row["images"])] = None
    lines.append("images: " + ", ".join(f"{split} {' or '.join(number)}" for split, number in images.items()))
    if any(row["kind"] in SHARES for row in rows):
        lines.append("given masks, weak labels: pseudo labels of images that learn from either")
    return lines


def _sources(row: Mapping[str, Any]) -> list[str]:
    supervision = row["supervision"]
    return supervision.split(", ") if isinstance(supervision, str) else list(supervision)


def _name(row: Mapping[str, Any]) -> str:
    return str(row["kind"]).replace("_", " ") + (", stale" if row.get("stale") else "")


def _iteration(row: Mapping[str, Any]) -> str:
    return ABSENT if row["outer_iteration"] is None else str(row["outer_iteration"])


def percent(value: float | None) -> str:
    """A share as percent with one digit, at most four characters; a dash where there is none."""
    if value is None:
        return ABSENT
    text = f"{100 * value:.1f}"
    return "100" if text == "100.0" else text


def duration(seconds: float) -> str:
    """Seconds as 0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _html(columns: Sequence[Column], rows: Sequence[Sequence[str]], left_columns: int) -> str:
    number = ' class="number"'

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{'' if index < left_columns else number}>{html.escape(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    head = line("th", [one.title for one in columns])
    if any(one.group for one in columns):  # the names of the groups above their columns
        spans = _groups(columns, range(len(columns)))
        cells = (f'<th class="group" colspan="{len(some)}">{html.escape(name)}</th>' for name, some in spans)
        head = f"<tr>{''.join(cells)}</tr>{head}"
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
