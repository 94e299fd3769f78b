"""How long the rest of a run is said to take follows what its nodes took so far."""

from pathlib import Path

import pytest

from data_contracts.store import Store
from tests.runs.tiny_run import TINY
from wsis.runs import whereabouts
from wsis.runs.config import RunConfig, load_config
from wsis.runs.costs import NodeCost, RunCost
from wsis.runs.durations import Durations
from wsis.runs.plan import Node, plan
from wsis.runs.whereabouts import Whereabouts

EXPECTED = 30.0  # seconds of each node


class Clock:
    """A monotonic clock that is set by hand."""

    now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(whereabouts, "time", made)
    return made


def beginning(store: Store, config: RunConfig, nodes: list[Node], cores: int) -> Whereabouts:
    """Of a run that has done nothing, in an empty store, with `EXPECTED` seconds of each node."""
    cost = RunCost(tuple(NodeCost(node.key, EXPECTED, EXPECTED, 1e6) for node in nodes), 1e9)
    durations = Durations(store, 20, lambda: cost)
    execution = config.execution.model_copy(update={"cores": cores})
    return Whereabouts(store, nodes, {node.key: "0" * 12 for node in nodes}, durations, execution)


def test_the_time_left_follows_the_pace_of_the_run(tmp_path: Path, clock: Clock) -> None:
    config = load_config(str(TINY))
    nodes = plan(config)[:8]
    where = beginning(Store(tmp_path), config, nodes, cores=1)
    assert where.said(nodes[0]) == " (stage 1 of 8, about 4 min left)"  # 8 x 30 s
    where.durations.learn(nodes[0], 5 * EXPECTED)  # a busy machine
    left = where.nodes[1:]
    assert sum(where.durations.seconds(node) or 0.0 for node in left) == 7 * 30 * (150 + 20) / (30 + 20)
    where.durations.learn(nodes[1], 5 * EXPECTED)
    assert where.durations.pace() == (300 + 20) / (60 + 20)
    for node in nodes[2:7]:
        where.durations.learn(node, 5 * EXPECTED)
    assert where.durations.seconds(nodes[7]) == pytest.approx(30 * 5, rel=0.1)


def test_times_of_this_run_are_not_scaled_twice(tmp_path: Path) -> None:
    config = load_config(str(TINY), ("outer_iterations=3",))
    nodes = {node.key: node for node in plan(config)}
    durations = beginning(Store(tmp_path), config, list(nodes.values()), cores=1).durations
    durations.learn(nodes["conditional@2"], 90.0)
    assert durations.seconds(nodes["conditional@3"]) == 90  # not 90 times the pace
    assert durations.seconds(nodes["prediction@3"]) == 30 * (90 + 20) / (30 + 20)


def test_what_is_at_work_beside_others_has_less_left(tmp_path: Path, clock: Clock) -> None:
    config = load_config(str(TINY))
    nodes = [node for node in plan(config) if node.key in ("prm_classifier", "proposals")]
    where = beginning(Store(tmp_path), config, nodes, cores=1)
    assert where.said(nodes[0]) == " (stage 1 of 2, about 1 min left)"
    clock.now = 25.0
    assert where.said(nodes[1]) == " (stage 2 of 2, about 1 min left)"  # 5 s and 30 s
    clock.now = 45.0
    assert where._left(nodes[0]) == 0 and where._left(nodes[1]) == 10
