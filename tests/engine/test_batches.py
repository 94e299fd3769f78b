"""Batches of a training: the same whoever makes them, and what waiting for them cost."""

import time

import pytest

from tests.engine.worker_functions import square
from wsis.engine.batches import DATA_WAIT, Batches
from wsis.engine.worker_processes import Patience

PATIENCE = Patience("training data", 60.0, "workers=0")


@pytest.mark.parametrize("workers", [0, 2])
def test_they_begin_anywhere_and_do_not_depend_on_workers(workers: int) -> None:
    with Batches(square, 8, workers, PATIENCE) as batches:
        assert [batches.at(step)[0] for step in range(3, 8)] == [3, 4, 5, 6, 7]


def test_what_waiting_cost_leaves_the_first_step_out() -> None:
    def make(step: int) -> int:
        time.sleep(0.5 if step == 0 else 0.05)
        return step

    with Batches(make, 9, 0, PATIENCE) as batches:
        batches.at(0)
        assert batches.wait_share is None
        for step in range(1, 4):
            batches.at(step)
            time.sleep(0.15)
        assert batches.wait_share == pytest.approx(0.25, abs=0.1)


def test_the_wait_is_counted_where_workers_prepare() -> None:
    for workers in (0, 2):
        with Batches(square, 8, workers, PATIENCE) as batches:
            batches.at(0)
            assert batches.wait_counts() == {}
            batches.at(1)
            counted = batches.wait_counts()
        assert counted.keys() == ({DATA_WAIT} if workers else set())
        assert all(0 <= one <= 1 for one in counted.values())
