"""One run of all stages on the pretended device, for the tests of this folder."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gpu.pretended import SHORT, Pretended, run


class FinishedRun(NamedTuple):
    """A run in a store, not to be changed, and what was counted."""

    store: Path
    pretended: Pretended


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """All stages of the tiny run once, under image-level labels."""
    folder = tmp_path_factory.mktemp("short")
    return FinishedRun(folder / "store", run(folder, folder / "store", *SHORT))
