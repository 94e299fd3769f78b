"""Run records: which artefact each stage and outer iteration of a named run used."""

import re
import time
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import ArtefactMissingError, ConfigError, CorruptArtefactError, did_you_mean
from data_contracts.fingerprint import seal, unseal
from data_contracts.printable import one_line
from data_contracts.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


# "interrupted": by Ctrl-C or a signal; "cancelled": through the orchestrator, on purpose
Status = Literal["running", "failed", "interrupted", "cancelled", "completed"]


class RunEntry(BaseModel):
    """One stage of a run."""

    model_config = ConfigDict(extra="forbid")
    stage: str
    outer_iteration: int | None
    fingerprint: str
    reused: bool
    finished: str
    wall_seconds: float


class DataFacts(BaseModel):
    """What a run's data was when its plan was made; a run can then go on where the data is not at hand.

    Attributes:
        root: folder of the data as it was given, None for generated data.
        content: digest of images and weak labels.
        truth: digest of the masks, None where there are none or the run does not evaluate.
        images, masks: number of images, and of images with masks, of each part (train, val).
        format: that of the data, found where the settings say `auto`.
        given: digest of the files of `data.masks`, None where none are given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    root: str | None
    content: str
    truth: str | None
    images: dict[str, int]
    masks: dict[str, int]
    format: str | None = None
    given: str | None = None

    @property
    def digests(self) -> dict[str, str | None]:
        """Stage that reads the user's files -> digest of what it reads."""
        return {"dataset": self.content, "ground_truth": self.truth, "corrections": self.given}


class Measured(BaseModel):
    """One scoring of the run's prediction network on other data (`wsis evaluate`).

    Attributes:
        data: the folder as it was named; `digest` says which content it had: of its pixel labels.
        artefacts: stage -> fingerprint of the images, truth, detections and the evaluation, which holds the numbers.
    """

    model_config = ConfigDict(extra="forbid")
    data: str
    format: str
    split: str
    digest: str
    outer_iteration: int | None
    finished: str
    artefacts: dict[str, str]


class RunRecord(BaseModel):
    """A named run: its configuration and, by `stage` or `stage@iteration`, the artefacts it used."""

    model_config = ConfigDict(extra="forbid")
    name: str
    config_name: str
    config: dict[str, Any]
    created: str
    status: Status = "running"
    error: str | None = None
    overhead_seconds: float = Field(
        default=0.0, description="orchestration, locking and hashing, all attempts"
    )
    waited_seconds: float = Field(
        default=0.0, description="while other processes made artefacts that this run needed too"
    )
    data: DataFacts | None = Field(default=None, description="None: not known yet, or of an older version")
    entries: dict[str, RunEntry] = Field(default_factory=dict)
    measured: list[Measured] = Field(default_factory=list, description="on other data, in order of time")

    def artefacts(self) -> list[tuple[str, str]]:
        """Stage and fingerprint of every artefact that the run uses or measured with, each once."""
        own = [(entry.stage, entry.fingerprint) for entry in self.entries.values()]
        others = [pair for one in self.measured for pair in one.artefacts.items()]
        return list(dict.fromkeys([*own, *others]))


def check_run_name(name: str) -> str:
    """`name` if it can be a file name.

    Raises:
        ConfigError: empty, too long, or with other characters than letters, digits, dot, dash, underscore.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"run name: expected letters, digits, '.', '-', '_' (at most 100), got {name!r}")
    return name


def load_run(store: Store, name: str) -> RunRecord:
    """The record of a run.

    Raises:
        ArtefactMissingError: no such run; names those that exist.
        CorruptArtefactError: the record cannot be read.
    """
    text = store.read_text(_file(name))
    if text is None:
        there = list_runs(store)
        raise ArtefactMissingError(
            f"no run {name!r} in {store.address}{did_you_mean(name, there)}; runs there: {', '.join(there) or 'none'}; "
            "another store: --store FOLDER, or the variable WSIS_STORE"
        )
    return _parsed(name, text.encode())


def _parsed(name: str, data: bytes) -> RunRecord:
    try:
        record = RunRecord.model_validate(unseal(data, f"runs/{name}.json"))
    except ValidationError as error:
        raise CorruptArtefactError(
            f"run record runs/{name}.json is damaged: {one_line(error)}", (name,)
        ) from error
    if record.name != name:
        raise CorruptArtefactError(
            f"runs/{name}.json is damaged: it is the record of run {record.name!r}", (name,)
        )
    return record


def save_run(
    store: Store, record: RunRecord, agree: Callable[[RunRecord], None] = lambda there: None
) -> None:
    """Write a run's record atomically.

    Args:
        agree: is given the record that lies there, and raises where it must stay; of two processes that write at once,
            the later one is given the earlier one's. One that is damaged is written anew.
    """

    def change(there: bytes | None) -> bytes:
        if there is not None:
            try:
                before = _parsed(record.name, there)
            except CorruptArtefactError:
                before = None  # an index: what it named is found again
            if before is not None:
                agree(before)
        return seal(record.model_dump(mode="json"))

    store.change_text(_file(record.name), change)


def _file(name: str) -> str:
    return f"runs/{check_run_name(name)}.json"


def list_runs(store: Store) -> list[str]:
    """Names of the runs in a store."""
    return store.names("runs", ".json")


def now() -> str:
    """Local time, ISO 8601 with offset."""
    return time.strftime("%FT%T%z")
