"""How far a run has come: which artefacts the store has already, and how long the rest will take."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_contracts.errors import ContractError
from data_contracts.store import Artefact, Store
from wsis.engine.settings import Execution, reach
from wsis.reporting.tables.expected_time import roughly
from wsis.runs.durations import Durations
from wsis.runs.node_work import OpenArtefact
from wsis.runs.plan import Node
from wsis.runs.side_by_side import side_by_side


@dataclass(frozen=True)
class Whereabouts:
    """How far the nodes that are to be executed have come.

    Attributes:
        fingerprints: key of a node -> fingerprint of its artefact.
        begun: key of a node -> when it was begun, on the monotonic clock, in seconds.
    """

    store: Store
    nodes: Sequence[Node]
    fingerprints: Mapping[str, str]
    durations: Durations
    execution: Execution
    begun: dict[str, float] = field(default_factory=dict)

    def is_there(self, node: Node) -> bool:
        """Whether its artefact is committed (its bytes are not checked)."""
        return self.store.has(node.stage.name, self.fingerprints[node.key])

    def reach_cluster(self) -> None:
        """Check that the cluster answers, if one is configured and has work to do.

        Raises:
            ClusterError: no scheduler is there.
        """
        address = self.execution.cluster
        if address and any(node.stage.per_image and not self.is_there(node) for node in self.nodes):
            reach(address)

    def intact(self, node: Node, open_artefact: OpenArtefact) -> Artefact | None:
        """The node's artefact; None if it is missing or damaged (executing the node then reports and repairs it)."""
        try:
            return (
                open_artefact(node.stage.name, self.fingerprints[node.key]) if self.is_there(node) else None
            )
        except ContractError:
            return None

    def expect(self) -> None:
        """Compute the expected times now, so that no node has to wait for them later."""
        for node in self.nodes:
            if not self.is_there(node):
                self.durations.seconds(node)

    def said(self, node: Node) -> str:
        """` (stage 11 of 34, about 1 h left)` of a node that begins now, without the time where that is not known;
        nothing for what is there."""
        if self.is_there(node):
            return ""
        self.begun.setdefault(node.key, time.monotonic())
        left = {one.key: self._left(one) for one in self.nodes if not self.is_there(one)}
        known = {key: seconds for key, seconds in left.items() if seconds is not None}
        rest = f", {roughly(self._together(known))} left" if len(known) == len(left) else ""
        return f" (stage {self.nodes.index(node) + 1} of {len(self.nodes)}{rest})"

    def _left(self, node: Node) -> float | None:
        """Seconds that a node, waiting or at work beside others, still takes; None if that is not known."""
        now = time.monotonic()
        expected = self.durations.seconds(node)
        return None if expected is None else max(0.0, expected - (now - self.begun.get(node.key, now)))

    def share_done(self) -> float:
        """Share of the expected time that is done, in [0, 1]; share of the nodes if some time is not known."""
        seconds = {node.key: self.durations.seconds(node) for node in self.nodes}
        weights = {key: one if None not in seconds.values() else 1.0 for key, one in seconds.items()}
        behind = sum(weights[node.key] or 0.0 for node in self.nodes if self.is_there(node))
        return behind / max(1e-9, sum(one or 0.0 for one in weights.values()))

    def _together(self, seconds: Mapping[str, float]) -> float:
        """Expected seconds of several nodes together. Side by side that is the longest chain of nodes that wait for one
        another, or the sum divided by the cores, whichever is more."""
        total = sum(seconds.values())
        if not side_by_side(self.execution):
            return total
        until: dict[str, float] = {}
        for node in self.nodes:
            before = max((until.get(key, 0.0) for key in node.inputs.values()), default=0.0)
            until[node.key] = before + seconds.get(node.key, 0.0)
        return max(max(until.values()), total / self.execution.cores)
