"""One line on stderr where a command uses a run some of whose artefacts are stale."""

import sys

from data_contracts.runs import RunRecord
from data_contracts.staleness import stale_keys, stale_line
from data_contracts.store import Store


def warn_of_stale(store: Store, record: RunRecord) -> None:
    """Say what of a run is stale and how to mend it; nothing where nothing is."""
    if line := stale_line(record, stale_keys(store, record)):
        print(f"warning: {line}", file=sys.stderr)
