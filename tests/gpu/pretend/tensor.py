"""The tensor that says it is on `cuda:0`: a wrapper around one of the CPU."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tests.gpu.pretend.counts import COUNTS, Kind

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
_NO_NUMPY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first (pretended)"


class PretendTensor(Tensor):
    """On the pretended device; `inner` is the CPU tensor that holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, requires_grad: bool = False) -> "PretendTensor":
        laid_out = (
            {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
            if inner.layout == torch.strided
            else {}
        )
        made: PretendTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=requires_grad,
            **laid_out,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from tests.gpu.pretend.operations import operate  # which makes tensors of this class

        return operate(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"PretendTensor({self.inner!r}, device='{DEVICE}')"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as a plain tensor: where it is loaded to is what `map_location` says."""
        COUNTS.add(Kind.TO_HOST, "saved")
        return self.inner.detach().requires_grad_(self.requires_grad).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copied: Tensor = PretendTensor(self.inner.detach().clone(), self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        raise NotImplementedError("the pretended device: a tensor's data cannot be set, use copy_")

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(_NO_NUMPY)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(_NO_NUMPY)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __getitem__(self, key: Any) -> Tensor:
        return super().__getitem__(_moved(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_moved(key), value)

    def new_tensor(  # type: ignore[override]
        self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        made = torch.tensor(data, dtype=dtype or self.dtype, device=device or DEVICE)
        return made.requires_grad_(requires_grad)


def plain(value: Any) -> Any:
    """Tensors of the pretended device, in lists and tuples too, as those of the CPU."""
    if isinstance(value, PretendTensor):
        return value.inner
    return type(value)(plain(v) for v in value) if type(value) in (list, tuple) else value


def on_device(value: Any) -> Any:
    """Tensors of the CPU, in lists and tuples too, as those of the pretended device."""
    if isinstance(value, Tensor):
        return value if isinstance(value, PretendTensor) else PretendTensor(value)
    return type(value)(on_device(v) for v in value) if type(value) in (list, tuple) else value


def leaves(value: Any) -> Iterator[Any]:
    """All that lists and tuples hold: torch's own trees take ten times as long."""
    if type(value) in (list, tuple):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def _moved(key: Any) -> Any:
    """Lists and arrays of an index as tensors of the device: torch copies them there."""
    if isinstance(key, tuple):
        return tuple(_moved(part) for part in key)
    if isinstance(key, list) or type(key).__name__ == "ndarray":
        return torch.tensor(key, device=DEVICE)
    return key
