"""8,000 proposals: there is one table of a byte a pair, and no table of a float a pair beside it."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("many_proposals.py")
PROPOSALS = 8_000


def test_memory_of_8000_proposals_is_bounded():
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(PROPOSALS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    found = json.loads(ran.stdout)
    print(found)
    table = PROPOSALS**2 / 2**20  # MiB of a byte a pair: what taking each proposal removes
    assert found["step"]["mib"] < 8 * table
