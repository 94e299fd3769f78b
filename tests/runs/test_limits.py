"""What the machine refuses is one line with what helps."""

import errno
import os
from pathlib import Path

import pytest
import torch

from wsis.cli.limits import file_refused, limit_reached


def raised(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "help_"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata: Too many open files"), "ulimit -n"),
        (MemoryError(), "execution.workers=1"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "execution.workers=1"),
        (raised(ValueError("x"), MemoryError()), "execution.workers=1"),
        (ImportError("lib.so: failed to map segment from shared object"), "execution.workers=1"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "gradient_accumulation=2"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), "gradient_accumulation=2"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "gradient_accumulation=2"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    ],
)
def test_limits_say_what_helps(error: BaseException, help_: str) -> None:
    assert help_ in (limit_reached(error) or "")


def test_torch_without_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert "execution.workers=1" in (limit_reached(caught.value) or "")


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.ENOENT, "No such file"), None])
def test_other_errors_are_not_taken_for_limits(error: BaseException | None) -> None:
    assert limit_reached(error) is None


def test_what_may_not_be_looked_into_is_named_and_not_what_was_sought_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, access = tmp_path / "images", os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and access(path, mode))
    for sought in (closed / "images", closed / "train" / "x.json"):
        error = PermissionError(errno.EACCES, "Permission denied", str(sought))
        assert file_refused(error) == f"the folder {closed} cannot be read: Permission denied"
    for open_to_all in (closed, tmp_path / "x.json"):
        error = PermissionError(errno.EACCES, "Permission denied", str(open_to_all))
        assert file_refused(error) == f"{open_to_all}: Permission denied"
