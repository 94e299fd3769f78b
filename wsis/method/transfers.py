"""Tensors between host and device, so that the host seldom waits.

A GPU does what it is given while the host goes on. The host stands still for each value or size that it reads and for
each copy from pageable memory. So what belongs together crosses in one copy, and on a device masks take the place of
lists whose lengths depend on values.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_ROUNDS_UNSEEN = 8
_ALIGNMENT = 256  # bytes, as that of memory that CUDA gives out
torch.sparse.check_sparse_tensor_invariants.disable()  # the default; torch 2.11 warns where it was not chosen


def host_waits(tensor: Tensor) -> bool:
    """Whether reading a value or a size of this tensor stops the host until the device has done all it was given."""
    return tensor.device.type != "cpu"


def places(mask: Tensor) -> tuple[Tensor, ...]:
    """Where something is to be done, as int64 indices, one tensor a dimension: on the CPU where the mask is True; on a
    device everywhere, since the host would wait for their number. What is done at a place must therefore change nothing
    where the mask is False."""
    if not host_waits(mask):
        return torch.nonzero(mask, as_tuple=True)
    place, indices = torch.arange(mask.numel(), device=mask.device), []
    for size in reversed(mask.shape):
        indices.append(place % size)
        place = place // size
    return tuple(reversed(indices))


def rounds_unseen(tensor: Tensor) -> int:
    """How many rounds of a loop are done until the host looks whether any is left: reading that of a device costs more
    than a few rounds in vain."""
    return _ROUNDS_UNSEEN if host_waits(tensor) else 1


def moved(value: T, device: torch.device | str) -> T:
    """The same value with its tensors on a device: a tensor, or dataclasses, lists, tuples and dictionaries that hold
    some. Anything else is kept, and so is all of it where it is there already. Copies have no gradient.

    Between CPU and GPU they cross in one copy. Towards the GPU it goes through pinned memory, so that the host waits
    for nothing; towards the CPU it waits once. Sparse tensors must be coalesced COO.
    """
    target = _exactly(torch.device(device))
    tensors = [t for t in _dense(value) if t.device != target]
    if not tensors:
        return value
    if target.type == "cpu" or tensors[0].device.type == "cpu":
        there = iter(_crossed(tensors, target))
    else:
        there = iter([t.to(target) for t in tensors])

    def placed(tensor: Tensor) -> Tensor:
        return tensor if tensor.device == target else next(there)

    result: T = _mapped(value, placed)
    return result


def coalesced(indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A sparse COO tensor of indices int64 [2, n], in order and without duplicates, and values [n]; not checked."""
    return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=True, check_invariants=False)


def _exactly(device: torch.device) -> torch.device:
    """The device that tensors there name: "cuda" is the current one of several."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _dense(value: Any) -> Iterator[Tensor]:
    """All tensors of a value in the order of `_mapped`; of a sparse one its indices and values."""
    found: list[Tensor] = []

    def kept(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _mapped(value, kept)
    return iter(found)


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The value with a function of each dense tensor in its place."""
    if isinstance(value, Tensor):
        if not value.is_sparse:
            return function(value)
        parts = function(value.indices()), function(value.values())
        return coalesced(*parts, value.shape)
    if type(value) in (list, tuple):
        return type(value)(_mapped(part, function) for part in value)
    if type(value) is dict:
        return {key: _mapped(part, function) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = copy.copy(value)  # its values were checked when it was made
        for field in fields(value):
            object.__setattr__(changed, field.name, _mapped(getattr(value, field.name), function))
        return changed
    return value


def _crossed(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copies of tensors of one device on another, as parts of one copy of bytes."""
    to_gpu = device.type == "cuda"
    if len(tensors) == 1:
        one = tensors[0].detach()
        source = torch.empty_like(one, pin_memory=True).copy_(one) if to_gpu else one
        return [source.to(device, non_blocking=to_gpu)]
    starts = [0]
    for tensor in tensors:
        starts.append(starts[-1] + -(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT)
    packed = torch.empty(starts[-1], dtype=torch.uint8, device=tensors[0].device, pin_memory=to_gpu)
    with torch.no_grad():
        for tensor, part in zip(tensors, _parts(packed, starts, tensors), strict=True):
            part.copy_(tensor)
    return _parts(packed.to(device, non_blocking=to_gpu), starts, tensors)


def _parts(packed: Tensor, starts: Sequence[int], like: Sequence[Tensor]) -> list[Tensor]:
    """Views of bytes uint8 [n] as tensors of the given shapes and types; one operation each, since the host makes
    hundreds a step."""
    typed = {dtype: packed.view(dtype) for dtype in {t.dtype for t in like}}
    return [
        typed[t.dtype].as_strided(t.shape, _strides(t), start // t.element_size())
        for start, t in zip(starts, like, strict=False)
    ]


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Of a copy: the order of dimensions in memory stays, without gaps."""
    return tensor.stride() if tensor.is_contiguous() else torch.empty_like(tensor, device="meta").stride()
