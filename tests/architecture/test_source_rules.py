"""House rules that no linter of ours knows: read from the syntax trees of the packages."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("wsis", "data_contracts", "stages", "flows")
MAX_LINES = 400
FILES = sorted(p for package in PACKAGES for p in (REPOSITORY / package).rglob("*.py"))
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "joblib", "shelve"}


def name_of(node: ast.expr) -> str:
    """Dotted name of a called thing, `torch.load`; unknown parts are left out."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, dict[str, ast.expr]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, name_of(node.func), {k.arg: k.value for k in node.keywords if k.arg}


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def asserts(tree: ast.AST) -> Iterator[int]:
    """`python -O` drops them, and they name nothing."""
    yield from (node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert))


def pickled_data(tree: ast.AST) -> Iterator[int]:
    """Anything that can run code from a file. Exceptions of the pickle module may be named."""
    for node, name, keywords in calls(tree):
        last = name.rsplit(".", 1)[-1]
        pickler = name.split(".")[0] in PICKLERS and "load" in last.lower()
        if pickler or last in {"Unpickler", "unsafe_load", "read_pickle"}:
            yield node.lineno
        if name == "torch.load" and not is_constant(keywords.get("weights_only"), True):
            yield node.lineno
        if last == "load_state_dict_from_url" and not is_constant(keywords.get("weights_only"), True):
            yield node.lineno
        if "allow_pickle" in keywords and not is_constant(keywords["allow_pickle"], False):
            yield node.lineno
        if is_constant(keywords.get("weights_only"), False):
            yield node.lineno
        if name in {"yaml.load", "yaml.load_all"} and "Safe" not in ast.dump(node):
            yield node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in PICKLERS:
            yield from (node.lineno for a in node.names if "load" in a.name.lower() or a.name == "Unpickler")


def code_from_text(tree: ast.AST) -> Iterator[int]:
    for node, name, keywords in calls(tree):
        built_in = isinstance(node.func, ast.Name) and name in {"eval", "exec"}  # not module.eval()
        if built_in or name in {"os.system", "os.popen"} or is_constant(keywords.get("shell"), True):
            yield node.lineno


def swallowed_exceptions(tree: ast.AST) -> Iterator[int]:
    """A bare except, or a broad one that neither raises nor says anything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or name_of(node.type) in {"Exception", "BaseException"}
            if node.type is None or (broad and not any(isinstance(n, ast.Raise) for n in ast.walk(node))):
                yield node.lineno


def forked_processes(tree: ast.AST) -> Iterator[int]:
    """Any process of Python's but those of `wsis.engine.worker_processes`: the default of `multiprocessing` and of
    torch's DataLoader is a fork, which breaks in a process with threads."""
    starters = {"fork", "forkpty", "DataLoader", "ProcessPoolExecutor", "get_context", "set_start_method"}
    for node, name, _ in calls(tree):
        parts = name.split(".")
        if parts[-1] in starters or (
            parts[-1] in {"Process", "Pool"} and {*parts} & {"multiprocessing", "mp"}
        ):
            yield node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("multiprocessing"):
            yield from (node.lineno for a in node.names if a.name in {"Process", "Pool"})


def undocumented(tree: ast.Module) -> Iterator[int]:
    """Modules, and public classes and functions at their top, say what they are."""
    if ast.get_docstring(tree) is None:
        yield 1
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and ast.get_docstring(node) is None and node.name not in {"run", "Config", "main"}:
            yield node.lineno


RULES: dict[str, Callable[..., Iterator[int]]] = {
    "no assert as validation": asserts,
    "no pickle from data": pickled_data,
    "no code from text": code_from_text,
    "no swallowed exception": swallowed_exceptions,
    "no forked process": forked_processes,
    "public names are documented": undocumented,
}
EXCEPTIONS = {
    # from the stage, through Dask, which unpickles what it is sent itself; never from a file
    "no pickle from data": {"wsis/engine/cluster_work.py"},
    "no forked process": {"wsis/engine/worker_processes.py"},
    "no swallowed exception": {
        # sent to whoever waits, who raises it
        *(f"wsis/engine/{name}.py" for name in ("process_group", "stage_process", "cluster", "cluster_work")),
        "data_contracts/patience.py",
        # a run does not end for want of a picture: it is warned of
        *("wsis/runs/board.py", "flows/artifacts.py"),
    },
}

BAD = {
    "no assert as validation": ["assert x", "def f():\n    assert x, 'y'"],
    "no pickle from data": [
        "import pickle\npickle.load(f)",
        "pickle.loads(b)",
        "from pickle import loads",
        "pickle.Unpickler(f)",
        "pd.read_pickle(p)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "torch.load(p, map_location='cpu', weights_only=flag)",
        "torch.hub.load_state_dict_from_url(u)",
        "load_checkpoint(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "yaml.load(t)",
        "yaml.load(t, Loader=yaml.Loader)",
        "yaml.unsafe_load(t)",
    ],
    "no code from text": [
        "eval(t)",
        "exec(t)",
        "os.system(c)",
        "subprocess.run(c, shell=True)",
        "x = [exec(t) for t in ts]",
    ],
    "no swallowed exception": [
        "try:\n    f()\nexcept:\n    raise",
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept BaseException as e:\n    log(e)",
    ],
    "no forked process": [
        "os.fork()",
        "multiprocessing.Process(target=f)",
        "from multiprocessing import Pool",
        "multiprocessing.get_context('fork')",
        "torch.multiprocessing.Pool()",
        "mp.set_start_method('fork')",
        "ProcessPoolExecutor(2)",
        "DataLoader(d, num_workers=2)",
    ],
    "public names are documented": [
        "x = 1",
        "'''m'''\ndef f(): ...",
        "'''m'''\nclass A:\n    '''a'''\ndef f(): ...",
    ],
}
GOOD = '''"""Module."""
import pickle
import numpy as np


def f(path):
    """Doc."""
    try:
        np.load(path, allow_pickle=False)
        torch.load(path, weights_only=True)
        yaml.load(path, Loader=yaml.SafeLoader)
        network(path).eval()
        spawn.Process(target=f)
        WorkerPool(f, 2, patience)
    except (pickle.UnpicklingError, OSError) as error:
        raise ValueError("x") from error
    except Exception as error:
        raise ValueError("y") from error


def _private(): ...
'''


def test_there_is_something_to_check():
    assert {p.relative_to(REPOSITORY).parts[0] for p in FILES} == set(PACKAGES)
    assert len(FILES) > 40


@pytest.mark.parametrize("rule", RULES)
def test_rule_finds_what_it_forbids(rule):
    for source in BAD[rule]:
        assert list(RULES[rule](ast.parse(source))), source
    assert not list(RULES[rule](ast.parse(GOOD)))


@pytest.mark.parametrize("rule", RULES)
def test_packages_keep_the_rule(rule):
    broken = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in FILES
        if path.relative_to(REPOSITORY).as_posix() not in EXCEPTIONS.get(rule, ())
        for line in RULES[rule](ast.parse(path.read_text(), str(path)))
    ]
    assert not broken, f"{rule}: {broken}"


def test_files_are_short():
    files = [*FILES, *(REPOSITORY / "tests").rglob("*.py"), *(REPOSITORY / "benchmarks").rglob("*.py")]
    long = {
        str(p.relative_to(REPOSITORY)): n for p in files if (n := len(p.read_text().splitlines())) > MAX_LINES
    }
    assert not long, f"more than {MAX_LINES} lines: {long}"


def imported_modules(tree: ast.AST) -> set[str]:
    """Dotted names of everything that a module imports, each `from a import b` as `a` and as `a.b`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def stage_modules() -> dict[str, ast.Module]:
    """Modules that define a stage, by dotted name."""
    found = {}
    for path in (REPOSITORY / "stages").rglob("*.py"):
        tree = ast.parse(path.read_text())
        targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
        if any(isinstance(t, ast.Name) and t.id == "STAGE" for t in targets):
            found[".".join(path.relative_to(REPOSITORY).with_suffix("").parts)] = tree
    return found


def test_stages_never_import_one_another():
    """Between groups import-linter says so; this is for the stages of one group."""
    stages = stage_modules()
    assert len(stages) > 10
    crossing = {
        name: others for name, tree in stages.items() if (others := imported_modules(tree) & stages.keys())
    }
    assert not crossing


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a ring, the first found; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(imports[name] & imports.keys()):
            if found := visit(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(imports) if (found := visit(name, []))), [])


def test_no_modules_import_one_another_in_a_ring():
    imports = {}
    names = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in FILES}
    for path in FILES:
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found = imported_modules(ast.parse(path.read_text())) - {name}
        # `from package import module` names the package too, which need not be asked for more
        imports[name] = {
            one for one in found if not any(other.startswith(f"{one}.") for other in found & names)
        }
    assert circle(imports) == []
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"a"}}) == ["a", "b", "d"]


def test_imports_are_seen():
    tree = ast.parse(
        "from stages.prm import prm_seeds\nimport stages.data.boxes as b\nfrom stages.a.b import C"
    )
    assert imported_modules(tree) >= {"stages.prm.prm_seeds", "stages.data.boxes", "stages.a.b"}


def test_test_modules_have_unique_names():
    """Without __init__.py pytest imports them by their bare names."""
    names: dict[str, list[str]] = {}
    for path in (REPOSITORY / "tests").rglob("*.py"):
        if path.name != "conftest.py":
            names.setdefault(path.name, []).append(str(path.relative_to(REPOSITORY)))
    assert not {name: paths for name, paths in names.items() if len(paths) > 1}
