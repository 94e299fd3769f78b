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
        self._extremes: list[Tensor] = []
        self._messages: list[str] = []

    def add(self, tensor: Tensor, message: str) -> None:
        """Have a tensor checked; the message says what is wrong where it holds NaN or infinite values."""
        if tensor.numel():
            self._extremes += tensor.detach().aminmax()  # NaN where the tensor holds one
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
        extremes = torch.stack(self._extremes) if self._extremes else torch.zeros(0)
        on_host, result = moved((extremes, value), "cpu")
        for is_finite, message in zip(on_host.isfinite().reshape(-1, 2).all(1), self._messages, strict=True):
            if not is_finite:
                raise NonFiniteError(message)
        return result
