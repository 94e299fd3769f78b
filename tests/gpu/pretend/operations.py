"""One operation of torch as CUDA would do it, on the CPU: refused or counted, computed, its result on the device."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map

from tests.gpu.pretend.counts import COUNTS, Kind
from tests.gpu.pretend.refusals import check_devices, check_generator
from tests.gpu.pretend.tensor import CPU, PretendTensor, leaves, on_device, plain
from tests.gpu.pretend.waits import count_waits

PINNED = "pretends_pinned"  # attribute of a CPU tensor
_GIVE_VALUES = ("_local_scalar_dense", "equal", "is_nonzero")
_GIVE_OTHERS = ("lift_fresh", "lift", "lift_fresh_copy")
_LOW = (torch.float16, torch.bfloat16)


class Device(TorchDispatchMode):
    """While it is entered, operations that only name the device come here too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return operate(func, args, kwargs or {})


def operate(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Do what CUDA does.

    Raises:
        RuntimeError: what CUDA refuses; see `refusals`.
        NotImplementedError: what cannot be pretended.
    """
    found = [*leaves(args), *leaves(tuple(kwargs.values()))]
    tensors = [t for t in found if isinstance(t, Tensor)]
    ours = [t for t in tensors if isinstance(t, PretendTensor)]
    if not ours and not any(isinstance(d, torch.device) and d.type == "cuda" for d in found):
        return _pinned(func, args, kwargs) if kwargs.get("pin_memory") else func(*args, **kwargs)
    if func._can_decompose():  # inference mode gives composite operations whole
        with Device():
            done = func.decompose(*args, **kwargs)
        if done is not NotImplemented:
            return done
    return _primitive(func, args, kwargs, tensors, ours)


def _pinned(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A tensor of the CPU that is made in pinned memory, which a torch without CUDA has none of."""
    made = func(*args, **{**kwargs, "pin_memory": False})
    setattr(made, PINNED, True)
    return made


def _primitive(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    tensors: Sequence[Tensor],
    ours: Sequence[PretendTensor],
) -> Any:
    name = func._schema.name.split("::")[1]
    if name == "_to_copy":
        return _to_copy(func, args[0], kwargs)
    if name == "copy_":
        return _copy_into(func, args, kwargs)
    target = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if target == CPU:  # new_zeros(..., device="cpu") and the like
        return func(*plain(args), **{key: plain(value) for key, value in kwargs.items()})
    if ours:
        check_devices(func, name, args, tensors)
    check_generator(func, kwargs)
    count_waits(name, args, kwargs, ours)
    rest = {key: plain(value) for key, value in kwargs.items() if key != "pin_memory"}
    if target is not None:
        rest["device"] = CPU
    result = _computed(func, plain(args), rest)
    if name in _GIVE_VALUES:
        return result
    wrapped = on_device(result)
    dense = all(t.layout == torch.strided for t in tensors)
    if not ours or not dense or name in _GIVE_OTHERS or not _aliases(func):
        return wrapped
    result = return_and_correct_aliasing(func, args, dict(kwargs), wrapped)
    _check_shapes(func, args)
    return result


@cache
def _aliases(func: Any) -> bool:
    """Whether it gives views of its arguments, or writes into them."""
    return any(a.alias_info is not None for a in (*func._schema.arguments, *func._schema.returns))


def _computed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result on the CPU; in float32 where the CPU lacks what CUDA has in 16 bits."""
    try:
        return func(*args, **kwargs)
    except (NotImplementedError, RuntimeError) as error:
        low = [
            t.dtype
            for t in leaves((args, tuple(kwargs.values())))
            if isinstance(t, Tensor) and t.dtype in _LOW
        ]
        lacks = "not implemented for" in str(error) or "Could not run" in str(error)
        if not lacks or not low:
            raise

    def up(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype in _LOW else value

    def down(value: Any) -> Any:
        return value.to(low[0]) if isinstance(value, Tensor) and value.dtype == torch.float32 else value

    return tree_map(down, func(*tree_map(up, args), **tree_map(up, dict(kwargs))))


def _to_copy(func: Any, source: Tensor, kwargs: Mapping[str, Any]) -> Tensor:
    """`.to`, `.cuda`, `.cpu`, `.float`: a copy with another device or dtype."""
    target = kwargs.get("device")
    here = isinstance(source, PretendTensor)
    there = here if target is None else torch.device(target).type == "cuda"
    if here and not there:
        COUNTS.add(Kind.ASYNC_TO_HOST if kwargs.get("non_blocking") else Kind.TO_HOST)
    elif there and not here:
        _count_to_device(source, bool(kwargs.get("non_blocking")))
    elif here:
        count_waits("_to_copy", (source,), kwargs, [source])
    rest = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking", "pin_memory")}
    result: Tensor = func(plain(source), device=CPU, **rest)
    if result.layout == torch.strided and result.data_ptr() == plain(source).data_ptr():
        result = result.clone()
    return PretendTensor(result) if there else result


def _copy_into(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """`Tensor.copy_`, which may cross devices."""
    into, source = args[0], args[1]
    non_blocking = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    here, there = isinstance(source, PretendTensor), isinstance(into, PretendTensor)
    if there and not here:
        _count_to_device(source, non_blocking)
    elif here and not there:
        COUNTS.add(Kind.ASYNC_TO_HOST if non_blocking else Kind.TO_HOST)
    func(plain(into), plain(source), *args[2:], **kwargs)
    return into


def is_pinned(tensor: Tensor) -> bool:
    """Whether a CPU tensor, or that of which it is a view, pretends to lie in pinned memory."""
    return getattr(tensor, PINNED, False) or getattr(tensor._base, PINNED, False)


def _count_to_device(source: Tensor, non_blocking: bool) -> None:
    """A copy from pageable memory may wait, whatever is asked for: it is staged through pinned memory."""
    waits = not (non_blocking and is_pinned(source))
    for _ in range(1 if source.layout == torch.strided else 2):  # a sparse tensor goes as indices and values
        COUNTS.add(Kind.TO_DEVICE if waits else Kind.ASYNC_TO_DEVICE)


def _check_shapes(func: Any, args: Sequence[Any]) -> None:
    for argument, declared in zip(args, func._schema.arguments, strict=False):
        written = declared.alias_info is not None and declared.alias_info.is_write
        if written and isinstance(argument, PretendTensor) and argument.layout == torch.strided:
            inner = argument.inner
            if argument.shape != inner.shape or argument.stride() != inner.stride():
                raise NotImplementedError(f"the pretended device: {func} changes a shape in place")
