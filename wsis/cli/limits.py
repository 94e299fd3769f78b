"""What the machine refuses (memory, open files, processes) as one line with what helps."""

import errno
import os
import sys
from pathlib import Path

from data_contracts.errors import origins
from wsis.engine.gpu_memory import gpu_memory_refused

_ALLOCATION = (
    "can't allocate memory",
    "out of memory",
    "cannot allocate memory",
    "unable to allocate",
    "failed to map segment",  # a library that is imported
)
_NAMES = (
    "a file name has letters that names cannot have in this locale; set LC_ALL=C.UTF-8 (or PYTHONUTF8=1) and give the "
    "same command again"
)
_OPEN_FILES = (
    "the limit of open files is reached; raise it (`ulimit -n 4096`) and give the same command again"
)
_PROCESSES = (
    "the system starts no further process or thread; raise the limit (`ulimit -u`), or use fewer "
    "(--set execution.workers=1, OMP_NUM_THREADS=1), and give the same command again"
)
_FILE_SIZE = (
    "a file grows larger than the limit (`ulimit -f`) or the file system allows; raise it, or choose another place, "
    "and give the same command again"
)
_MEMORY = (
    "not enough memory; use fewer processes (--set execution.workers=1) or smaller images (image_size, max_side), or a "
    "machine or limit (`ulimit -v`) of more, and give the same command again"
)
_GPU_MEMORY = (
    "not enough memory on the GPU; in `prediction` use --set prediction.gradient_accumulation=2 (parts of a batch) or "
    "--set prediction.precision=bfloat16, in `conditional` --set conditional.checkpointing=true, in work on images "
    "--set execution.workers=1 (`wsis run` takes what changes results with --replace), and give the same command again"
)


_OF_A_FILE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
    *(errno.EIO, errno.ESTALE, errno.ENXIO, errno.ETIMEDOUT),
)  # what a place on a disk is refused for; a file that is not there has a line of its own wherever one is asked for


def file_refused(error: BaseException) -> str | None:
    """The line of a file or folder that the system refuses: which, and why. None of another error."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _OF_A_FILE:
        return None
    if error.errno == errno.EACCES and (closed := _closed_folder(Path(str(error.filename)))):
        return f"the folder {closed!s:.300} cannot be read: {error.strerror}"
    return f"{error.filename!s:.300}: {error.strerror}"


def _closed_folder(path: Path) -> Path | None:
    """The folder above a path that may not be looked into: that one is refused, and the path may not even be there."""
    above = reversed(path.absolute().parents)
    return next((folder for folder in above if not os.access(folder, os.X_OK)), None)


def limit_reached(error: BaseException) -> str | None:
    """The line, or None if neither the error nor what it came from is of that kind."""
    return next((line for one in origins(error) if (line := _limit_of(one)) is not None), None)


def _limit_of(error: BaseException) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    said = str(error).lower()
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding() != "utf-8":
        return _NAMES
    if number in (errno.EMFILE, errno.ENFILE) or "too many open files" in said:
        return _OPEN_FILES
    if gpu_memory_refused(error) is not None:
        return _GPU_MEMORY
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(t in said for t in _ALLOCATION):
        return _MEMORY
    if number == errno.EFBIG:
        return _FILE_SIZE
    if number == errno.EAGAIN or "can't start new thread" in said:
        return _PROCESSES
    return None
