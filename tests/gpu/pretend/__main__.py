"""`python -m tests.gpu.pretend REPORT.json wsis ARGUMENTS` or `... REPORT.json SCRIPT.py ARGUMENTS`."""

import runpy
import sys
from pathlib import Path

from tests.gpu.pretend import native


def main() -> None:
    """Run a command or a script on the pretended device; its report is written whatever the end."""
    if len(sys.argv) < 3:
        raise SystemExit("expected REPORT.json, and wsis or a script with their arguments")
    report, sys.argv = Path(sys.argv[1]), sys.argv[2:]
    native.load()
    from tests.gpu import units
    from tests.gpu.pretend import operators, patches
    from tests.gpu.pretend.counts import COUNTS
    from tests.gpu.pretend.operations import Device

    operators.install()
    patches.install()
    units.install(COUNTS.counting)
    try:
        with Device():
            if sys.argv[0] == "wsis":
                from wsis.cli.main import main as command

                command()
            else:
                runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        COUNTS.write(report)


if __name__ == "__main__":
    main()
