"""The training loop: killed and resumed is equal, bit by bit, to never killed."""

import hashlib
import io
import json
from contextlib import redirect_stderr

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_contracts.errors import CorruptArtefactError
from data_contracts.store import Store
from tests.engine.stage_processes import kill, wait_for
from tests.engine.toy_stages import TRAINING, TrainingConfig
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, StageContext, execute
from wsis.engine.training import (
    CHECKPOINT_NAME,
    CURVE_NAME,
    WEIGHTS_NAME,
    finish,
    load_weights,
    run_steps,
    save_weights,
    seed_everything,
)
from wsis.engine.weight_selection import BestWeights
from wsis.errors import NonFiniteError

QUIET = Progress(quiet=True)
OFTEN = Execution(threads=1, checkpoint_seconds=1e-6)
VALIDATED = {"patience": 2, "rate": 0.05}  # best at step 21, patience at its end at step 35 of 60


def train(store, execution=OFTEN, seed=0, **config):
    return execute(
        TRAINING, TrainingConfig(**config), {}, Store(store), seed, execution=execution, progress=QUIET
    )


def assert_same_result(got, expected):
    first, second = (load_weights(o.artefact.file(WEIGHTS_NAME)) for o in (got, expected))
    assert list(first) == list(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert got.artefact.file(CURVE_NAME).read_bytes() == expected.artefact.file(CURVE_NAME).read_bytes()
    assert got.artefact.manifest.files == expected.artefact.manifest.files
    assert got.artefact.manifest.counts == expected.artefact.manifest.counts
    assert got.artefact.fingerprint == expected.artefact.fingerprint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"), Execution(threads=1))


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    return train(tmp_path_factory.mktemp("validated"), Execution(threads=1), **VALIDATED)


def test_it_learns_and_writes_what_it_should(uninterrupted):
    curve = json.loads(uninterrupted.artefact.file(CURVE_NAME).read_text())
    assert [point["step"] for point in curve] == list(range(3, 61, 3))
    assert np.mean([p["loss"] for p in curve[-5:]]) < np.mean([p["loss"] for p in curve[:5]])
    assert sorted(uninterrupted.artefact.manifest.files) == [CURVE_NAME, WEIGHTS_NAME]
    assert uninterrupted.artefact.manifest.counts == {"steps": 60}


def test_another_seed_gives_other_weights(uninterrupted, tmp_path):
    other = train(tmp_path, seed=1)
    assert other.artefact.fingerprint != uninterrupted.artefact.fingerprint
    first, second = (load_weights(o.artefact.file(WEIGHTS_NAME)) for o in (other, uninterrupted))
    assert not torch.equal(first["0.weight"], second["0.weight"])


def checkpoint_of(store, uninterrupted):
    return store / "toy_training" / ".work" / uninterrupted.artefact.fingerprint / CHECKPOINT_NAME


@pytest.mark.parametrize(("which", "config"), [("uninterrupted", {}), ("validated", VALIDATED)])
def test_killed_training_goes_on_bit_by_bit(which, config, toy, request, tmp_path):
    """A real process, SIGKILL, twice; Adam's moments, batch statistics, schedule, dropout and the best weights,
    their value and the patience left come back."""
    expected = request.getfixturevalue(which)
    path = checkpoint_of(tmp_path, expected)
    often = {"delay": 0.03, "execution": {"checkpoint_seconds": 1e-6}, **config}
    process = toy(tmp_path, "training", **often)
    wait_for(path.exists, process)
    first = path.read_bytes()
    kill(process)
    process = toy(tmp_path, "training", **often)
    wait_for(lambda: path.read_bytes() != first, process)
    kill(process)
    text = io.StringIO()
    with redirect_stderr(text):
        resumed = execute(
            TRAINING, TrainingConfig(**config), {}, Store(tmp_path), execution=OFTEN, progress=Progress()
        )
    assert "toy_training: resumes at step" in text.getvalue()
    assert_same_result(resumed, expected)


class Stop(Exception):
    pass


def stop_at(store, monkeypatch, step, **config):
    """Train until `step` steps are done, then fail, as a killed process would leave the work folder."""
    original = seed_everything

    def seed(*key):
        if key[2] == step:
            raise Stop
        original(*key)

    with monkeypatch.context() as patch:
        patch.setattr("wsis.engine.training.seed_everything", seed)
        with pytest.raises(Stop):
            train(store, **config)


@pytest.mark.parametrize("step", [0, 1, 3, 4, 31, 59])
def test_stopped_at_any_step(step, uninterrupted, tmp_path, monkeypatch):
    stop_at(tmp_path, monkeypatch, step)
    assert checkpoint_of(tmp_path, uninterrupted).exists() == (step >= 1)
    assert_same_result(train(tmp_path), uninterrupted)


@pytest.mark.parametrize("step", [3, 8, 21, 22, 28, 29, 34])
def test_stopped_around_validations(step, validated, tmp_path, monkeypatch):
    """Before, at and after the best one, and while the patience runs out."""
    stop_at(tmp_path, monkeypatch, step, **VALIDATED)
    assert_same_result(train(tmp_path, **VALIDATED), validated)


def test_the_best_weights_are_kept_and_patience_ends_training(validated, tmp_path):
    counts = validated.artefact.manifest.counts
    curve = json.loads(validated.artefact.file(CURVE_NAME).read_text())
    values = {point["step"]: point["held_back"] for point in curve if "held_back" in point}
    assert list(values) == [7, 14, 21, 28, 35]
    assert curve[-1]["step"] == 35  # log_every is 3: a validation closes the window that it falls into
    assert [p["step"] for p in curve[:4]] == [3, 6, 7, 9]
    assert min(values, key=values.get) == counts["best_step"] == 21
    assert counts["best_held_back"] == values[21]
    assert (counts["steps"], counts["stopped_early"]) == (35, True)
    # The kept weights are those of step 21: training that ends there by its patience or its length has the same.
    shorter = train(tmp_path, steps=21, **VALIDATED)
    assert (shorter.artefact.manifest.counts["best_step"], shorter.artefact.manifest.counts["steps"]) == (
        21,
        21,
    )
    first, second = (load_weights(o.artefact.file(WEIGHTS_NAME)) for o in (shorter, validated))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_value_that_is_not_finite_is_no_best(tmp_path):
    model = torch.nn.Linear(1, 1)
    best = BestWeights(model, lambda: [float("nan")], every=2, patience=3)
    with pytest.raises(NonFiniteError, match=r"held-back images became nan after step 2"):
        run_steps(context_of(tmp_path), {"model": model}, 4, lambda i: {"loss": 0.0}, best=best)


def test_a_resumed_run_does_not_repeat_steps(uninterrupted, tmp_path, monkeypatch):
    stop_at(tmp_path, monkeypatch, 31)
    seeded = []
    original = seed_everything
    monkeypatch.setattr(
        "wsis.engine.training.seed_everything", lambda *key: (seeded.append(key), original(*key))
    )
    train(tmp_path)
    assert seeded == [(0, 0, i) for i in range(31, 60)]


@pytest.mark.parametrize("damage", ["flip a weight", "cut", "empty"])
def test_damaged_checkpoint_starts_afresh(damage, uninterrupted, tmp_path, monkeypatch):
    """torch.load does not notice a flipped bit in a weight; a resumed run would end elsewhere, silently."""
    stop_at(tmp_path, monkeypatch, 31)
    path = checkpoint_of(tmp_path, uninterrupted)
    data = bytearray(path.read_bytes())
    if damage == "flip a weight":
        state = torch.load(io.BytesIO(bytes(data[32:])), weights_only=True)["state"]["model"]
        position = data.find(state["0.weight"].numpy().tobytes())
        assert position > 0
        data[position + 2] ^= 0x10
    path.write_bytes({"cut": bytes(data[: len(data) // 2]), "empty": b""}.get(damage, bytes(data)))
    text = io.StringIO()
    with redirect_stderr(text):
        resumed = execute(TRAINING, TrainingConfig(), {}, Store(tmp_path), execution=OFTEN)
    assert "is damaged (its sha256 is another); this stage starts afresh" in text.getvalue()
    assert "resumes at step" not in text.getvalue()
    assert_same_result(resumed, uninterrupted)


# -- the loop itself ------------------------------------------------------------------------------------------
def context_of(workdir, outer_iteration=None):
    return StageContext(workdir, 5, outer_iteration, OFTEN, QUIET, "toy")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_value_that_is_not_finite_stops_and_keeps_the_checkpoint(value, tmp_path):
    model = torch.nn.Linear(1, 1)
    bad = {"at": 4}

    def step(i):
        return {"loss": 1.0, "energy": value if i == bad["at"] else 0.5}

    with pytest.raises(NonFiniteError, match=rf"toy@2: 'energy' became {value} at step 4"):
        run_steps(context_of(tmp_path, 2), {"model": model}, 6, step, log_every=2)
    bad["at"] = -1
    seen = []
    run_steps(
        context_of(tmp_path, 2), {"model": model}, 6, lambda i: (seen.append(i), step(i))[1], log_every=2
    )
    assert seen == [4, 5]


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tmp_path):
    """They were written at points of the curve alone, and held no values after it."""
    buffer = io.BytesIO()
    torch.save({"step": 2, "curve": [{"step": 2, "loss": 0.5}], "state": {}}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).digest()
    (tmp_path / CHECKPOINT_NAME).write_bytes(digest + buffer.getvalue())
    curve = run_steps(context_of(tmp_path), {}, 4, lambda i: {"loss": float(i)}, 2)
    assert curve == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 2.5}]


def test_an_error_inside_a_step_names_its_images(tmp_path):
    def step(i):
        raise NonFiniteError("score is nan")

    with pytest.raises(NonFiniteError, match=r"^toy: score is nan, at step 0, images a, b0$"):
        run_steps(context_of(tmp_path), {}, 4, step, images=lambda i: ["a", f"b{i}"])


def test_curve_is_the_mean_over_the_window(tmp_path):
    context = context_of(tmp_path)
    curve = run_steps(context, {}, 5, lambda i: {"loss": float(i), **({"rare": 8.0} if i == 1 else {})}, 2)
    # rare is not in the last step of its window twice; only names of the window's last step are averaged
    assert curve == [
        {"step": 2, "loss": 0.5, "rare": 8.0},
        {"step": 4, "loss": 2.5},
        {"step": 5, "loss": 4.0},
    ]
    assert json.loads((tmp_path / CURVE_NAME).read_text()) == curve
    assert context.counts == {"steps": 5}


def test_every_step_has_random_numbers_of_its_own(tmp_path):
    def draws(seed, iteration, first=0):
        drawn = []
        context = StageContext(tmp_path, seed, iteration, Execution(), QUIET, "toy")

        def step(i):
            drawn.append((float(torch.rand(())), float(np.random.rand())))
            return {"loss": 0.0}

        run_steps(context, {}, 4, step)
        return drawn

    a = draws(0, 1)
    assert draws(0, 1) == a
    everything = a + draws(1, 1) + draws(0, 2)
    assert len({t for t, _ in everything}) == len({n for _, n in everything}) == 12


# -- weights --------------------------------------------------------------------------------------------------
def test_weights_round_trip(tmp_path):
    weights = {"a": torch.randn(3, requires_grad=True), "b": torch.tensor(2, dtype=torch.int64)}
    context = context_of(tmp_path)
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"x")
    finish(context, weights)
    assert not (tmp_path / CHECKPOINT_NAME).exists()
    back = load_weights(tmp_path / WEIGHTS_NAME)
    assert torch.equal(back["a"], weights["a"].detach())
    assert back["b"].item() == 2


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code from a file of weights ran",))


@pytest.mark.parametrize("content", [{"w": Evil()}, Evil()])
def test_weights_run_no_code(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CorruptArtefactError, match=r"w.pt is no file of tensors"):
        load_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[1, 2], {"w": 1.0}, {1: torch.zeros(1)}, torch.zeros(1)])
def test_weights_that_are_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CorruptArtefactError, match=r"w.pt: expected a state dict of tensors, got"):
        load_weights(tmp_path / "w.pt")


def test_cut_weights(tmp_path):
    save_weights(tmp_path / "w.pt", {"w": torch.zeros(100)})
    data = (tmp_path / "w.pt").read_bytes()
    for length in [0, 1, 10, *range(50, len(data) - 1, 97)]:
        (tmp_path / "w.pt").write_bytes(data[:length])
        with pytest.raises(CorruptArtefactError, match=r"w.pt is no file of tensors, or damaged"):
            load_weights(tmp_path / "w.pt")


def test_tensorboard_gets_every_step_and_changes_nothing(tmp_path, uninterrupted):
    got = train(tmp_path / "store", Execution(threads=1, tensorboard=tmp_path / "events"))
    assert_same_result(got, uninterrupted)
    (folder,) = (tmp_path / "events").glob("*/*")
    assert folder.parent.name == got.artefact.fingerprint and folder.name == TRAINING.name
    events = EventAccumulator(str(folder))
    events.Reload()
    steps = got.artefact.manifest.counts["steps"]
    assert [e.step for e in events.Scalars("loss")] == list(range(1, steps + 1))
