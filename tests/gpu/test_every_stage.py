"""Every stage of a run on a CUDA device, as far as one can be pretended: no devices are mixed."""

from tests.gpu.conftest import FinishedRun
from tests.gpu.pretended import needed
from tests.runs.tiny_run import TINY, computed, record_of
from wsis.runs.config import load_config
from wsis.runs.plan import plan

pytestmark = needed
ON_DEVICE = {
    *("prm_classifier step", "prm_seeds image", "prm_baseline image", "conditional step"),
    *("pseudo_labels image", "prediction step", "predictions image"),
}


def test_all_stages_run_on_the_device(short_run: FinishedRun):
    assert record_of(short_run.store).status == "completed"
    assert computed(short_run.store) == {node.key for node in plan(load_config(str(TINY)))}
    assert set(short_run.pretended.waits()) == ON_DEVICE


def test_nothing_is_drawn_by_the_device_and_no_file_is_loaded_to_where_it_was_saved(short_run: FinishedRun):
    kinds = short_run.pretended.kinds()
    assert not [kind for kind in kinds if kind.startswith(("random numbers", "torch.load without"))]
    assert sum(kinds.values()) > 1000
