"""The runner: many cases in one process with limits of memory and time; what ends the process is the case's fault."""

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU_SECONDS = 20.0
WAIT_SECONDS = 60.0  # of the clock: a pipe that nobody writes to takes no CPU
MEMORY = 3 << 29  # bytes beyond what the process has when it begins: 1.5 GiB
FAMILIES = (
    "yaml_cases",
    "coco_cases",
    "voc_cases",
    "table_cases",
    "mat_cases",
    "result_cases",
    "image_cases",
    "photograph_cases",
    "store_cases",
    "machine_cases",
    "damaged_cases",
)


def cases_of(family: str) -> Sequence[Any]:
    """The cases of one module of this folder."""
    found: Sequence[Any] = importlib.import_module(f"tests.hard.{family}").CASES
    return found


class _TimeLimitError(BaseException):
    """Not to be caught by what is tested."""


def run_family(family: str) -> dict[str, dict[str, Any]]:
    """Name of each case -> its outcome: kind accepted (facts), refused (said), traceback, died or too slow (said)."""
    names = [case.name for case in cases_of(family)]
    outcomes: dict[str, dict[str, Any]] = {}
    while left := [name for name in names if name not in outcomes]:
        command = [sys.executable, "-m", "tests.hard.run_cases", family, left[0]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            _collect(process, outcomes, left)
    return outcomes


def _collect(process: subprocess.Popen[bytes], outcomes: dict[str, dict[str, Any]], left: list[str]) -> None:
    if process.stdout is None:
        raise RuntimeError("the worker's output is not piped")
    while select.select([process.stdout], [], [], 2 * WAIT_SECONDS)[0]:
        line = process.stdout.readline()
        if not line:
            break
        found = json.loads(line)
        outcomes[found.pop("name")] = found
    else:
        process.kill()
    code = process.wait()
    unfinished = next((name for name in left if name not in outcomes), None)
    if unfinished is not None:
        outcomes[unfinished] = {"kind": "died", "said": f"the process ended with {code}"}


def _outcome(case: Any, folder: Path) -> dict[str, Any]:
    from data_contracts.errors import ContractError
    from wsis.errors import WsisError

    signal.setitimer(signal.ITIMER_REAL, WAIT_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        return {"kind": "accepted", "facts": dict(case.run(folder))}
    except (ContractError, WsisError) as error:
        return {"kind": "refused", "said": str(error), "type": type(error).__name__}
    except _TimeLimitError as error:
        return {"kind": "too slow", "said": str(error)}
    except Exception as error:  # what a user would see as a traceback
        return {"kind": "traceback", "said": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _late(number: int, frame: Any) -> None:
    raise _TimeLimitError(f"more than {CPU_SECONDS} s of CPU or {WAIT_SECONDS} s at {frame}")


def main(family: str, first: str) -> None:
    """Run the cases of a family from one on; a line of JSON each on stdout."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the tested code prints is none of ours
    cases = cases_of(family)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _late)
    if family != "machine_cases":  # those limit the processes that they start
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for case in cases[[case.name for case in cases].index(first) :]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"name": case.name, **_outcome(case, Path(folder))}), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
