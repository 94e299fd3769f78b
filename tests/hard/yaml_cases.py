"""Configurations, suites and values of --set."""

from collections.abc import Callable
from pathlib import Path

from tests.hard.case import Case, Facts
from wsis.apps.suites import load_suite
from wsis.runs.config import load_config, shipped_configs

DEMO = shipped_configs()["demo"].read_text()
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
QUADRATIC = "a: &a [" + "x," * 13_000 + "]\nb: [*a,*a,*a,*a]\n"


def _config(content: str | bytes) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        path = folder / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        config = load_config(str(path))
        return {"k": config.conditional.k, "t": config.outer_iterations, "evaluate": config.evaluate}

    return run


def _set(override: str) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        config = load_config("demo", [override])
        return {"seed": config.seed, "evaluate": config.evaluate, "val": config.data.val_split}

    return run


def _suite(content: str | bytes) -> Callable[[Path], Facts]:
    def run(folder: Path) -> Facts:
        path = folder / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"rows": list(load_suite(str(path))[1].rows)}

    return run


ROWS = "base: demo\nrows:\n  one: {title: One, set: {seed: 1}}\n"
FILES: dict[str, tuple[str | bytes, tuple[str, ...] | Facts]] = {
    "as shipped": (DEMO, {"k": 5}),
    "BOM": (b"\xef\xbb\xbf" + DEMO.encode(), {"k": 5}),
    "CRLF": (DEMO.replace("\n", "\r\n"), {"k": 5}),
    "yes": (DEMO + "\nevaluate: yes\n", ("'evaluate' is there twice",))
    if "\nevaluate:" in DEMO
    else (DEMO + "\nevaluate: yes\n", {"evaluate": True}),
    "leading zero": (DEMO.replace("outer_iterations:", "outer_iterations: 03 #"), {"t": 3}),
    "anchors": ("x-not: &a 1\n" + DEMO, ("x-not", "unknown key")),
    "empty": ("", ("expected a mapping of sections, got NoneType",)),
    "null": ("null\n", ("got NoneType",)),
    "list": ("- 1\n", ("got list",)),
    "text": ("hello\n", ("got str",)),
    "number": ("42\n", ("got int",)),
    "not UTF-8": (b"# \xff\n" + DEMO.encode(), ("expected UTF-8 text, got byte 0xff in line 1",)),
    "latin-1": (DEMO.encode() + "# é\n".encode("latin-1"), ("expected UTF-8 text",)),
    "UTF-16": (DEMO.encode("utf-16"), ("expected UTF-8 text",)),
    "NUL": (DEMO + "\0", ("unacceptable character #x0000",)),
    "escape": (DEMO + "# \x1b[31m\n", ("unacceptable character #x001b",)),
    "key twice": (DEMO + "\nouter_iterations: 3\n", ("'outer_iterations' is there twice", "line")),
    "inner key twice": (DEMO + "\nexecution: {workers: 1, workers: 2}\n", ("is there twice",)),
    "cycle": ("data: &a {b: *a}\n", ("an alias that contains itself",)),
    "cycle of lists": ("data: &a [*a]\n", ("an alias that contains itself",)),
    "laughs": (LAUGHS, ("more than 50000 values",)),
    "quadratic": (QUADRATIC, ("more than 50000 values",)),
    "deep lists": ("data: " + "[" * 50_000, ("nested deeper than 32 levels",)),
    "deep maps": ("{a: " * 50_000, ("nested deeper than 32 levels",)),
    "deep blocks": ("- " * 50_000, ("nested deeper than 32 levels",)),
    "large": ("#" * (3 << 20), ("expected at most 1048576 bytes of YAML",)),
    "unclosed": ("data: [", ("is not YAML",)),
    "tab": ("data:\n\tformat: voc\n", ("is not YAML",)),
    "colon": ("data: a: b\n", ("is not YAML",)),
    "code": ("data: !!python/object/apply:os.system [ls]\n", ("could not determine a constructor",)),
    "name of code": ("data: !!python/name:os.system\n", ("could not determine a constructor",)),
    "own tag": ("data: !x {}\n", ("could not determine a constructor",)),
    "date": ("seed: !!timestamp 2020-99-99\n", ("is no timestamp",)),
    "plain date": (DEMO + "\nceiling: 2020-13-45\n", ("ceiling", "2020-13-45")),
    "octal": (DEMO + "\nceiling: 0o9\n", ("ceiling", "'0o9'")),
    "many digits": (DEMO + "\nceiling: " + "9" * 6000 + "\n", ("is no int", "limit")),
    "NaN": (DEMO + "\nceiling: .nan\n", ("ceiling", "nan")),
    "two documents": (DEMO + "\n---\na: 1\n", ("expected a single document",)),
    "unknown alias": ("data: *b\n", ("undefined alias",)),
    "list as key": ("? [a]\n: 1\n", ("unhashable key",)),
    "number as key": (DEMO + "\n1: 2\n", ("1: Keys should be strings, got 1",)),
    "null as key": (DEMO + "\n~: 2\n", ("None",)),
    "merge of text": ("<<: 1\n", ("expected a mapping",)),
    "unknown key": (DEMO + "\nprediktion: {}\n", ("prediktion: unknown key",)),
    "section is text": (DEMO + "\npredictions: 'no'\n", ("predictions", "'no'")),
    "long value": (DEMO + "\nceiling: " + "x" * 100_000 + "\n", ("ceiling",)),
    "zip": (b"PK\x03\x04" + bytes(range(256)), ("expected UTF-8 text",)),
}
SETS: dict[str, tuple[str, tuple[str, ...] | Facts]] = {
    "number": ("seed=7", {"seed": 7}),
    "spaces": ("seed= 7 ", {"seed": 7}),
    "leading zero is ten": ("seed=010", {"seed": 10}),
    "base 60": ("seed=1:30", ("seed", "1:30")),
    "no is false": ("evaluate=no", {"evaluate": False}),
    "no is a split": ("data.val_split=no", {"val": "no"}),
    "null": ("data.val_split=null", {"val": None}),
    "nothing": ("seed=", ("seed",)),
    "no equals": ("seed", ("expected dotted.key=value",)),
    "no key": ("=3", ("expected dotted.key=value",)),
    "empty part": ("data..root=x", ("expected dotted.key=value",)),
    "below a number": ("seed.x=1", ("--set", "seed", "{'x': 1}")),
    "unclosed": ("data.classes=[", ("--set", "is not YAML")),
    "key twice": ("data={format: voc, format: coco}", ("--set", "is there twice")),
    "cycle": ("data=&a [*a]", ("--set", "contains itself")),
    "deep": ("data=" + "[" * 20_000, ("--set", "nested deeper")),
    "large": ("data=" + "x" * (2 << 20), ("--set", "at most")),
    "fraction": ("seed=1.5", ("seed", "1.5")),
    "text": ("seed=abc", ("seed", "'abc'")),
    "negative": ("seed=-1", ("seed", "-1")),
    "unknown": ("sede=1", ("sede: unknown key",)),
    "control": ("\x1b[31mx=1", ("unknown key",)),
    "surrogate": ("data.val_split=\ud800", ("--set", "unacceptable character")),
    "infinite": ("predictions.score_threshold=.inf", ("score_threshold",)),
    "classes twice": ("data.classes=[a, a]", ("classes",)),
}
SUITES: dict[str, tuple[str | bytes, tuple[str, ...] | Facts]] = {
    "sound": (ROWS, {"rows": ["one"]}),
    "row twice": (ROWS + "  one: {title: Two}\n", ("'one' is there twice",)),
    "key twice": (ROWS + "base: voc_lite\n", ("'base' is there twice",)),
    "no rows": ("base: demo\nrows: {}\n", ("rows",)),
    "cycle": ("base: demo\nrows: &a {b: *a}\n", ("contains itself",)),
    "laughs": (LAUGHS, ("more than 50000 values",)),
    "not UTF-8": (b"base: \xff\n", ("expected UTF-8 text",)),
    "order of no row": (ROWS + "orders: [[one, two]]\n", ("'two'",)),
    "rows of text": ("base: demo\nrows: x\n", ("rows",)),
    "empty": ("", ("got NoneType",)),
}


def _case(name: str, run: Callable[[Path], Facts], expected: tuple[str, ...] | Facts) -> Case:
    if isinstance(expected, tuple):
        return Case(name, run, words=expected)
    return Case(name, run, facts=expected)


CASES = [
    *(_case(f"config/{name}", _config(content), expected) for name, (content, expected) in FILES.items()),
    *(_case(f"set/{name}", _set(text), expected) for name, (text, expected) in SETS.items()),
    *(_case(f"suite/{name}", _suite(content), expected) for name, (content, expected) in SUITES.items()),
]
