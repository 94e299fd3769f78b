"""What people write about a run. Beside its record, which a run that is under way writes again and again."""

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.errors import ConfigError, CorruptArtefactError
from data_contracts.fingerprint import seal, unseal
from data_contracts.printable import one_line
from data_contracts.runs import check_run_name, load_run, now
from data_contracts.store import Store


class Note(BaseModel):
    """One line, and when it was written (local time, ISO 8601)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    written: str
    text: str


class _Notes(BaseModel):
    model_config = ConfigDict(extra="forbid")
    notes: list[Note]


def add_note(store: Store, run_name: str, text: str) -> Note:
    """Append a note to a run.

    Raises:
        ArtefactMissingError: no such run.
        ConfigError: the text is empty or holds what cannot be printed.
        CorruptArtefactError: the run's record or notes are damaged.
    """
    load_run(store, run_name)
    line = one_line(text)
    if not line or not line.isprintable():
        raise ConfigError(f"note: expected a line of printable text, got {text!r:.200}")
    note = Note(written=now(), text=line)
    notes = _Notes(notes=[*notes_of(store, run_name), note])
    store.write_text(_file(run_name), seal(notes.model_dump(mode="json")).decode())
    return note


def notes_of(store: Store, run_name: str) -> list[Note]:
    """The notes of a run, oldest first; none where there are none.

    Raises:
        CorruptArtefactError: they are damaged.
    """
    name = _file(run_name)
    text = store.read_text(name)
    if text is None:
        return []
    try:
        return _Notes.model_validate(unseal(text.encode(), name)).notes
    except ValidationError as error:
        raise CorruptArtefactError(f"{name} is damaged: it holds no notes", (name,)) from error


def remove_run(store: Store, run_name: str) -> None:
    """Remove a run's record and notes, damaged or not; artefacts stay."""
    store.remove_text(f"runs/{check_run_name(run_name)}.json")
    store.remove_text(_file(run_name))


def _file(run_name: str) -> str:
    return f"runs/{check_run_name(run_name)}.notes"
