"""A stored run as one object: its record and, by key, its artefacts, with its classes, images and splits."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from data_contracts.errors import ArtefactMissingError, ConfigError, ContractError, did_you_mean
from data_contracts.manifest import Manifest
from data_contracts.records import RecordReader
from data_contracts.runs import RunRecord, load_run
from data_contracts.schemas import SCHEMAS
from data_contracts.staleness import stale_keys, stale_line
from data_contracts.store import Artefact, Store
from wsis.views.dataset import class_names
from wsis.views.image_names import ImageNames

TRIAL, TRIAL_STEPS = "quick", 100
"""The shipped configuration that only tries whether all works, and its steps of the prediction network."""


class Run:
    """A run of a store, finished or not; nothing here writes.

    An artefact is hashed when it is first opened: it is read-only afterwards, and every chunk carries a crc32c.

    Attributes:
        store, record: where it lies, and which artefact each stage and outer iteration used.
        absent: keys that were asked for and that the run has not computed, in the order they were asked for.
    """

    def __init__(self, store: Store, record: RunRecord) -> None:
        self.store, self.record = store, record
        self.absent: list[str] = []
        self._opened: dict[tuple[str, str], Artefact] = {}

    @classmethod
    def load(cls, store: Store, name: str) -> "Run":
        """The run of that name.

        Raises:
            ArtefactMissingError: no such run; names those that exist. CorruptArtefactError: its record is damaged.
        """
        return Run(store, load_run(store, name))

    def reloaded(self) -> "Run":
        """The run as its record is now; artefacts that were opened are not hashed again.

        Raises:
            ArtefactMissingError, CorruptArtefactError: the record is gone or damaged.
        """
        fresh = Run.load(self.store, self.name)
        fresh._opened = self._opened
        return fresh

    @property
    def name(self) -> str:
        return self.record.name

    def artefact(self, key: str, verify: bool = True) -> Artefact:
        """The artefact that this run used under a key, `pseudo_labels@1`.

        Raises:
            ConfigError: the run has no such key; names those it has.
            CorruptArtefactError, ArtefactMissingError: it is damaged or gone.
        """
        entry = self.record.entries.get(key)
        if entry is None:
            held = ", ".join(self.record.entries) or "nothing yet"
            near = did_you_mean(key, self.record.entries)
            raise ConfigError(f"run {self.name} holds no {key!r}; it holds {held}{near}")
        place = entry.stage, entry.fingerprint
        if not verify and place not in self._opened:
            return self.store.open(*place, verify=False)
        return self.opened(*place)

    def opened(self, stage: str, fingerprint: str) -> Artefact:
        """An artefact of the store, hashed once.

        Raises:
            CorruptArtefactError, ArtefactMissingError: it is damaged or gone.
        """
        place = stage, fingerprint
        if place not in self._opened:
            self._opened[place] = self.store.open(*place)
        return self._opened[place]

    def latest(self, stage: str, iteration: int | None = None) -> Artefact:
        """The artefact of a stage of the outer loop: of one outer iteration, or of the last that has it.

        Raises:
            ConfigError: the run has none yet, or none of that iteration; names what it has.
            CorruptArtefactError, ArtefactMissingError: it is damaged or gone.
        """
        made = [e.outer_iteration or 0 for e in self.record.entries.values() if e.stage == stage]
        if not made:
            raise ConfigError(
                f"run {self.name} holds no {stage} yet; it holds "
                f"{', '.join(self.record.entries) or 'nothing'}: wsis run --name {self.name}"
            )
        return self.artefact(f"{stage}@{max(made) if iteration is None else iteration}")

    def choice(self, artefact: Artefact, iteration: int | None) -> str:
        """In words, which outer iteration an artefact of :meth:`latest` is of, and why that one."""
        t = artefact.manifest.outer_iteration
        if iteration is not None:
            return f"outer iteration {t}, as asked for"
        planned = int(self.record.config.get("outer_iterations", 0))
        left = max(0, planned - (t or 0))
        missing = f" that is there ({left} of {planned} are missing)" if left else ""
        return f"outer iteration {t}, the last{missing}; --iteration takes another"

    def find(self, key: str) -> Artefact | None:
        """As :meth:`artefact`; None, and a note in `absent`, where the run has not computed it."""
        if key in self.record.entries:
            return self.artefact(key)
        self.absent.append(key)
        return None

    def records(self, key: str) -> RecordReader | None:
        """The records of :meth:`find`."""
        found = self.find(key)
        return None if found is None else found.records(SCHEMAS[found.manifest.contract])

    @property
    def proposals_key(self) -> str:
        """Key of the proposals that pseudo labels name: with the masks that a person has given, if the run has some;
        their rows before mean the same in both."""
        return "corrected_proposals" if "corrected_proposals" in self.record.entries else "proposals"

    def manifests(self) -> Mapping[str, Manifest | None]:
        """Key -> manifest, in the record's order; None where the artefact is damaged or gone."""
        return {key: self._manifest(key) for key in self.record.entries}

    def warnings(self) -> list[str]:
        """What its stages warned of, `STAGE: LINE`, each line once, at the last stage that said it."""
        last: dict[str, str] = {}
        for key, manifest in self.manifests().items():
            said = [] if manifest is None else manifest.counts.get("warnings", [])
            last |= dict.fromkeys(map(str, said) if isinstance(said, list) else (), key)
        return [f"{key}: {line}" for line, key in last.items()]

    def trial_line(self) -> str | None:
        """A warning that masks of the trial configuration `TRIAL` say little; None for any other configuration, or a
        longer training."""
        steps = self.record.config.get("prediction", {}).get("steps", 0)
        if self.record.config_name != TRIAL or steps > TRIAL_STEPS:
            return None
        return f"{TRIAL} only shows that everything works: masks of so short a training say little"

    def _manifest(self, key: str) -> Manifest | None:
        try:
            return self.artefact(key, verify=False).manifest
        except ContractError:
            return None

    def iterations(self) -> list[int]:
        """Outer iterations of the configuration, or those that the run has of more."""
        made = [e.outer_iteration or 0 for e in self.record.entries.values()]
        return list(range(1, max([int(self.record.config.get("outer_iterations", 0)), *made]) + 1))

    def finished_iterations(self) -> int:
        """How many outer iterations have their prediction network."""
        done = (e.outer_iteration or 0 for e in self.record.entries.values() if e.stage == "prediction")
        return max(done, default=0)

    def by_iteration(self, name: str) -> dict[int, RecordReader]:
        """Outer iteration -> records of `name@iteration`, of those that are there, in ascending order."""
        opened = {t: self.records(f"{name}@{t}") for t in self.iterations()}
        return {t: records for t, records in opened.items() if records is not None}

    @property
    def dataset(self) -> Artefact:
        """The images and weak labels.

        Raises:
            ConfigError: there are none yet. CorruptArtefactError, ArtefactMissingError: they are damaged or gone.
        """
        if "dataset" not in self.record.entries:
            raise ConfigError(f"run {self.name} holds no data set yet: wsis run --name {self.name}")
        return self.artefact("dataset")

    @property
    def images(self) -> RecordReader:
        """The records of :attr:`dataset`."""
        return self.dataset.records(SCHEMAS["dataset"])

    @cached_property
    def names(self) -> ImageNames:
        """What its images are called."""
        return ImageNames.of(self.images)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes 1..C."""
        return class_names(self.dataset)

    def truth(self) -> Artefact:
        """The true instances of its images, for measuring alone.

        Raises:
            ConfigError: its data has no masks, or the run does not evaluate. ArtefactMissingError: it has not come
                that far.
        """
        found = self.find("ground_truth")
        if found is None:
            again = f"wsis stage ground_truth --run {self.name}"
            if not self.record.config.get("evaluate", True):
                raise ConfigError(
                    f"run {self.name} was run with evaluate=false and has no ground truth to compare with. "
                    f"If its data has masks: {again} --set evaluate=true"
                )
            if self.record.data is not None and not any(self.record.data.masks.values()):
                raise ConfigError(
                    f"run {self.name}: the data has no true masks, and diagnosing means comparing with them; "
                    f"`wsis view {self.name}` and `wsis report {self.name}` show what the run has made"
                )
            raise ArtefactMissingError(f"run {self.name} has computed no ground truth yet: {again}")
        return found

    def stale(self) -> list[str]:
        """Keys of what was made from artefacts that the run has replaced since, see `data_contracts.staleness`."""
        return stale_keys(self.store, self.record)

    def stale_line(self) -> str | None:
        """That in words; None where nothing is stale."""
        return stale_line(self.record, self.stale())


def class_name(classes: Sequence[str], label: int) -> str:
    """Name of class `label`, 1..C; `class N` for a number beyond."""
    return classes[label - 1] if 0 < label <= len(classes) else f"class {label}"


def spread(ids: Sequence[str], images: int | None) -> list[str]:
    """At most `images` of the ids (None: all), evenly spread, the same ones every time."""
    if images is None or images >= len(ids):
        return list(ids)
    return [ids[i] for i in np.linspace(0, len(ids) - 1, images).round().astype(int).tolist()]
