"""The command itself on machines that lack something: one line and no traceback, whatever is missing."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.hard.case import Case, Facts
from tests.hard.datasets import picture
from tests.hard.store_cases import filled

Limit = tuple[int, int]  # a resource, and its bound
SECONDS = 120
FULL = "/dev/full"
REPOSITORY = Path(__file__).resolve().parents[2]


def _command(
    *words: str,
    limits: tuple[Limit, ...] = (),
    drop: tuple[str, ...] = (),
    add: Mapping[str, str] | None = None,
    stdout: int | str | None = subprocess.PIPE,
    closed: tuple[int, ...] = (),
    gone: bool = False,
    photograph: str = "images/a.png",
) -> Callable[[Path], Facts]:
    """Facts of `wsis WORDS` in a folder with a store and a photograph: exit code, tracebacks, the last line."""

    def run(folder: Path) -> Facts:
        filled(folder / "store")
        picture(folder / photograph)
        environment = {k: v for k, v in os.environ.items() if k not in drop} | {"PYTHONPATH": str(REPOSITORY)}
        environment |= {"WSIS_STORE": str(folder / "store"), **(add or {})}

        def bounded() -> None:
            if gone:  # the folder that it begins in
                os.mkdir("gone")
                os.chdir("gone")
                os.rmdir("../gone")
            for number in closed:
                os.close(number)
            for which, bound in limits:
                resource.setrlimit(which, (bound, bound))

        where = os.open(stdout, os.O_WRONLY) if isinstance(stdout, str) else stdout
        done = subprocess.run(
            [sys.executable, "-m", "wsis.cli.main", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=where,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            preexec_fn=bounded,
            check=False,
        )
        said = (done.stdout or b"").decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
        lines = said.strip().splitlines() or [""]
        return {
            "code": done.returncode,
            "traceback": "Traceback" in said,
            "raw": any(c in said for c in "\x1b\x07\x9b"),
            "last": lines[-1][:600],
            "errors": [line[:60] for line in lines if line.startswith("error: ")],
        }

    return run


FINE = {"code": 0, "traceback": False, "raw": False}
REFUSED = {"traceback": False, "raw": False}
NO_HOME = ("HOME", "WSIS_CACHE", "XDG_CACHE_HOME")
OF: dict[str, tuple[Callable[[Path], Facts], Facts]] = {
    "runs": (_command("runs"), FINE),
    "verify": (_command("verify"), FINE | {"last": "1 artefact checked, 0 problems"}),
    "no home": (_command("runs", drop=NO_HOME), FINE),
    "no home, URL store": (_command("runs", "--store", "memory://x/y", drop=NO_HOME), FINE),
    "home that cannot be written": (_command("runs", drop=NO_HOME, add={"HOME": "/proc/none"}), FINE),
    "no TMPDIR": (_command("verify", add={"TMPDIR": "/proc/none"}), FINE),
    "ASCII": (_command("runs", add={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}), FINE),
    "names that the locale has no letters for": (
        _command(
            *("proposals", "images", "--out", "made", "--set", "proposals.max_side=64", "--preview", "1"),
            add={"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            photograph="images/\u732b.png",
        ),
        REFUSED | {"code": 1},
    ),
    "few files": (_command("verify", limits=((resource.RLIMIT_NOFILE, 12),)), REFUSED),
    "very few files": (_command("runs", limits=((resource.RLIMIT_NOFILE, 5),)), {"raw": False}),
    "little memory": (_command("runs", limits=((resource.RLIMIT_AS, 300 << 20),)), REFUSED),
    "closed output": (_command("runs", stdout=None), REFUSED | {"code": 0}),
    "full output": (_command("configs", stdout=FULL), REFUSED | {"code": 1}),
    "home of nobody": (_command("check", "~nobody-of-this-name/x"), REFUSED | {"code": 2}),
    "long path": (_command("check", "x" * 5000), REFUSED | {"code": 2}),
    "long path in --set": (_command("check", "images", "--set", "data.train_list=" + "x" * 5000), REFUSED),
    "URL of one slash": (_command("runs", "--store", "s3:/bucket/store"), REFUSED | {"code": 2}),
    "current folder gone": (
        _command("runs", gone=True),
        REFUSED | {"code": 2, "last": "error: the current folder is not there any more: go to another one"},
    ),
    "no output at all": (_command("runs", closed=(1, 2)), FINE),
    "s3": (
        _command("runs", "--store", "s3://bucket/store"),
        REFUSED | {"code": 1},
    ),  # no credentials, no network
    "foo": (_command("runs", "--store", "foo://x"), REFUSED | {"code": 2}),
    "control characters as a run": (_command("show", "\x1b[31mred"), REFUSED | {"code": 2}),
    "control characters as a store": (_command("runs", "--store", "\x1b[31m/\x07"), FINE),
    "control characters in --set": (_command("run", "demo", "--set", "\x1b[31m=1"), REFUSED | {"code": 2}),
    "bytes as a run": (_command("show", os.fsdecode(b"\xff\xfe")), REFUSED | {"code": 2}),
    "bytes as a store": (_command("runs", "--store", os.fsdecode(b"\xff")), FINE),
    "no such run": (_command("show", "none"), REFUSED | {"code": 1}),
    "pipe as a configuration": (_command("run", "/dev/stdin"), REFUSED | {"code": 2}),
}
CASES = [Case(f"machine/{name}", run, facts=facts) for name, (run, facts) in OF.items()]
