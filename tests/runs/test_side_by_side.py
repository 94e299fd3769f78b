"""Places: what runs beside what. Threads and no stages, so that orders can be told exactly."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from wsis.engine.settings import Execution
from wsis.engine.stage_process import StageProcesses
from wsis.runs.config import load_config
from wsis.runs.plan import plan
from wsis.runs.side_by_side import Demand, Places, all_at_once, demand, walk_of
from wsis.runs.turns import Turns
from wsis.runs.whereabouts import Whereabouts


def node(key: str, *inputs: str) -> Any:
    return SimpleNamespace(key=key, inputs={name: name for name in inputs})


# dataset -> (classifier -> seeds, proposals) -> network -> (scores, next); alone depends on the data only
PLAN = [
    node("dataset"),
    node("classifier", "dataset"),
    node("proposals", "dataset"),
    node("seeds", "classifier"),
    node("network", "seeds", "proposals"),
    node("scores", "network"),
    node("next", "network"),
    node("after", "next"),
    node("alone", "dataset"),
]


class Log:
    """What was at work beside what, and with how many cores."""

    def __init__(self) -> None:
        self.lock, self.at_work, self.begun = threading.Lock(), set[str](), list[str]()
        self.beside: set[frozenset[str]] = set()
        self.cores: dict[str, int] = {}
        self.most = 0

    def run(self, places: Places, work: Callable[[str], None] = lambda key: time.sleep(0.02)) -> Callable:
        def execute(one: Any) -> Any:
            try:
                with places.taken(one.key) as cores:
                    with self.lock:
                        self.begun.append(one.key)
                        self.cores[one.key] = cores
                        self.beside |= {frozenset((one.key, other)) for other in self.at_work}
                        self.at_work.add(one.key)
                        self.most = max(self.most, sum(self.cores[key] for key in self.at_work))
                    work(one.key)
                    with self.lock:
                        self.at_work.discard(one.key)
            except BaseException as error:
                places.close(error)
                raise
            return one.key

        return execute


def places(cores: int, gpus: int = 0, **demands: Demand) -> Places:
    return Places(PLAN, {one.key: demands.get(one.key, Demand(1, 1)) for one in PLAN}, cores, gpus)


def never(error: BaseException) -> None:
    raise RuntimeError("nobody interrupted") from error


@pytest.mark.parametrize("_", range(10))
def test_every_node_comes_after_its_inputs_and_none_is_lost(_: int) -> None:
    log = Log()
    all_at_once(PLAN, log.run(places(2)), never)
    assert sorted(log.begun) == sorted(one.key for one in PLAN)
    for one in PLAN:
        assert all(log.begun.index(name) < log.begun.index(one.key) for name in one.inputs)
    assert log.most == 2


def test_what_does_not_need_the_other_runs_beside_it() -> None:
    log = Log()
    all_at_once(PLAN, log.run(places(2), lambda key: time.sleep(0.3)), never)
    assert frozenset(("classifier", "proposals")) in log.beside
    assert log.begun[0] == "dataset" and {*log.begun[1:3]} == {
        "classifier",
        "proposals",
    }  # for `alone` nobody waits


def test_one_core_is_one_after_the_other() -> None:
    log = Log()
    all_at_once(PLAN, log.run(places(1)), never)
    assert not log.beside and log.most == 1


def test_one_by_one_no_node_waits_for_one_that_comes_later() -> None:
    """`ground_truth` comes early in the plan and few wait for it: no place is kept for what more wait for."""
    nodes, warned, walked = plan(load_config("demo")), [], []
    began = time.monotonic()
    execution = Execution(device="cpu")
    with StageProcesses() as processes:
        turns = Turns(nodes, execution, cast(Whereabouts, None), walk_of(execution), processes, warned.append)

        def execute(one: Any) -> Any:
            with turns.of(one) as turn:
                walked.append((one.key, turn.cores, turn.do))

        turns.walk(nodes, execute, turns.stop)
    assert walked == [(one.key, None, None) for one in nodes] and not warned
    assert time.monotonic() - began < 2


def test_work_on_images_takes_the_cores_that_nobody_else_can_use() -> None:
    log = Log()
    many = Demand(1, 4, on_images=True)
    all_at_once(PLAN, log.run(places(4, proposals=many, dataset=many, after=many)), never)
    assert log.cores["dataset"] == 4  # nothing else is ready
    assert log.cores["proposals"] == 2  # classifier and alone want one each
    assert log.most <= 4


def test_no_core_is_kept_for_what_cannot_use_it_beside() -> None:
    """Two that scale take turns with all the cores; a training that needs both of two waits for both."""
    log, many = Log(), Demand(1, 4, on_images=True)
    all_at_once(PLAN, log.run(places(4, proposals=many, classifier=many, seeds=many, alone=many)), never)
    assert log.cores["proposals"] == log.cores["classifier"] == log.cores["seeds"] == 4
    log = Log()
    training = places(2, proposals=many, classifier=Demand(2, 2), seeds=many, alone=many)
    all_at_once(PLAN, log.run(training), never)
    assert log.cores["proposals"] == log.cores["classifier"] == log.cores["seeds"] == 2


def test_work_on_images_does_not_begin_with_what_a_training_before_it_leaves() -> None:
    """It would keep to its one core for the whole of its time, when the other is free again in a moment."""
    nodes = [node("truth"), node("dataset"), node("classifier", "dataset"), node("proposals", "dataset")]
    nodes += [node("seeds", "classifier"), node("network", "seeds", "proposals")]
    demands = {one.key: Demand(1, 1) for one in nodes}
    demands |= {"classifier": Demand(2, 2), "proposals": Demand(1, 2, on_images=True)}
    log = Log()
    work = {"truth": 0.3, "dataset": 0.02}
    ran = log.run(Places(nodes, demands, 2, 0), lambda key: time.sleep(work.get(key, 0.02)))
    all_at_once(nodes, ran, never)
    assert log.begun.index("classifier") < log.begun.index("proposals")
    assert log.cores["classifier"] == 2


def test_one_gpu_is_one_training_at_a_time() -> None:
    log = Log()
    gpu = Demand(1, 1, 1)
    all_at_once(PLAN, log.run(places(8, 1, classifier=gpu, network=gpu, next=gpu, alone=gpu)), never)
    trained = {"classifier", "network", "next", "alone"}
    assert not any(pair <= trained for pair in log.beside)


def test_more_than_there_is_gets_all_there_is() -> None:
    log = Log()
    all_at_once(PLAN, log.run(places(2, 1, network=Demand(16, 16, 8))), never)
    assert log.cores["network"] == 2


def test_after_a_failure_none_begins_and_those_at_work_end() -> None:
    log, ended = Log(), []

    def work(key: str) -> None:
        if key == "classifier":
            time.sleep(0.05)
            raise ValueError("a bad label")
        time.sleep(0.2)
        ended.append(key)

    with pytest.raises(ValueError, match="a bad label"):
        all_at_once(PLAN, log.run(places(2), work), never)
    assert set(log.begun) == {"dataset", "classifier", "proposals"}
    assert ended == ["dataset", "proposals"]


def test_ctrl_c_ends_what_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    log, free, given = Log(), threading.Event(), places(2)

    def stop(error: BaseException) -> None:
        given.close(error)
        free.set()

    def interrupted(*_: Any, **__: Any) -> None:
        while "classifier" not in log.begun:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("wsis.runs.side_by_side.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        all_at_once(PLAN, log.run(given, lambda key: key == "dataset" or free.wait(20) or None), stop)
    assert set(log.begun) <= {"dataset", "classifier", "proposals"}


def test_the_second_ctrl_c_ends_what_the_first_one_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    log, free, given, stops = Log(), threading.Event(), places(2), list[BaseException]()
    shutdown = ThreadPoolExecutor.shutdown

    def stop(error: BaseException) -> None:
        given.close(error)
        stops.append(error)
        if len(stops) == 2:
            free.set()

    def interrupted(*_: Any, **__: Any) -> None:
        while "classifier" not in log.begun:
            time.sleep(0.01)
        raise KeyboardInterrupt("first")

    def interrupted_again(pool: ThreadPoolExecutor, *args: Any, **kwargs: Any) -> None:
        if len(stops) == 1:
            raise KeyboardInterrupt("second")
        shutdown(pool, *args, **kwargs)

    monkeypatch.setattr("wsis.runs.side_by_side.wait", interrupted)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted_again)
    with pytest.raises(KeyboardInterrupt, match="second"):
        all_at_once(PLAN, log.run(given, lambda key: key == "dataset" or free.wait(20) or None), stop)
    assert [str(error) for error in stops] == ["first", "second"]


def test_a_training_whose_steps_are_prepared_ahead_takes_a_second_core_that_is_free() -> None:
    nodes = {node.key: node for node in plan(load_config("demo"))}

    def most(key: str, **where: int) -> tuple[int, int]:
        wanted = demand(nodes[key], Execution(device="cpu", cores=4, **where))
        return wanted.cores, wanted.most_cores

    assert most("conditional@1", workers=4) == (1, 2) and most("prediction@1", workers=4) == (1, 1)
    assert most("conditional@1", workers=1) == (1, 1)
    assert most("conditional@1", workers=4, threads=3) == (3, 3)
    assert most("pseudo_labels@1", workers=4) == (1, 4)


def test_a_gpu_is_fed_by_several_cores_and_images_are_spread_over_all_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = {node.key: node for node in plan(load_config("demo"))}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    def of(key: str, workers: int, device: str = "cuda") -> Demand:
        return demand(nodes[key], Execution(device=device, cores=32, workers=workers))

    for key in ("prm_classifier", "conditional@1", "prediction@1"):
        assert of(key, 16) == Demand(1, 8, 1) and of(key, 4) == Demand(1, 4, 1)
    for key in ("prm_seeds", "pseudo_labels@1", "predictions.train@1"):
        assert of(key, 16) == Demand(1, 16, 3, on_images=True)
        assert of(key, 2) == Demand(1, 2, 2, on_images=True)
        assert of(key, 16, "cuda:1") == Demand(1, 16, 1, on_images=True)
    assert of("proposals", 16) == Demand(1, 16, on_images=True)
