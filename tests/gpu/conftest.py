"""One run of all stages on the pretended device, for the tests of this folder."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gpu.pretended import REPORT, SHORT, Counted, run
from tests.runs.tiny_run import made_once


class FinishedRun(NamedTuple):
    """A run in a store, not to be changed, and what was counted."""

    store: Path
    pretended: Counted


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """All stages of the tiny run once for all test processes, under image-level labels."""
    folder = made_once(tmp_path_factory, "short", lambda folder: run(folder, folder / "store", *SHORT))
    return FinishedRun(folder / "store", Counted(json.loads((folder / REPORT).read_text())))
