"""One line on stderr where a command uses a run some of whose artefacts are stale."""

import sys

from wsis.views.run import Run


def warn_of_stale(run: Run) -> None:
    """Say what of a run is stale and how to mend it; nothing where nothing is."""
    if line := run.stale_line():
        print(f"warning: {line}", file=sys.stderr)
