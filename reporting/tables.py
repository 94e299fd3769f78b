"""Tables in the terminal, in Markdown and in HTML: first columns left, numbers right, aligned."""

import html
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Style = Literal["text", "markdown", "html"]
THRESHOLDS = ("0.25", "0.50", "0.70", "0.75")
_ABSENT = "–"


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], style: Style = "text", left_columns: int = 1
) -> str:
    """A table of texts; the first `left_columns` are aligned left, the others right.

    Raises:
        ValueError: a row has another number of cells than the header, or an unknown style.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"table: expected {len(header)} cells a row, got {len(row)}: {list(row)}")
    if style == "html":
        return _html(header, rows, left_columns)
    if style not in ("text", "markdown"):
        raise ValueError(f"table style: expected text, markdown or html, got {style!r}")
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    if style == "markdown":
        widths = [max(3, width) for width in widths]
    padded = [
        [
            cell.ljust(width) if index < left_columns else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if style == "text":
        rule = "  ".join("-" * width for width in widths)
        return "\n".join(line.rstrip() for line in ["  ".join(padded[0]), rule, *map("  ".join, padded[1:])])
    rule_cells = [
        "-" * width if index < left_columns else "-" * (width - 1) + ":" for index, width in enumerate(widths)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule_cells, *padded[1:]])


def results_table(
    rows: Sequence[Mapping[str, Any]], style: Style = "text", per_class: str | None = None
) -> str:
    """Results, one row per evaluated thing and outer iteration, mAP in percent.

    Args:
        rows: objects as `wsis results --json` gives them.
        per_class: a threshold such as "0.50": the AP of every class at it instead of mAP at all thresholds.
    """
    lead = ["result", "iter", "split", "supervision", "images"]
    if per_class is None:
        header = [*lead, *(f"mAP {threshold}" for threshold in THRESHOLDS)]
        body = [[*_lead(row), *(percent(row["mAP"].get(t)) for t in THRESHOLDS)] for row in rows]
    else:
        names = list(dict.fromkeys(name for row in rows for name in row["per_class"]))
        header = [*lead, *names, f"mAP {per_class}"]
        body = [
            [
                *_lead(row),
                *(percent(row["per_class"].get(name, {}).get(per_class)) for name in names),
                percent(row["mAP"].get(per_class)),
            ]
            for row in rows
        ]
    return format_table(header, body, style, left_columns=4)


def percent(value: float | None) -> str:
    """A share as percent with one digit; a dash where there is none."""
    return _ABSENT if value is None else f"{100 * value:.1f}"


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


def _lead(row: Mapping[str, Any]) -> list[str]:
    iteration = _ABSENT if row["outer_iteration"] is None else str(row["outer_iteration"])
    supervision = row["supervision"]
    sources = supervision if isinstance(supervision, str) else ", ".join(supervision)
    return [str(row["kind"]).replace("_", " "), iteration, str(row["split"]), sources, str(row["images"])]


def _html(header: Sequence[str], rows: Sequence[Sequence[str]], left_columns: int) -> str:
    number = ' class="number"'

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{'' if index < left_columns else number}>{html.escape(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>\n<thead>{line('th', header)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
