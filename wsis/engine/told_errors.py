"""Errors that one process tells another, and answers that may never come."""

import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from data_contracts.errors import ContractError
from wsis.errors import WsisError

T = TypeVar("T")
_SLICE_SECONDS = 1.0


def told(error: Exception, who: str = "") -> dict[str, str]:
    """An error as JSON: on purpose with its class, or any other as its traceback."""
    on_purpose = isinstance(error, ContractError | WsisError)
    trace = "".join(traceback.format_exception(error))
    return {
        "kind": type(error).__name__ if on_purpose else "",
        "text": str(error) if on_purpose else f"{who}: {trace}",
    }


def sendable(error: Exception, where: str) -> Exception:
    """An error as it can be pickled and raised in another process. One on purpose goes as it is, one of Python's own
    with a note of its traceback. One of a library may have arguments of its own, and could not be made again there: its
    traceback goes, as the text of a RuntimeError.

    Args:
        where: it was raised, in words that follow "in": `the worker`.
    """
    if isinstance(error, ContractError | WsisError):
        return error
    trace = "".join(traceback.format_exception(error))
    if type(error).__module__ == "builtins":
        error.add_note(f"In {where}:\n{trace}")
        return error
    return RuntimeError(f"in {where}:\n{trace}")


def raised_again(said: dict[str, Any], title: str) -> Exception:
    """The error that another process told."""
    kinds = {kind.__name__: kind for base in (ContractError, WsisError) for kind in _with_subclasses(base)}
    if (kind := kinds.get(said["kind"])) is not None:
        return kind(said["text"])
    return RuntimeError(f"{title}: a training process failed:\n{said['text']}")


def _with_subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_subclasses(below)


def within(question: Callable[[], T], seconds: float) -> T:
    """The answer to a question that may wait without end: torch's store does where its process is stopped. Time in
    which this process was stopped is not counted.

    Raises:
        TimeoutError: no answer.
    """
    answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((question(), None))
        except (RuntimeError, ValueError) as error:  # of torch's store, or a value that is none
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True).start()
    waited = 0.0
    while waited < seconds:
        try:
            answer, error = answers.get(timeout=_SLICE_SECONDS)
        except queue.Empty:
            waited += _SLICE_SECONDS
            continue
        if error is not None:
            raise error
        return answer
    raise TimeoutError
