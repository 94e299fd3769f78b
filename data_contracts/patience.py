"""Requests of a driver that says nothing while it asks again and again, and hears no Ctrl-C: each is made in a thread
of its own, and waited for beside it."""

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")
_REQUESTS = 8
"""At once: each holds one piece in memory."""
_SAY_SECONDS = 10.0


def answered(ask: Callable[[], _R], say: Callable[[float], None] | None = None) -> _R:
    """What a request gives or raises. Ctrl-C leaves it to itself.

    Args:
        say: gets the seconds waited so far, after 10, 20, 40, ... of them.
    """
    made: Future[_R] = Future()

    def work() -> None:
        try:
            made.set_result(ask())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    waited, until = 0.0, _SAY_SECONDS
    while not wait([made], until - waited).done:
        waited, until = until, 2 * until
        if say is not None:
            say(waited)
    return made.result()


def many(do: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Some requests at once. The first error ends them when those under way have ended; Ctrl-C does not wait for
    them."""
    todo = list(items)
    results: dict[int, _R] = {}
    left = iter(range(len(todo)))
    stop, taking = threading.Event(), threading.Lock()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                with taking:
                    number = next(left, None)
                if number is None:
                    break
                results[number] = do(todo[number])
        except BaseException as error:
            stop.set()
            ended.put(error)
        else:
            ended.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in todo[:_REQUESTS]]
    for thread in threads:
        thread.start()
    errors: list[Any] = []
    try:
        for _ in threads:
            errors.append(ended.get())
    finally:
        stop.set()
    for error in errors:
        if error is not None:
            raise error
    return [results[number] for number in range(len(todo))]
