"""Names of files hold anything; a terminal or a page gets none of it raw."""

import io
import json

import pytest

from data_contracts.printable import PrintableStream, counted, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 🐄\tand\nlines", "plain é 日本 🐄\tand\nlines"),
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        ("a\rb\x08\x7f\x9b1m", "a\\u000db\\u0008\\u007f\\u009b1m"),
        ("\u202egpj.exe\u2028", "\\u202egpj.exe\\u2028"),
        ("\ud800.jpg", "\\ud800.jpg"),
    ],
)
def test_control_characters_are_escaped_and_nothing_else(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_stays_json() -> None:
    value = {"name": "\x7f\u202e\x1b"}
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value


def test_a_stream_of_a_poor_encoding_fails_at_nothing() -> None:
    raw = io.BytesIO()
    stream = PrintableStream(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    print("é \x1b\ud800", file=stream, flush=True)
    assert raw.getvalue() == b"\\xe9 \\u001b\\ud800\n"


@pytest.mark.parametrize(
    ("number", "thing", "said"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "box", "2 boxes"),
        (3, "class", "3 classes"),
        (2, "image entry", "2 image entries"),
        (2, "day", "2 days"),
        (1, "image entry", "1 image entry"),
    ],
)
def test_what_is_counted_is_in_the_singular_or_the_plural(number: int, thing: str, said: str) -> None:
    assert counted(number, thing) == said
