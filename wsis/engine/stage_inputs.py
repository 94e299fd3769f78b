"""What a stage finds in the store: its inputs, in a form that another process or machine can open, and its own artefact
if that was made before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from data_contracts.errors import ArtefactMissingError, ConfigError, CorruptArtefactError
from data_contracts.store import Artefact, Store
from wsis.engine.progress import Progress


def nobody_else() -> None:
    """The `StageContext.check_owner` of work that no other machine can take over: does nothing."""


@dataclass(frozen=True)
class Reads:
    """The artefacts that a stage reads, so that a process on another machine can open them too.

    Attributes:
        store: location of the store.
        artefacts: stage, fingerprint and folder of each.
    """

    store: str
    artefacts: tuple[tuple[str, str, Path], ...]

    @classmethod
    def of(cls, store: Store, inputs: Mapping[str, Artefact]) -> Self:
        """Of a stage's inputs."""
        return cls(store.address, tuple((a.manifest.stage, a.fingerprint, a.path) for a in inputs.values()))

    def open_here(self, verify: bool) -> None:
        """Open all in this process, and with a URL store fetch them into this machine's mirror.

        Raises:
            ConfigError: one lies in another folder here.
            StoreError: as `Store.open`.
        """
        store = Store(self.store)
        for stage, identity, path in self.artefacts:
            here = store.open(stage, identity, verify).path
            if here != path:
                raise ConfigError(
                    f"{stage}/{identity}: expected it at {path} as on the machine of rank 0, got {here}; all machines "
                    "need the store, or for a URL store WSIS_CACHE, under one path"
                )


def intact(store: Store, stage: str, identity: str, progress: Progress) -> Artefact | None:
    """The artefact if it is whole; one that is damaged is set aside."""
    try:
        return store.open(stage, identity)
    except ArtefactMissingError:
        return None
    except CorruptArtefactError as error:
        progress.log(f"{error}")
        progress.log(f"{stage}/{identity} is set aside and computed again")
        store.discard(stage, identity)
        return None


def remove_empty(work: Path) -> None:
    """Remove a work folder that holds nothing."""
    if not any(work.iterdir()):
        work.rmdir()
