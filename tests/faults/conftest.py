"""One finished tiny run for all tests that look at a run."""

from pathlib import Path

import pytest

from tests.flows.tiny_run import copy_of, shared_tiny_run


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of the finished run `tiny`; not to be changed."""
    return shared_tiny_run(tmp_path_factory)


@pytest.fixture
def own_store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged or changed."""
    return copy_of(tiny_store, tmp_path / "store")
