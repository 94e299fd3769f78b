"""Every file, name, test, setting, command and heading that a document or a docstring names is there.

docs/notebook and docs/changes.md are left out: they name what was.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("wsis", "stages", "flows", "data_contracts", "configs", "benchmarks", "tests")
FOLDERS = (*PACKAGES, "docs", "docker")
PAGES = sorted(
    p
    for p in (
        p
        for part in ("*.md", "doc*/**/*.md", "benchmarks/*.md", "wsis/**/*.md")
        for p in REPOSITORY.glob(part)
    )
    if "notebook" not in p.parts and p.name != "changes.md"
)
METHOD = REPOSITORY / "wsis" / "method"
TEXTS = [*PAGES, *(p for name in PACKAGES for p in sorted((REPOSITORY / name).rglob("*.py")))]

FILE = re.compile(
    rf"(?<![\w./<-])((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|md|yaml|toml|json|txt|png|jpg|pt))"
)
TEST = re.compile(r"\b(test_\w+)(?:\.py)?::(test_\w+)")
DOTTED = re.compile(r"`([a-z_]\w*(?:\.\w+)+)(?:=[^`]*)?`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
QUOTED = re.compile(r'((?:docs/)?[\w-]+\.md), "([^"]+)"')
NUMBERED = re.compile(r"\.md,? (?:section )?\d")
COMMENT = re.compile(r'""".*?"""|#[^\n]*', re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`]+`|^ {4}[^\n]*", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"\bwsis ([a-z][a-z-]+)([^#`\n>&|]*)")
OPTION = re.compile(r" (--?[a-z][\w-]*)")
KEY = re.compile(r"--set '?([\w.]+)=")


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def prose(path: Path) -> str:
    """A page's text; of a module its docstrings and comments."""
    text = text_of(path)
    if path.suffix == ".md":
        return text
    return "\n".join(COMMENT.findall(text))


def headings(path: Path) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """As GitHub and MkDocs make them of plain headings."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings(path)}


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    """Names that a module defines or imports, and `Class.member`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for one in node.body for name in bound_by(one)}
        found |= set(bound_by(node))
    return frozenset(found)


def bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (t.id for t in targets if isinstance(t, ast.Name))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (a.asname or a.name for a in node.names)


def is_code(name: str, below: Path) -> bool:
    """Whether a dotted name is a module, or something that a module below a folder holds."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        place = below.joinpath(*parts[:end])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        rest = ".".join(parts[end:])
        if place.is_dir() and not rest:
            return True
        if module.is_file():
            return not rest or rest in names_in(module)
    return False


@functools.cache
def settings() -> frozenset[str]:
    from wsis.runs.config import load_config

    def keys(value: object, prefix: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield f"{prefix}{key}"
                yield from keys(inner, f"{prefix}{key}.")

    models = [load_config("voc_lite"), load_config("demo")]
    names = {key for model in models for key in keys(model.model_dump(mode="json"), "")}
    return frozenset(names | {"train_contours.steps", "train_contours.splits"})


def missing_files(path: Path) -> Iterator[str]:
    for name in FILE.findall(prose(path)):
        if not (REPOSITORY / name).exists():
            yield f"file {name}"


def missing_tests(path: Path) -> Iterator[str]:
    files = files_of_tests()
    for file, test in TEST.findall(prose(path)):
        if file not in files or test not in names_in(files[file]):
            yield f"test {file}::{test}"


@functools.cache
def files_of_tests() -> dict[str, Path]:
    return {p.stem: p for p in (REPOSITORY / "tests").rglob("test_*.py")}


def missing_names(path: Path) -> Iterator[str]:
    """Dotted names in backticks, where the first part is one of ours."""
    rooms = {p.stem for p in METHOD.iterdir()} if path.name == "method.md" else set()
    sections = {key.split(".")[0] for key in settings() if "." in key}
    for name in DOTTED.findall(prose(path)):
        first = name.split(".")[0]
        if first not in {*PACKAGES, *rooms, *(sections if path.suffix == ".md" else ())}:
            continue
        good = is_code(name, REPOSITORY) or is_code(name, METHOD) or name in settings()
        if not good and not (REPOSITORY / name).exists():
            yield f"name {name}"


def missing_headings(path: Path) -> Iterator[str]:
    text = re.sub(r"\s+", " ", prose(path))
    for name, heading in QUOTED.findall(text):
        page = next((p for p in (REPOSITORY / name, REPOSITORY / "docs" / name) if p.is_file()), None)
        if page is None or heading not in headings(page):
            yield f'heading {name}, "{heading}"'
    yield from (f"section {found!r}: pages have no numbers" for found in NUMBERED.findall(text))


def missing_links(path: Path) -> Iterator[str]:
    if path.suffix != ".md":
        return
    for target in LINK.findall(re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name) if name else path
        if not page.exists():
            yield f"link {target}"
        elif anchor and anchor not in anchors(page):
            yield f"anchor {target}"


def missing_commands(path: Path) -> Iterator[str]:
    """Commands, their options and the keys that --set is given."""
    if path.suffix != ".md":
        return
    known = commands()
    for line in "\n".join(CODE.findall(text_of(path))).replace("\\\n", " ").split("\n"):
        for word, rest in COMMAND.findall(line):
            if word not in known:
                yield f"command wsis {word}"
                continue
            yield from (f"option wsis {word} {o}" for o in OPTION.findall(rest) if o not in known[word])
            yield from (f"setting {key}" for key in KEY.findall(rest) if key not in settings())


@functools.cache
def commands() -> dict[str, set[str]]:
    import typer.main

    from wsis.cli.main import app

    made = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {name: {o for p in one.params for o in p.opts} | {"--help"} for name, one in made.items()}


CHECKS = (missing_files, missing_tests, missing_names, missing_headings, missing_links, missing_commands)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_is_named_is_there(check):
    missing = [f"{p.relative_to(REPOSITORY)}: {m}" for p in TEXTS for m in sorted(set(check(p)))]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("see `wsis/method/none.py`", missing_files),
        ("`test_plan::test_none`", missing_tests),
        ("`wsis.runs.plan.none`, `conditional.k`", missing_names),
        ("`conditional.none=3`", missing_names),
        ('docs/results.md, "None"', missing_headings),
        ("(method.md 4)", missing_headings),
        ("[a](none.md)", missing_links),
        ("[a](page.md#none)\n# One", missing_links),
        ("`wsis none`", missing_commands),
        ("`wsis run demo --none`", missing_commands),
        ("`wsis run demo --set 'none.k=3'`", missing_commands),
    ],
)
def test_each_check_can_fail(text, check, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert len(list(check(page))) == 1


def test_a_page_of_a_result_is_written_from_the_stored_figures():
    import importlib.util
    import json

    spec = importlib.util.spec_from_file_location("results_page", REPOSITORY / "docs" / "results_page.py")
    assert spec is not None and spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    measured = json.loads((REPOSITORY / "docs" / "measured.json").read_text())
    assert page.tables_page(measured) == (REPOSITORY / "docs" / "results-tables.md").read_text()
