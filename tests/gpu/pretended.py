"""Commands and scripts on the pretended device, each in a process of its own, and what it counted."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import pytest

from tests.gpu.pretend import native
from tests.runs.tiny_run import TINY, Result, done

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 900
REPORT = "report.json"
needed = pytest.mark.skipif(
    native.missing() is not None, reason=f"no CUDA device can be pretended: {native.missing()}"
)
# with more cores stages run in processes of their own, which do not pretend
ON_CUDA = ("execution.device=cuda", "execution.cores=1", "execution.checkpoint_seconds=600")
# All stages of the tiny run once, in batches of the demo's size.
SHORT = (
    *("data.scenes.train=4", "data.scenes.val=2", "prm_classifier.batch_size=4", "prm_classifier.epochs=2"),
    *("conditional.k=5", "conditional.batch_size=4", "conditional.pretrain_epochs=2", "conditional.epochs=2"),
    *("prediction.batch_size=4", "prediction.steps=3", "prediction.later_steps=2"),
)


@dataclass(frozen=True)
class Counted:
    """What a process on the pretended device reported."""

    report: Mapping[str, Any]

    def kinds(self, unit: str | None = None) -> dict[str, int]:
        """Kind -> how many of it, in one unit of work or all; a kind is followed by the operation."""
        found: dict[str, int] = {}
        for row in self.report["places"]:
            if unit in (None, row["unit"]):
                found[row["kind"]] = found.get(row["kind"], 0) + row["count"]
        return found

    def waits(self) -> dict[str, "Waits"]:
        """Unit of work -> what one of them waits for; units that never touch the device are left out."""
        return {
            unit: Waits.of(rows, self.report["operations"][unit] // len(rows))
            for unit, rows in self.report["waits"].items()
            if self.report["operations"].get(unit)
        }


@dataclass(frozen=True)
class Pretended(Counted):
    """Such a report, and how the process ended."""

    result: Result


@dataclass(frozen=True)
class Waits:
    """Medians over units of work: copies to the device, values and sizes that the host reads; operations: the mean."""

    units: int
    copies: int
    reads: int
    total: int
    most: int
    operations: int

    @staticmethod
    def of(rows: Sequence[Mapping[str, int]], operations: int) -> "Waits":
        copies = [row["copy to the device"] for row in rows]
        totals = [sum(row.values()) for row in rows]
        reads = [total - copied for total, copied in zip(totals, copies, strict=True)]
        return Waits(len(rows), *(median_low(x) for x in (copies, reads, totals)), max(totals), operations)


def pretended(folder: Path, *arguments: object) -> Pretended:
    """Run `wsis ...` or a script with its arguments on the pretended device.

    Args:
        folder: for the report.
    """
    report = folder / REPORT
    ended = subprocess.run(
        [sys.executable, "-m", "tests.gpu.pretend", str(report), *(str(a) for a in arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    result = Result(ended.returncode, ended.stdout, ended.stderr)
    return Pretended(json.loads(report.read_text()) if report.exists() else {}, result)


def run(folder: Path, store: Path, *settings: str, name: str = "tiny", config: object = TINY) -> Pretended:
    """`wsis run` on the pretended device, which must succeed."""
    overrides = [x for s in (*ON_CUDA, *settings) for x in ("--set", s)]
    found = pretended(folder, "wsis", "run", config, "--name", name, "--store", store, *overrides)
    done(found.result)
    return found
