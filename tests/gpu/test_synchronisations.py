"""How often the host waits for the device in one unit of work: not more often than today."""

import pytest

from tests.gpu.conftest import FinishedRun
from tests.gpu.pretended import needed

pytestmark = needed
# Medians over the units of the short run, 2026-11-29: batches of 4, K = 5. To be lowered, not raised without a reason.
# Where the count depends on what networks say, which another processor may say otherwise, 5 % more than was counted.
AT_MOST = {
    "prm_classifier step": 1,
    "prm_seeds image": 2,
    "prm_baseline image": 3,
    "conditional step": 10,
    "pseudo_labels image": 4,
    "prediction step": 48,
    "predictions image": 5,
}


@pytest.mark.parametrize("unit", AT_MOST)
def test_a_unit_of_work_waits_as_rarely_as_it_did(unit: str, short_run: FinishedRun):
    found = short_run.pretended.waits()[unit]
    places = [row for row in short_run.pretended.report["places"] if row["unit"] == unit][:5]
    assert found.total <= AT_MOST[unit], f"{found}; most of them: {places}"
