"""Fixtures for every test: where the photographs lie, one finished tiny run, one torch thread, fixed seeds."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.runs.tiny_run import copy_of, shared_tiny_run

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def _data_root(variable: str, default: Path, needed: tuple[str, ...]) -> Path:
    root = Path(os.environ.get(variable) or default)
    missing = [name for name in needed if not (root / name).is_dir()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} under {root} (set {variable} to another place)")
    return root


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """A VOC2012 devkit folder: $WSIS_VOC_ROOT, else ../shared/data/voc-animals; skips when absent."""
    default = SHARED_DATA / "voc-animals" / "VOCdevkit" / "VOC2012"
    return _data_root("WSIS_VOC_ROOT", default, ("JPEGImages", "Annotations", "SegmentationObject"))


@pytest.fixture(scope="session")
def bsds_root() -> Path:
    """BSDS500 boundaries and images: $WSIS_BSDS_ROOT, else ../shared/data/bsds500; skips when absent."""
    return _data_root("WSIS_BSDS_ROOT", SHARED_DATA / "bsds500", ("images", "boundaries"))


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of the finished run `tiny`; not to be changed."""
    return shared_tiny_run(tmp_path_factory)


@pytest.fixture
def own_store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged or changed."""
    return copy_of(tiny_store, tmp_path / "store")


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """One torch thread, and the same seeds for every test whatever ran before it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # libraries under test may use the global state
    random.seed(0)
    yield
    torch.set_num_threads(threads)
