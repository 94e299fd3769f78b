"""YAML of people: what it means, what is refused, in bounded time and memory."""

import os
import resource
import time
from pathlib import Path

import pytest
import yaml

from data_contracts.errors import ConfigError, DataError
from data_contracts.yaml_text import parse_yaml, read_yaml_file

LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


def test_plain_documents_mean_what_pyyaml_says() -> None:
    text = "a: {b: [1, -2, 2.5, .5, true, null, ~, text, 'q', \"é\"], c: &x {d: 0x1F}, e: *x, <<: {f: 1}}\n"
    assert parse_yaml(text, "x") == yaml.safe_load(text)
    assert parse_yaml("", "x") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", "010"),  # YAML 1.1: 8
        ("0o17", 15),
        ("0o9", "0o9"),
        ("1:30", "1:30"),  # 90
        ("no", "no"),  # False
        ("2020-13-45", "2020-13-45"),  # ValueError
        ("2020-01-01", "2020-01-01"),
        ("1e-4", 1e-4),  # text
        ("-1.5E+3", -1500.0),
        (".inf", float("inf")),
        ("1_000", "1_000"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}", "x") == {"a": value}


REFUSED = {
    "key twice": ("a: 1\nb: 2\na: 3", r"the key 'a' is there twice \(line 3, column 1\)"),
    "inner key twice": ("x: {a: 1, 'a': 1}", "the key 'a' is there twice"),
    "equal keys": ("1: a\n1.0: b", "the key '1.0' is there twice"),
    "merge twice": ("<<: {a: 1}\n<<: {b: 1}", "the key '<<' is there twice"),
    "cycle": ("x: &a { b: *a }", r"an alias that contains itself \(line 1"),
    "cycle of lists": ("&a [*a]", "an alias that contains itself"),
    "merge of itself": ("x: &a\n  <<: *a", "an alias that contains itself"),
    "laughs": (LAUGHS, "more than 50000 values, aliases written out"),
    "many": ("[" + "x," * 60_000 + "]", "more than 50000 values"),
    "deep lists": ("[" * 100_000, "nested deeper than 32 levels"),
    "deep mappings": ("{a: " * 10_000, "nested deeper than 32 levels"),
    "deep blocks": ("- " * 10_000, "nested deeper than 32 levels"),
    "deep keys": ("? " * 10_000, "nested deeper than 32 levels"),
    "large": ("#" * (1 << 21), "expected at most 1048576 characters of YAML, got 2097152"),
    "open": ("a: [", "expected the node content"),
    "date": ("a: !!timestamp 2020-99-99", "'2020-99-99' is no timestamp: month must be in"),
    "digits": ("a: " + "9" * 5000, "is no int: Exceeds the limit"),
    "no int": ("a: !!int ''", "'' is no int"),
    "list as key": ("? [a]\n: 1", "unhashable key"),
    "code": ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "NUL": ("a: \0", "unacceptable character #x0000"),
    "surrogate": ("a: \ud800", "unacceptable character #xd800"),
    "two documents": ("a: 1\n--- 2", "expected a single document"),
    "unknown alias": ("a: *b", "found undefined alias 'b'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_line_soon_and_in_little_memory(case: str) -> None:
    text, match = REFUSED[case]
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=match) as caught:
        parse_yaml(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml") and "\n" not in str(caught.value)
    assert time.process_time() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_files_that_are_no_utf8_no_file_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_yaml_file(path) == {"a": 1}
    path.write_bytes(b"a: 1\n# \xff\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: expected UTF-8 text, got byte 0xff in line 2"):
        read_yaml_file(path)
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(DataError, match="expected at most 1048576 bytes of YAML, got 2097152"):
        read_yaml_file(path, DataError)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"a\.yaml: expected a YAML file, got none"):
        read_yaml_file(path)
    with pytest.raises(ConfigError, match="got a folder"):
        read_yaml_file(tmp_path)
