"""What CUDA refuses: tensors of two devices in one operation, and random generators of the other one."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from tests.gpu.pretend.counts import COUNTS, Kind
from tests.gpu.pretend.tensor import CPU, PretendTensor

INDEXING = {
    *("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"),
}
# They take a CPU tensor without dimensions beside tensors of the device, as all pointwise operations do.
_TAKE_SCALARS = {
    *("where", "masked_fill", "masked_fill_", "fill_", "fill", "lerp", "lerp_", "clamp", "clamp_"),
    *("bucketize", "linspace", "addcmul_", "addcdiv_"),
}

DEVICE_GENERATORS: set[int] = (
    set()
)  # which generators pretend to be the device's: addresses of their C++ parts


def check_devices(func: Any, name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Refuse an operation as CUDA does.

    Args:
        name: of the operation, without namespace and overload.
        tensors: all of its arguments.

    Raises:
        RuntimeError: they are of two devices, and this operation does not take that.
    """
    strangers = [t for t in tensors if not isinstance(t, PretendTensor)]
    if not strangers:
        return
    if name in INDEXING:
        _check_index(func, args, tensors)
        return
    takes = torch.Tag.pointwise in func.tags or name in _TAKE_SCALARS or name.startswith("_foreach")
    into_cpu = not isinstance(tensors[0], PretendTensor) and name.endswith("_")
    if not takes or into_cpu or any(t.dim() for t in strangers):
        _refuse(func, tensors)


def check_generator(func: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse to draw numbers of the device from a generator of the CPU.

    Raises:
        RuntimeError: it is one.
    """
    generator = kwargs.get("generator")
    if generator is not None and generator._cdata not in DEVICE_GENERATORS:
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' (pretended: {func})")


def _check_index(func: Any, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """A tensor of the device may be indexed by tensors of the CPU, which are copied to it, but not the reverse."""
    own, indices = args[0], [i for i in args[1] if i is not None]
    if not isinstance(own, PretendTensor):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu) "
            f"(pretended: {func})"
        )
    for index in indices:
        if index.device == CPU:
            COUNTS.add(Kind.TO_DEVICE, "index")
    value = args[2] if len(args) > 2 else None
    if isinstance(value, Tensor) and not isinstance(value, PretendTensor):
        if value.dim():
            _refuse(func, tensors)
        if not fills(indices, value):
            COUNTS.add(Kind.TO_DEVICE, "value of x[index] = value")


def fills(indices: Sequence[Tensor], value: Tensor | None) -> bool:
    """Whether `x[mask] = number` becomes a masked_fill, which waits for nothing."""
    if value is None or len(indices) != 1 or indices[0].dtype not in (torch.bool, torch.uint8):
        return False
    return value.numel() == 1 and not isinstance(value, PretendTensor)


def _refuse(func: Any, tensors: Sequence[Tensor]) -> NoReturn:
    listed = ", ".join(f"{t.device}{tuple(t.shape)}" for t in tensors)
    raise RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
        f"(pretended: {func}: {listed})"
    )
