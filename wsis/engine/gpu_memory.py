"""A GPU with too little memory for a stage: one line, with what takes less of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from data_contracts.errors import origins
from wsis.errors import GpuMemoryError

_SAID = re.compile(
    r"CUDA out of memory\. Tried to allocate [\d.]+ \w+|CUDA out of memory|CUDA error: out of memory"
    r"|CU\w+_STATUS_ALLOC_FAILED"
)


def gpu_memory_refused(error: BaseException) -> str | None:
    """What CUDA and its libraries say where an error, or one that it came from, is of that kind. Other processes tell
    theirs as text."""
    return next((said[0] for one in origins(error) if (said := _SAID.search(str(one)))), None)


@contextmanager
def gpu_memory_named(title: str, less: str) -> Iterator[None]:
    """Inside, such an error is told with the stage and what takes less.

    Args:
        less: settings, in words that follow "use".

    Raises:
        GpuMemoryError: in its place.
    """
    try:
        yield
    except Exception as error:
        said = None if isinstance(error, GpuMemoryError) else gpu_memory_refused(error)
        if said is None:
            raise
        raise GpuMemoryError(
            f"{title}: the GPU has too little memory ({said}): use {less}, or a GPU that nothing else uses, in the "
            "same command, which goes on from what is there"
        ) from error
