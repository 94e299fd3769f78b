"""Whether numbers are finite, asked of a device seldom."""

from typing import TypeVar

import torch
from torch import Tensor

from wsis.errors import NonFiniteError
from wsis.method.transfers import moved

T = TypeVar("T")


class FiniteChecks:
    """Tensors that must be finite. The device is asked for all of them together, since the host waits for an answer."""

    def __init__(self) -> None:
        self._finite: list[Tensor] = []
        self._messages: list[str] = []

    def add(self, tensor: Tensor, message: str) -> None:
        """Have a tensor checked; the message says what is wrong where it holds NaN or infinite values."""
        self._finite.append(torch.isfinite(tensor).all())
        self._messages.append(message)

    def check(self) -> None:
        """Check all that was added.

        Raises:
            NonFiniteError: with the message of the first that is not finite.
        """
        self.check_with(())

    def check_with(self, value: T) -> T:
        """The same, with another value on the CPU, for the same wait.

        Args:
            value: as `wsis.method.transfers.moved` takes it.
        """
        finite, result = moved((list(self._finite), value), "cpu")
        for is_finite, message in zip(finite, self._messages, strict=True):
            if not is_finite:
                raise NonFiniteError(message)
        return result
