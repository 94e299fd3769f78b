"""How long each node of a plan will take here: as long as earlier nodes of the same stage and settings took on this
machine, else as `wsis.runs.costs` estimates; both times what the nodes of this run took beside what was expected of
them."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import ContractError
from data_contracts.fingerprint import canonical_json
from data_contracts.manifest import Manifest
from data_contracts.runs import DataFacts
from data_contracts.store import Store
from wsis.engine.machine import environment
from wsis.readers.config import open_source
from wsis.readers.files.images import decode_image
from wsis.readers.shared.records import ROLES
from wsis.runs.config import RunConfig
from wsis.runs.costs import NodeCost, RunCost, run_cost, unmeasured
from wsis.runs.data_size import DataSize, SizedImage, sized
from wsis.runs.plan import Node

_NEWEST = 20  # artefacts of a stage that are looked at
_PRIOR_SECONDS = 60.0  # weight of the estimate against measured times: a stage of one second says little
_AS_EXPECTED = 20.0  # seconds that count as gone as expected, before a run has a pace of its own
_ALIKE = 0.25  # earlier times count if the number of images differs by at most this share


def data_size(config: RunConfig, data: DataFacts) -> DataSize:
    """How much data a run has, from its annotations and some images spread over it.

    Raises:
        ConfigError, DataError: it cannot be read.
    """
    source = open_source(config.data)

    def read(image_id: str) -> SizedImage:
        one = source.image(image_id)
        return SizedImage((one.height, one.width), len(one.encoded), one.boxes)

    def decode(image_id: str) -> NDArray[np.uint8]:
        one = source.image(image_id)
        return decode_image(one.encoded, one.file_name)

    ids = {role: source.image_ids(role) for role in ROLES}
    labels = [source.labels_of(image_id) for image_id in ids["train"]]
    with_masks = sum(data.masks.values())
    reckoned = unmeasured(config) is None
    return sized(ids, labels, with_masks, read, decode if reckoned else None, config.proposals)


@dataclass
class Durations:
    """Expected wall seconds and bytes of nodes.

    Args:
        images: of the data, train and val.
        reckon: gives the cost of the whole plan, None where nothing like it was measured; asked when it is needed.
        unknown: why it gives none.
    """

    store: Store
    images: int
    reckon: Callable[[], RunCost | None]
    unknown: str = "nothing like it was run here or measured before"
    _earlier: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    _here: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)  # in this run
    _read: set[str] = field(default_factory=set)
    _measured: float = 0.0  # seconds of earlier runs, where `_reckoned` says what the estimate of them is
    _reckoned: float = 0.0
    _spent: float = 0.0  # seconds of this run, where `_expected` says what was expected of them
    _expected: float = 0.0

    @classmethod
    def of_run(cls, store: Store, config: RunConfig, data: DataFacts, nodes: Sequence[Node]) -> "Durations":
        """For the nodes of a run. Reckoning takes half a second; data that is not at hand has no reckoned cost."""

        def reckon() -> RunCost | None:
            try:
                return run_cost(config, data_size(config, data), nodes=nodes)
            except ContractError as error:  # an image cannot be read: its stage will name it
                made.unknown = (
                    f"the run would stop at what cannot be read, and `wsis check` names all of it: {error}"
                )
                return None

        made = cls(store, sum(data.images.values()), reckon)
        return made

    @cached_property
    def _costs(self) -> dict[str, NodeCost]:
        cost = self.reckon()
        return {one.key: one for one in cost.nodes} if cost else {}

    def seconds(self, node: Node) -> float | None:
        """Expected seconds of a node at the pace of this run; None if neither earlier times nor an estimate are known.
        What such nodes took in this run comes first: that had its pace already."""
        here = self._here.get(_key_of(node))
        if here:
            return statistics.median(here)
        usual = self._usual(node)
        return None if usual is None else self.pace() * usual

    def pace(self) -> float:
        """What the nodes of this run took, in units of what was expected of them: above 1 on a busy machine."""
        return (self._spent + _AS_EXPECTED) / (self._expected + _AS_EXPECTED)

    def known(self, node: Node) -> float | None:
        """Median seconds of nodes of the same stage and settings in earlier runs; None if there are none."""
        self._look(node.stage.name)
        before = self._earlier.get(_key_of(node))
        return statistics.median(before) if before else None

    def learn(self, node: Node, seconds: float) -> None:
        """Note what a node of this run took, for later nodes of its stage and for the pace of all others."""
        known, usual = self.known(node), self._usual(node)
        if known is not None:
            self._compare(node, known)
        if usual is not None:
            self._spent, self._expected = self._spent + seconds, self._expected + usual
        self._here.setdefault(_key_of(node), []).append(seconds)

    def recall(self, node: Node, made: Manifest) -> None:
        """Note what a reused artefact took, for how far estimates are off, if it was made on such a machine."""
        if self._is_alike(made):
            self._compare(node, made.wall_seconds)

    def _usual(self, node: Node) -> float | None:
        """Expected seconds before this run has a pace."""
        known, reckoned = self.known(node), self._reckoned_seconds(node)
        if known is not None or reckoned is None:
            return known
        off = (self._measured + _PRIOR_SECONDS) / (self._reckoned + _PRIOR_SECONDS)
        return min(5.0, max(0.2, off)) * reckoned

    def _compare(self, node: Node, seconds: float) -> None:
        """Note what a node took in an earlier run beside the estimate of it."""
        reckoned = self._reckoned_seconds(node)
        if reckoned:
            self._measured, self._reckoned = self._measured + seconds, self._reckoned + reckoned

    def bytes(self, node: Node) -> float | None:
        """Reckoned bytes in the store."""
        cost = self._costs.get(node.key)
        return None if cost is None else cost.disk_bytes

    def _reckoned_seconds(self, node: Node) -> float | None:
        cost = self._costs.get(node.key)
        return None if cost is None else cost.seconds

    def _look(self, stage: str) -> None:
        """Read the newest manifests of a stage of a local store, once."""
        if stage in self._read or self.store.remote is not None:
            return
        self._read.add(stage)
        folders = [p for p in (self.store.root / stage).glob("*") if not p.name.startswith(".")]
        for folder in sorted(folders, key=lambda p: p.stat().st_mtime)[-_NEWEST:]:
            try:
                manifest = self.store.open(stage, folder.name, verify=False).manifest
            except ContractError:
                continue  # a damaged artefact tells no time; what needs it will name it
            if self._is_alike(manifest):
                key = _key(stage, manifest.config, manifest.parents, manifest.outer_iteration)
                self._earlier.setdefault(key, []).append(manifest.wall_seconds)

    def _is_alike(self, manifest: Manifest) -> bool:
        """Whether it was made on such a machine from as many images."""
        if manifest.environment.get("machine") != environment()["machine"]:
            return False
        parent = manifest.parents.get("dataset")
        try:
            data = (
                self.store.open("dataset", parent.fingerprint, verify=False).manifest if parent else manifest
            )
        except ContractError:
            return False
        images = data.counts.get("images", self.images)
        return isinstance(images, int) and abs(images - self.images) <= _ALIKE * self.images


def _key_of(node: Node) -> tuple[Any, ...]:
    return _key(node.stage.name, node.config.identity(), node.inputs, node.outer_iteration)


def _key(
    stage: str, config: dict[str, Any], inputs: Iterable[str], outer_iteration: int | None
) -> tuple[Any, ...]:
    """What nodes of equal duration have in common. Later outer iterations are alike; the first one is different."""
    return stage, canonical_json(config), frozenset(inputs), (outer_iteration or 1) > 1
