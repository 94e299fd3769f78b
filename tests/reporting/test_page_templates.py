"""Templates of pages: text is escaped, and what a template misses is no empty place."""

from typing import Any

import jinja2
import pytest

from wsis.reporting.page.elements import note, picture
from wsis.reporting.page.overview import Overview
from wsis.reporting.page.rendering import render

PAGE: dict[str, Any] = {
    "title": "<b>&",
    "style": "report.css",
    "record": {"name": "<i>", "status": "s", "error": None, "config_name": "c", "created": "now"},
    "location": "'\"<u>",
    "stale": "<s>",
    "overview": Overview({"<u>": "<p>"}, [], "", "<b>", "<i>", ""),
    "sections": [("<q>", "x", "<em>")],
    "gallery": None,
}


def test_text_is_escaped() -> None:
    page = render("report.html", **PAGE)
    for tag in ("<b>", "<u>", "<s>", "<q>", "<em>"):
        assert tag not in page and tag.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "<h1>" in page and "system-ui" in page
    assert "<b>" not in note("<b>") and picture(b"x", "image/png", '"<b>').startswith('<img alt="&#34;&lt;b')


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="location"):
        render("report.html", **{k: v for k, v in PAGE.items() if k != "location"})
