"""Ctrl-C during a training: it waits for the step and a checkpoint, so that no step is done twice."""

import io
import re
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest

from data_contracts.store import Store
from tests.engine.stage_processes import told
from tests.engine.test_training_loop import (
    OFTEN,
    VALIDATED,
    assert_same_result,
    checkpoint_of,
    train,
    uninterrupted,
    validated,
)
from tests.engine.toy_stages import TRAINING, TrainingConfig
from wsis.engine.held_interrupts import HeldInterrupts
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, execute
from wsis.engine.training import seed_everything

__all__ = ["uninterrupted", "validated"]  # fixtures
SELDOM = {"checkpoint_seconds": 1e6}
INTERRUPTED = "interrupted after step "


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A job in the background of a script ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("which", ["uninterrupted", "validated"])
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_waits_for_the_step_and_a_checkpoint(which, ends, toy, request, tmp_path):
    """A real process, whose next checkpoint would be in days."""
    expected, config = request.getfixturevalue(which), VALIDATED if which == "validated" else {}
    process = toy(tmp_path, "training", delay=0.05, execution=SELDOM, say=True, **config)
    said = told(process, "step 8")
    process.send_signal(ends)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 130
    steps = len(re.findall(r"^step \d+$", said, re.MULTILINE))
    assert 9 <= steps < 35 and f"{INTERRUPTED}{steps}, which it goes on from" in said
    with redirect_stderr(io.StringIO()) as text:
        resumed = execute(
            TRAINING, TrainingConfig(**config), {}, Store(tmp_path), execution=OFTEN, progress=Progress()
        )
    assert f"toy_training: resumes at step {steps}\n" in text.getvalue()
    assert_same_result(resumed, expected)


def test_the_second_ctrl_c_leaves_at_once(toy, tmp_path, uninterrupted):
    process = toy(tmp_path, "training", delay=60, execution=SELDOM, say=True)
    told(process, "step 0")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # within a second: a scheduler's, of one and the same end
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert INTERRUPTED not in process.communicate(timeout=20)[1] and process.returncode == 130
    assert not checkpoint_of(tmp_path, uninterrupted).exists()


def interrupt_at(store, monkeypatch, step, **config):
    """Ctrl-C while `step` is being done."""
    original = seed_everything

    def seed(*key):
        if key[2] == step - 1:
            signal.raise_signal(signal.SIGINT)
        original(*key)

    with monkeypatch.context() as patch:
        patch.setattr("wsis.engine.training.seed_everything", seed)
        with pytest.raises(KeyboardInterrupt):
            train(store, Execution(threads=1, **SELDOM), **config)


@pytest.mark.parametrize("step", [1, 3, 31, 60])
def test_interrupted_at_any_step(step, uninterrupted, tmp_path, monkeypatch):
    interrupt_at(tmp_path, monkeypatch, step)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with redirect_stderr(io.StringIO()) as text:
        resumed = execute(
            TRAINING, TrainingConfig(), {}, Store(tmp_path), execution=OFTEN, progress=Progress()
        )
    assert f"resumes at step {step}\n" in text.getvalue()
    assert_same_result(resumed, uninterrupted)


@pytest.mark.parametrize("step", [28, 35])
def test_interrupted_while_the_patience_ends(step, validated, tmp_path, monkeypatch):
    interrupt_at(tmp_path, monkeypatch, step, **VALIDATED)
    assert_same_result(train(tmp_path, **VALIDATED), validated)


def test_what_fails_after_ctrl_c_is_the_interruption():
    """A signal to all processes of a run ends the workers that a step asks."""
    with pytest.raises(KeyboardInterrupt) as raised, HeldInterrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.came
        raise OSError
    assert isinstance(raised.value.__cause__, OSError)
    with pytest.raises(KeyboardInterrupt), HeldInterrupts():
        signal.raise_signal(signal.SIGINT)
