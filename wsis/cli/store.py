"""Commands of `wsis` on a store: what is damaged in it, notes on runs, and what may go."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.errors import ConfigError
from data_contracts.printable import counted
from wsis.cli.completion import complete_run
from wsis.cli.options import RunArgument, StoreOption

if TYPE_CHECKING:  # imports zarr
    from data_contracts.garbage import Piece
    from data_contracts.store import Store


def _there(location: str | None) -> "Store":
    """A store that is only looked at: a mistyped one is not sound because it is empty."""
    from data_contracts.errors import ArtefactMissingError
    from data_contracts.store import Store

    opened = Store(location)
    if opened.remote is None and not opened.root.is_dir():
        raise ArtefactMissingError(f"store: expected a folder that is there, got {opened.location}")
    return opened


def verify(
    run_name: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="(default: every artefact)", autocompletion=complete_run),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Hash every file again, name each damaged one and the command that repairs it; exit 1 if there is any.

    Example: wsis verify demo
    """
    from data_contracts.store import Store
    from wsis.reporting.tables.store_text import stale_lines, verify_store

    opened = _there(store) if run_name is None else Store(store)  # a run that is not there is named
    found = verify_store(opened, run_name)
    for line in [*found.problems, *found.remedies]:
        print(line)
    print(f"{counted(found.checked, 'artefact')} checked, {counted(len(found.problems), 'problem')}")
    for line in stale_lines(opened, run_name):
        print(line)
    if found.problems:
        raise typer.Exit(1)


def note(
    run_name: RunArgument,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="the note (default: show those there are)")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write a line about a run; show, runs and report repeat it.

    Example: wsis note demo "boxes from the second annotator"
    """
    from data_contracts.notes import add_note, notes_of
    from data_contracts.runs import load_run
    from data_contracts.store import Store

    opened = Store(store)
    if text is not None:
        add_note(opened, run_name, text)
    load_run(opened, run_name)
    for one in notes_of(opened, run_name):
        print(f"{one.written}  {one.text}")


def rm(run_name: RunArgument, store: StoreOption = None) -> None:
    """Remove a run's record and notes; its artefacts stay until `wsis gc`.

    The same `wsis run` finds the artefacts again, as long as they are there.

    Example: wsis rm quick
    """
    from data_contracts.errors import CorruptArtefactError
    from data_contracts.garbage import used_by
    from data_contracts.notes import remove_run
    from data_contracts.runs import list_runs
    from data_contracts.store import Store

    opened = Store(store)
    others = used_by(opened, [name for name in list_runs(opened) if name != run_name])
    try:
        used = used_by(opened, [run_name])
    except CorruptArtefactError as error:  # what is damaged may go; what it used is not known
        used = set()
        print(error, file=sys.stderr)
    remove_run(opened, run_name)
    others = used_by(opened, list_runs(opened))
    print(
        f"run {run_name} is removed; {len(used - others)} of its artefacts are used by no other run: wsis gc"
    )


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    store: StoreOption = None,
) -> None:
    """Remove artefacts that no run uses, and work folders that killed processes left.

    Says how much first, and asks. Artefacts of `wsis predict` and `wsis proposals` belong to no run: they go, and the
    same command makes them again. Models of train-contours stay. While a process is at work in the
    store artefacts stay; while a run is unfinished work folders stay, since it goes on from them.
    Behind a URL only attempts go that were lost, discarded or killed, a day later.

    Example: wsis gc --dry-run
    """
    from data_contracts.garbage import find_garbage, remove

    opened = _there(store)
    found = find_garbage(opened)
    for line in _by_stage(found.pieces):
        print(line)
    for line in found.kept:
        print(f"kept: {line}")
    print(f"{len(found.pieces)} folders, {_size(found.bytes)} that no run uses in {opened.location}")
    if dry_run or not found.pieces:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("wsis gc: expected --yes (or --dry-run) where there is no terminal to ask in")
        typer.confirm("remove them?", abort=True)
    print(f"removed {_size(remove(opened, found))}")


def _by_stage(pieces: "tuple[Piece, ...]") -> list[str]:
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(f"{piece.stage}{' (work folders)' if piece.is_work else ''}", []).append(piece)
    return [
        f"{name:32s} {len(some):5d}  {_size(sum(p.bytes for p in some)):>10s}"
        for name, some in groups.items()
    ]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
