"""Models that 0.1 exported name a module that has moved."""

from wsis.method.prediction import registrations
from wsis.mmdet_ext import registrations as earlier


def test_models_exported_by_0_1_find_their_registrations() -> None:
    assert earlier.roi_heads is registrations.roi_heads and earlier.dataset is registrations.dataset
