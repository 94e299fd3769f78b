"""`execute`: reuse what is intact, redo what is damaged, keep what a failed try had done, say what it cost."""

import io
import threading
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from data_contracts.errors import ConfigError, CorruptArtefactError, SchemaError, StoreFullError
from data_contracts.store import Store
from tests.engine.stage_processes import wait_for
from tests.engine.toy_stages import SHARDS, ShardConfig
from wsis.engine.progress import Progress
from wsis.engine.stage import Execution, Stage, StageConfig, execute, execution_only

QUIET = Progress(quiet=True)


class Nested(BaseModel):
    width: int = 3
    threads: int = execution_only(1)


class Config(StageConfig):
    size: int = 3
    rate: float = 0.5
    cache: str = execution_only("/tmp")
    nested: Nested = Nested()
    several: tuple[Nested, ...] = (Nested(),)
    by_name: Mapping[str, Nested] = {"a": Nested()}


class Counting:
    """A stage that counts its runs and fails when told to."""

    def __init__(self):
        self.runs, self.fail, self.counts, self.memory = 0, False, {}, 0

    def __call__(self, inputs, config, context):
        self.runs += 1
        tries = context.workdir / "tries.txt"
        tries.write_text((tries.read_text() if tries.exists() else "") + "x")
        block = np.ones(self.memory, np.uint8)
        if self.fail:
            raise RuntimeError("it broke")
        (context.workdir / "result.txt").write_text(f"{config.size + int(block.sum() > 1e18)}")
        context.counts.update(self.counts)

    def stage(self, **changes):
        values = {
            "name": "count",
            "version": 1,
            "config": Config,
            "run": self,
            "inputs": (),
            "contract": "text",
        }
        return Stage(**{**values, **changes})


@pytest.fixture
def counting():
    return Counting()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def run(stage, store, config=None, inputs=None, **kwargs):
    return execute(stage, config or Config(), inputs or {}, store, progress=QUIET, **kwargs)


# -- identity -------------------------------------------------------------------------------------------------
def test_identity_leaves_out_what_only_decides_how_to_run():
    assert Config().identity() == {
        "size": 3,
        "rate": 0.5,
        "nested": {"width": 3},
        "several": [{"width": 3}],
        "by_name": {"a": {"width": 3}},
    }


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"cache": "/elsewhere"}, True),
        ({"nested": Nested(threads=8)}, True),
        ({"several": (Nested(threads=8),)}, True),
        ({"by_name": {"a": Nested(threads=8)}}, True),
        ({"rate": 1 / 2, "size": 3}, True),
        ({"size": 4}, False),
        ({"nested": Nested(width=4)}, False),
        ({"several": (Nested(), Nested())}, False),
        ({"by_name": {"b": Nested()}}, False),
    ],
)
def test_fingerprint_depends_on_the_right_fields(changes, same, counting, store):
    first = run(counting.stage(), store).artefact.fingerprint
    second = run(counting.stage(), store, Config(**changes))
    assert (second.artefact.fingerprint == first) == same
    assert second.reused == same


def test_fingerprint_does_not_depend_on_the_execution(counting, store):
    first = run(counting.stage(), store)
    second = run(counting.stage(), store, execution=Execution(device="cpu", workers=7, threads=1))
    assert second.reused
    assert second.artefact.fingerprint == first.artefact.fingerprint


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"name": "other"}, {"content_digest": lambda config: "another data set"}]
)
def test_fingerprint_depends_on_the_stage_and_what_it_reads(changes, counting, store):
    first = run(counting.stage(), store)
    second = run(counting.stage(**changes), store)
    assert not second.reused
    assert second.artefact.fingerprint != first.artefact.fingerprint


@pytest.mark.parametrize("kwargs", [{"seed": 1}, {"outer_iteration": 1}])
def test_fingerprint_depends_on_seed_and_iteration(kwargs, counting, store):
    first = run(counting.stage(), store)
    assert run(counting.stage(), store, **kwargs).artefact.fingerprint != first.artefact.fingerprint


def test_runs_of_several_seeds_share_what_draws_nothing_at_random(counting, store):
    first = run(counting.stage(seeded=False), store, seed=3)
    again = run(counting.stage(seeded=False), store, seed=4)
    assert again.reused
    assert again.artefact.fingerprint == first.artefact.fingerprint
    assert first.artefact.manifest.seed == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sise": 3}, "sise\n  Extra inputs are not permitted"),
        ({"rate": float("nan")}, "rate\n  Input should be a finite number"),
        ({"rate": float("inf")}, "rate\n  Input should be a finite number"),
        ({"size": "many"}, "size\n  Input should be a valid integer"),
    ],
)
def test_bad_configuration(values, message):
    with pytest.raises(ValidationError, match=message):
        Config(**values)


def test_configuration_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().size = 4


# -- reuse and repair -----------------------------------------------------------------------------------------
def test_second_time_is_reused(counting, store):
    first, second = run(counting.stage(), store), run(counting.stage(), store)
    assert (first.reused, second.reused, counting.runs) == (False, True, 1)
    assert second.artefact.path == first.artefact.path
    assert second.wall_seconds == 0.0
    assert not (store.root / "count" / ".work" / first.artefact.fingerprint).exists()


def test_force_computes_again(counting, store):
    first = run(counting.stage(), store)
    second = run(counting.stage(), store, force=True)
    assert (second.reused, counting.runs) == (False, 2)
    assert second.artefact.fingerprint == first.artefact.fingerprint
    assert not list((store.root / "count" / ".work").glob("*.discarded-*"))
    assert run(counting.stage(), store).reused


def test_force_that_fails_keeps_the_old_artefact(counting, store):
    first = run(counting.stage(), store)
    counting.fail = True
    with pytest.raises(RuntimeError, match="it broke"):
        run(counting.stage(), store, force=True)
    assert store.open("count", first.artefact.fingerprint).file("result.txt").read_text() == "3"


@pytest.mark.parametrize("damage", ["flip", "missing", "extra", "manifest", "no manifest"])
def test_damage_is_named_and_repaired(damage, counting, store):
    path = run(counting.stage(), store).artefact.path
    if damage == "flip":
        (path / "result.txt").write_text("4")
    elif damage == "missing":
        (path / "result.txt").unlink()
    elif damage == "extra":
        (path / "extra.txt").write_text("x")
    elif damage == "manifest":
        (path / "manifest.json").write_bytes(
            (path / "manifest.json").read_bytes().replace(b"image", b"imagE", 1) + b" "
        )
    else:
        (path / "manifest.json").unlink()
    named = {"flip": "result.txt", "missing": "result.txt", "extra": "extra.txt"}.get(damage, "manifest.json")
    with pytest.raises(CorruptArtefactError, match=named):
        store.open("count", path.name)
    text = io.StringIO()
    with redirect_stderr(text):
        outcome = execute(counting.stage(), Config(), {}, store)
    assert named in text.getvalue()
    assert f"count/{path.name} is set aside and computed again" in text.getvalue()
    assert (outcome.reused, counting.runs) == (False, 2)
    assert store.open("count", path.name).file("result.txt").read_text() == "3"
    assert not list((store.root / "count" / ".work").glob("*.discarded-*"))


def test_failed_try_leaves_its_work_for_the_next(counting, store):
    counting.fail = True
    with pytest.raises(RuntimeError, match="it broke"):
        run(counting.stage(), store)
    counting.fail = False
    outcome = run(counting.stage(), store)
    assert outcome.artefact.file("tries.txt").read_text() == "xx"
    assert sorted(outcome.artefact.manifest.files) == ["result.txt", "tries.txt"]  # no bookkeeping of ours


def test_two_threads_one_result(counting, store):
    """The second waits and reuses (between processes: see the test below)."""
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(run(counting.stage(), store))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counting.runs == 1
    assert sorted(o.reused for o in outcomes) == [False, True, True]


def test_second_process_waits_and_reuses(toy, tmp_path):
    process = toy(tmp_path, "shards", delay=0.06, execution={"workers": 1})
    wait_for(lambda: list(tmp_path.glob("toy_shards/.work/*/shard-*")), process)
    text = io.StringIO()
    with redirect_stderr(text):
        outcome = execute(SHARDS, ShardConfig(), {}, Store(tmp_path), execution=Execution(workers=1))
    assert f"is being written by pid {process.pid} on " in text.getvalue()
    assert outcome.reused and outcome.waited_seconds > 0.1
    assert process.wait(20) == 0
    assert execute(SHARDS, ShardConfig(), {}, Store(tmp_path)).waited_seconds < 0.1


# -- inputs, checks, lineage ----------------------------------------------------------------------------------
def test_inputs_are_checked(counting, store):
    a = run(counting.stage(), store).artefact
    reader = counting.stage(name="reader", inputs=("a", "b"), optional=("c",))
    with pytest.raises(ValueError, match=r"stage reader: unknown inputs \[\], missing \['b'\]"):
        run(reader, store, inputs={"a": a})
    with pytest.raises(ValueError, match=r"stage reader: unknown inputs \['d'\], missing \[\]"):
        run(reader, store, inputs={"a": a, "b": a, "d": a})
    with pytest.raises(ValueError, match=r"stage reader: unknown inputs \['d'\], missing \['a', 'b'\]"):
        run(reader, store, inputs={"d": a})
    without = run(reader, store, inputs={"a": a, "b": a}).artefact
    assert run(reader, store, inputs={"a": a, "b": a, "c": a}).artefact.fingerprint != without.fingerprint
    assert without.manifest.parents["a"].model_dump() == {"stage": "count", "fingerprint": a.fingerprint}


def test_supervision_is_the_union_over_all_ancestors(counting, store):
    def stage(name, sources, inputs=()):
        return counting.stage(name=name, supervision=lambda config: sources, inputs=inputs)

    labels = run(stage("labels", ("image labels of VOC",)), store).artefact
    edges = run(stage("edges", ("BSDS boundaries", "image labels of VOC")), store).artefact
    nothing = run(stage("nothing", ()), store).artefact
    middle = run(
        stage("middle", ("ImageNet labels",), ("x", "y")), store, inputs={"x": labels, "y": nothing}
    ).artefact
    last = run(stage("last", (), ("m", "e")), store, inputs={"m": middle, "e": edges}).artefact
    assert nothing.manifest.supervision == []
    assert middle.manifest.supervision == ["ImageNet labels", "image labels of VOC"]
    assert last.manifest.supervision == ["BSDS boundaries", "ImageNet labels", "image labels of VOC"]


def test_check_fails_before_anything_is_run(counting, store):
    def check(config, execution):
        raise ConfigError("no weights here")

    with pytest.raises(ConfigError, match="no weights here"):
        run(counting.stage(check=check), store)
    assert counting.runs == 0


def test_full_disk_in_a_stage(counting, store):
    def full(inputs, config, context):
        (context.workdir / "kept.txt").write_text("kept")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreFullError, match="no space left while writing"):
        run(counting.stage(run=full), store)
    assert run(counting.stage(), store).artefact.file("kept.txt").read_text() == "kept"


# -- the manifest ---------------------------------------------------------------------------------------------
def test_counts_of_any_number_type_are_stored_as_json(counting, store):
    counting.counts = {
        "images": np.int64(3),
        "share": np.float32(0.5),
        "flag": np.bool_(True),
        "names": ("a", "b"),
        "skipped": {"b", "a"},
        "sizes": np.arange(3),
        "scales": [1, 0.5],
        "none": [],
        "per_class": {"cat": np.float64(0.25), "dog": 1},
        "tally": {"cat": np.int32(2)},
    }
    manifest = run(counting.stage(), store).artefact.manifest
    expected = {
        "images": 3,
        "share": 0.5,
        "flag": 1,
        "names": ["a", "b"],
        "skipped": ["a", "b"],
        "sizes": [0, 1, 2],
        "scales": [1.0, 0.5],
        "none": [],
        "per_class": {"cat": 0.25, "dog": 1.0},
        "tally": {"cat": 2},
    }
    assert manifest.counts == expected
    assert store.open("count", manifest.fingerprint).manifest.counts == expected


@pytest.mark.parametrize("value", [np.float32("nan"), float("inf"), [1.0, float("nan")], {"a": float("nan")}])
def test_counts_that_are_not_finite(value, counting, store):
    counting.counts = {"bad": value}
    with pytest.raises(SchemaError, match=r"count 'bad.*': expected a finite number, got (nan|inf)"):
        run(counting.stage(), store)


def test_cost_is_measured(counting, store):
    base = run(counting.stage(), store).artefact.manifest
    counting.memory = 300_000_000
    big = run(counting.stage(), store, Config(size=4)).artefact.manifest
    counting.memory = 0
    after = run(counting.stage(), store, Config(size=5)).artefact.manifest
    assert 50e6 < base.peak_memory_bytes < 8e9
    assert big.peak_memory_bytes > base.peak_memory_bytes + 250e6
    if after.peak_memory_bytes > big.peak_memory_bytes - 200e6:
        pytest.skip("this system does not let a process reset its peak memory")
    assert 0 < big.wall_seconds < 60
    assert 0 < big.cpu_seconds < 60


def test_manifest_says_what_made_it(counting, store):
    manifest = run(counting.stage(), store, outer_iteration=2, seed=7).artefact.manifest
    assert (manifest.stage, manifest.algorithm_version, manifest.contract) == ("count", 1, "text")
    assert (manifest.seed, manifest.outer_iteration) == (7, 2)
    assert manifest.config == Config().identity()
    assert (
        manifest.environment["torch"] == torch.__version__.split("+")[0]
        or "+" in manifest.environment["torch"]
    )


def test_absent_package_is_recorded_as_absent(monkeypatch):
    from importlib import metadata

    from wsis.engine.machine import environment

    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert environment()["higra"] == "absent"


# -- execution ------------------------------------------------------------------------------------------------
def test_a_device_that_is_not_there_is_refused_before_any_work(counting, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"execution.device: expected a CUDA device"):
        execute(counting.stage(), Config(), {}, Store(tmp_path), execution=Execution(device="cuda"))
    assert counting.runs == 0


def test_stage_is_a_value(counting):
    stage = counting.stage()
    assert replace(stage, version=2).version == 2
    with pytest.raises(AttributeError):
        stage.version = 3
