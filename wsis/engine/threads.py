"""The number of threads that arithmetic uses in this process. It decides the order in which sums are taken, and so the
last bits of every result; nothing of it may come from the environment or from the number of cores."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import scipy.linalg  # noqa: F401  brings a BLAS of its own, which must be there to be limited
import torch
from threadpoolctl import threadpool_limits


@contextmanager
def arithmetic_threads(number: int) -> Iterator[None]:
    """Inside, torch, OpenCV and every BLAS use `number` threads, whatever OMP_NUM_THREADS says; afterwards as before.

    Args:
        number: at least 1.
    """
    before, before_cv = torch.get_num_threads(), cv2.getNumThreads()
    with threadpool_limits(number):
        torch.set_num_threads(number)
        cv2.setNumThreads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            cv2.setNumThreads(before_cv)
