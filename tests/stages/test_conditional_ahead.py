"""Problems of the next steps of `conditional`, made ahead by worker processes: nothing but time depends on them."""

import multiprocessing
import os
import signal
import time
from functools import partial

import pytest
import torch

from data_contracts.store import Store
from stages.conditional import conditional
from stages.conditional.batches import MakeProblems, Order
from stages.conditional.examples import Examples
from stages.conditional.training import Trainer
from tests.stages.conditional_scenes import CONFIG, make_inputs
from wsis.engine import batches
from wsis.engine.batches import Batches, processes_ahead
from wsis.engine.stage import Execution, execute
from wsis.engine.training import CURVE_NAME, WEIGHTS_NAME
from wsis.engine.worker_processes import Patience
from wsis.errors import WorkerDiedError

SHORT = CONFIG.model_copy(update={"pretrain_epochs": 8.0})
OUTPUTS = (CURVE_NAME, WEIGHTS_NAME)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("store"), images=range(16))[1]


@pytest.fixture(autouse=True)
def worth_it(monkeypatch):
    monkeypatch.setattr(batches, "_FEW_IMAGES", 1)


def train(data, store, workers, iteration=1, **more):
    inputs = {name: data[name] for name in ("dataset", "proposals", "prm_seeds")} | more
    where = Execution(device="cpu", workers=workers, checkpoint_seconds=0.001)
    return execute(
        conditional.STAGE, SHORT, inputs, Store(store), outer_iteration=iteration, execution=where
    ).artefact


def bytes_of(artefact):
    return [artefact.file(name).read_bytes() for name in OUTPUTS]


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    return bytes_of(train(data, tmp_path_factory.mktemp("alone"), 1))


@pytest.mark.parametrize("workers", [2, 3])
def test_results_are_equal_to_the_byte(data, alone, tmp_path, workers):
    made = train(data, tmp_path, workers)
    assert bytes_of(made) == alone
    assert 0 <= made.manifest.counts["data_wait_share"] <= 1


def test_so_they_are_with_detections_as_targets(data, tmp_path):
    first, second = (
        train(data, tmp_path / str(n), n, iteration=2, train_predictions=data["train_predictions"])
        for n in (1, 2)
    )
    assert bytes_of(first) == bytes_of(second)


def end_at(monkeypatch, step, act):
    """`act` before a step, once."""
    plain, left = Trainer.step, [step]

    def stepped(self, index):
        if left == [index]:
            left.clear()
            act()
        return plain(self, index)

    monkeypatch.setattr(Trainer, "step", stepped)


def kill_workers():
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)


def stop():
    raise KeyboardInterrupt


@pytest.mark.parametrize("act, error", [(kill_workers, WorkerDiedError), (stop, KeyboardInterrupt)])
def test_killed_or_stopped_it_goes_on_to_the_same_bytes(data, alone, tmp_path, monkeypatch, act, error):
    end_at(monkeypatch, 5, act)
    with pytest.raises(error) as raised:
        train(data, tmp_path, 2)
    if error is WorkerDiedError:
        text = str(raised.value)
        assert "conditional" in text and "was killed" in text and "execution.workers=1" in text
    assert not multiprocessing.active_children()
    assert bytes_of(train(data, tmp_path, 2)) == alone


def test_a_damaged_image_is_named_as_without_workers(data, tmp_path, monkeypatch):
    examples = Examples({n: data[n] for n in ("dataset", "proposals", "prm_seeds")}, SHORT, 1)
    order = Order(("im0", "nowhere"), 2, (0, 1))
    make = MakeProblems(examples, order, range(2))
    said = []
    for workers in (0, 1):
        with (
            pytest.raises(Exception, match="nowhere") as raised,
            Batches(make, 4, workers, Patience("t", 60.0, "")) as found,
        ):
            found.at(0)
        said.append((raised.type, str(raised.value)))
    assert said[0] == said[1]


def test_a_problem_comes_through_a_pipe_as_it_was(data):
    examples = Examples({n: data[n] for n in ("dataset", "proposals", "prm_seeds")}, SHORT, 1)
    make = MakeProblems(examples, Order(("im0", "im1"), 2, (0, 1)), range(2))
    with Batches(make, 2, 1, Patience("t", 60.0, "")) as found:
        sent = found.at(0)
    for (image, problem), (own_image, own) in zip(sent, make(0), strict=True):
        assert torch.equal(image, own_image) and problem.image_id == own.image_id
        assert problem.matrix.is_coalesced() and torch.equal(problem.matrix.to_dense(), own.matrix.to_dense())
        assert torch.equal(problem.target_table, own.target_table) and problem.miss == own.miss
        assert torch.equal(problem.slots.suppress, own.slots.suppress)


def test_how_many_processes_make_problems():
    ahead = partial(processes_ahead, images=1000, on_cpu=True, group=1)
    assert [ahead(Execution(workers=n)) for n in (1, 2, 5)] == [0, 1, 4]
    assert ahead(Execution(workers=2, threads=2)) == 0
    assert ahead(Execution(workers=2, threads=2), on_cpu=False) == 1
    assert [ahead(Execution(workers=9), group=n) for n in (2, 4, 16)] == [4, 2, 1]
    assert ahead(Execution(workers=2), images=0) == 0
