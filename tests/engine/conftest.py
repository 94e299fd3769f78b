"""Toy stages in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stage_processes import TOY_STAGES


@pytest.fixture
def toy() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a toy stage in a process of its own: toy(store, "shards", **config)."""
    started: list[subprocess.Popen] = []

    def start(store: Path, which: str, **config: Any) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, str(TOY_STAGES), str(store), which, json.dumps(config)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
