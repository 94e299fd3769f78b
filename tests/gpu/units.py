"""Units of work of the project: steps of its trainings, images of its per-image stages."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Counting = Callable[[str], AbstractContextManager[None]]
"""Takes what is done while it is entered as one unit of work of that name."""


def install(counting: Counting) -> None:
    """Take each step and each image as a unit, `conditional step`, `prm_seeds image`; imports the engine.

    Of a stage the first image loads the network too: medians over the images leave that out.
    """
    from wsis.engine import per_image, training

    training._finite_values = _steps(training._finite_values, counting)
    per_image.computing = _images(per_image.computing, counting)


def _stage(title: str) -> str:
    """`conditional@2` -> `conditional`, `predictions.val@1` -> `predictions`."""
    return re.split("[@.]", title)[0]


def _steps(values_of: Callable[..., dict[str, float]], counting: Counting) -> Callable[..., dict[str, float]]:
    def counted(context: Any, step: Callable[[int], Mapping[str, float]], *rest: Any) -> dict[str, float]:
        def one(index: int) -> Mapping[str, float]:
            with counting(f"{_stage(context.title)} step"):
                return step(index)

        return values_of(context, one, *rest)

    return counted


def _images(computing: Callable[..., Any], counting: Counting) -> Callable[..., Any]:
    @contextmanager
    def counted(compute: Any, pool: Any, *rest: Any) -> Iterator[Any]:
        with computing(compute, pool, *rest) as of_ids:

            def one_by_one(ids: Sequence[str]) -> Iterator[Any]:
                records = iter(of_ids(ids))
                for _ in ids:
                    with counting(f"{_stage(pool.title)} image"):
                        record = next(records)
                    yield record

            yield one_by_one

    return counted
