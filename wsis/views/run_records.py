"""The records of a run and its ground truth, for views that compare them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data_contracts.errors import ArtefactMissingError, ConfigError, DataError
from data_contracts.records import RecordReader
from data_contracts.runs import RunRecord
from data_contracts.schemas import SCHEMAS, array_to_text
from data_contracts.store import Artefact, Store


@dataclass
class Readers:
    """The records of a run, every artefact hashed when it is opened.

    Attributes:
        absent: keys of what a finished run of this configuration has and this one has not.
    """

    store: Store
    record: RunRecord
    absent: list[str] = field(default_factory=list)

    def artefact(self, key: str) -> Artefact | None:
        """An artefact, or None where the run has not computed it.

        Raises:
            CorruptArtefactError, ArtefactMissingError: it is damaged or gone.
        """
        entry = self.record.entries.get(key)
        if entry is None:
            self.absent.append(key)
            return None
        return self.store.open(entry.stage, entry.fingerprint)

    def __call__(self, key: str) -> RecordReader | None:
        """Its records."""
        found = self.artefact(key)
        return None if found is None else found.records(SCHEMAS[found.manifest.contract])

    def iterations(self) -> list[int]:
        """Outer iterations of the configuration, or those that the run has of more."""
        made = [e.outer_iteration or 0 for e in self.record.entries.values()]
        return list(range(1, max([int(self.record.config.get("outer_iterations", 0)), *made]) + 1))


def truth_of_run(readers: Readers) -> tuple[Artefact, tuple[str, ...]]:
    """The ground truth of a run, and its class names.

    Raises:
        ConfigError: the run does not evaluate. ArtefactMissingError: it has not come that far.
        DataError: no class names.
    """
    record = readers.record
    artefact = readers.artefact("ground_truth")
    if artefact is None:
        again = f"wsis stage ground_truth --run {record.name}"
        if not record.config.get("evaluate", True):
            raise ConfigError(
                f"run {record.name} was run with evaluate=false and has no ground truth to compare with. "
                f"If its data has masks: {again} --set evaluate=true"
            )
        raise ArtefactMissingError(f"run {record.name} has computed no ground truth yet: {again}")
    names = artefact.manifest.counts.get("classes")
    if not isinstance(names, list) or not names:
        raise DataError(f"{artefact.path}: expected class names in the manifest's counts, got {names!r}")
    return artefact, tuple(str(name) for name in names)


def split_ids(truths: RecordReader, split: str) -> list[str]:
    """Images of a split that have ground truth."""
    return [i for i in truths.ids if array_to_text(truths.read(i, ("split",))["split"]) == split]


def spread(ids: Sequence[str], images: int | None) -> list[str]:
    """At most `images` of the ids (None: all), evenly spread, the same ones every time."""
    if images is None or images >= len(ids):
        return list(ids)
    return [ids[i] for i in np.linspace(0, len(ids) - 1, images).round().astype(int).tolist()]
