"""What every command of `wsis` has: -q and -v, a line where it is interrupted, and a quiet end where nobody reads its
output any more."""

import errno
import functools
import inspect
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any, NoReturn, TextIO

import typer

from data_contracts.errors import origins
from data_contracts.printable import PrintableStream
from wsis.errors import WorkerDiedError

LOGGER = logging.getLogger("wsis")
"""Parent of the loggers of wsis. Its level is what -q and -v set; progress is silent above INFO."""

INTERRUPTED = 130  # as a shell reports a command that Ctrl-C ended


class OutputClosedError(Exception):
    """Whoever read the output of the command has gone, as `head` does."""


class OutputFullError(Exception):
    """What the command prints cannot be written where its output goes."""


class _Output(PrintableStream):
    """Standard output, which says so where its disk is full: no store is."""

    def write(self, text: str) -> int:
        with _full_named():
            return super().write(text)

    def flush(self) -> None:
        with _full_named():
            self._stream.flush()


@contextmanager
def _full_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OutputFullError(f"the output cannot be written: {error.strerror}") from error


def open_missing_output() -> None:
    """Where a stream was closed before the command began (`>&-`), what is written to it goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # as long as the process lasts


def _be_quiet(value: bool) -> None:
    if value:
        LOGGER.setLevel(logging.ERROR)


def _be_verbose(value: bool) -> None:
    if value:
        from wsis.engine.progress import LogHandler

        LOGGER.setLevel(logging.DEBUG)
        if not LOGGER.handlers:
            LOGGER.addHandler(LogHandler())


QuietOption = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="only the result and errors", callback=_be_quiet),
]
VerboseOption = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="also say what is looked up and why", callback=_be_verbose),
]


def framed(command: Callable[..., None], if_interrupted: str) -> Callable[..., None]:
    """`command` with the options -q and -v, which ends with :class:`OutputClosedError` when its reader has gone.

    Control characters in what it prints are shown as escapes: they come from names of files.
    What it has printed is flushed before it returns, so that this is found out in time.

    Args:
        if_interrupted: what the same command does after Ctrl-C, for the line that is printed then.
    """

    added = {"quiet": QuietOption, "verbose": VerboseOption}

    @functools.wraps(command)
    def run(**kwargs: Any) -> None:
        try:
            with redirect_stdout(_Output(sys.stdout)):  # all that `print` uses
                command(**{name: value for name, value in kwargs.items() if name not in added})
                sys.stdout.flush()
        except (KeyboardInterrupt, typer.Abort) as error:
            signals = [one for one in origins(error) if isinstance(one, KeyboardInterrupt)]
            how = " again, so at once" if len(signals) > 1 else ""
            print(f"\ninterrupted{how}; {if_interrupted}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            _name_broken_pipe(error)

    signature = inspect.signature(command)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in added.items()
    ]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what typer reads
        parameters=[*signature.parameters.values(), *options]
    )
    run.__annotations__ = {**command.__annotations__, **added}
    run.__doc__ = _paragraphs(command.__doc__ or "")
    return run


def _paragraphs(text: str) -> str:
    """A docstring whose lines the terminal may break where it likes."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _name_broken_pipe(error: BrokenPipeError) -> NoReturn:
    if any(_reader_is_gone(stream) for stream in (sys.stdout, sys.stderr)):
        raise OutputClosedError from error
    raise WorkerDiedError(
        "a process that this command works with has gone (broken pipe); what is committed is kept: "
        "give the command again"
    ) from error


def _reader_is_gone(stream: TextIO) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file beneath it, as in a test
        return False


def drop_closed_output() -> None:
    """Let nothing more be written where nobody reads, so that the interpreter does not complain at its end."""
    with open(os.devnull, "w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            if _reader_is_gone(stream):
                os.dup2(nowhere.fileno(), stream.fileno())
