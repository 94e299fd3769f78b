"""What torch's Python asks of CUDA beside operations: `torch.cuda`, tensors of data, files, generators, pinning."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from tests.gpu.pretend.counts import COUNTS, Kind
from tests.gpu.pretend.operations import PINNED, is_pinned
from tests.gpu.pretend.refusals import DEVICE_GENERATORS
from tests.gpu.pretend.tensor import CPU, DEVICE, PretendTensor, on_device

NAME = "a pretended GPU"
MEMORY = 24 << 30


class Properties(NamedTuple):
    """Of a card of 24 GB."""

    name: str = NAME
    total_memory: int = MEMORY
    major: int = 8
    minor: int = 6
    multi_processor_count: int = 82


class Idle:
    """A stream, an event or a device to enter, which does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> "Idle":
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _zero

    def synchronize(self) -> None:
        COUNTS.add(Kind.SYNCHRONIZE)


def install() -> None:
    """Let torch's Python say that there is a device. Once a process, and not taken back."""
    import torch._dynamo  # these two compile code when they are imported, which the patches would be in the way of
    import torch.distributed.optim

    torch.autograd.set_multithreading_enabled(False)  # modes belong to a thread
    torch.__future__.set_swap_module_params_on_conversion(True)  # Module.to sets .data otherwise
    for name, value in _of_cuda().items():
        setattr(torch.cuda, name, value)
    for name in ("tensor", "as_tensor", "asarray"):  # no dispatch mode sees them
        setattr(torch, name, functools.partial(_of_data, getattr(torch, name)))
    torch.Tensor.pin_memory = _pin  # type: ignore[method-assign,assignment]
    torch.Tensor.is_pinned = lambda tensor, device=None: is_pinned(tensor)  # type: ignore[method-assign,assignment]
    torch.load = functools.partial(_load, torch.load)
    torch.Generator = Generator  # type: ignore[misc]


def _zero(*args: Any, **kwargs: Any) -> int:
    return 0


def _of_cuda() -> dict[str, Any]:
    nothings = (
        *("init", "_lazy_init", "set_device", "manual_seed", "manual_seed_all", "empty_cache", "ipc_collect"),
        *("set_rng_state", "reset_peak_memory_stats", "max_memory_allocated", "max_memory_reserved"),
        *("memory_allocated", "memory_reserved"),
    )
    return {
        **dict.fromkeys(nothings, _zero),
        **dict.fromkeys(("device", "Stream", "stream", "current_stream", "Event"), Idle),
        **dict.fromkeys(("is_available", "is_initialized", "is_bf16_supported"), lambda *a, **k: True),
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *a: NAME,
        "get_device_capability": lambda *a: (8, 6),
        "get_device_properties": lambda *a: Properties(),
        "mem_get_info": lambda *a: (MEMORY, MEMORY),
        "get_rng_state": lambda *a: torch.zeros(16, dtype=torch.uint8),
        "synchronize": lambda *a: COUNTS.add(Kind.SYNCHRONIZE),
        "_is_in_bad_fork": lambda: False,
    }


def _of_data(make: Callable[..., Tensor], data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """torch.tensor and its like: what names the device is made on the CPU and copied."""
    if isinstance(data, PretendTensor) and device is None:
        return data if kwargs.get("dtype") in (None, data.dtype) else data.to(kwargs["dtype"])
    if device is None or torch.device(device).type != "cuda":
        return make(data, *args, device=device, **kwargs)
    return make(data, *args, **kwargs).to(DEVICE)


def _pin(tensor: Tensor, device: Any = None) -> Tensor:
    if isinstance(tensor, PretendTensor):
        raise RuntimeError(f"cannot pin '{tensor.dtype}' only dense CPU tensors can be pinned (pretended)")
    pinned = tensor.clone()
    setattr(pinned, PINNED, True)
    return pinned


def _load(load: Callable[..., Any], file: Any, map_location: Any = None, **kwargs: Any) -> Any:
    """torch.load; files of tensors do not say here which were on the device."""
    if map_location is None:
        COUNTS.add(Kind.UNMAPPED)
    loaded = load(file, map_location="cpu", **kwargs)
    to_device = isinstance(map_location, str | torch.device) and torch.device(map_location).type == "cuda"
    return tree_map(lambda value: on_device(value), loaded) if to_device else loaded


class Generator(torch.Generator):
    """Of the device or of the CPU; the numbers are the CPU's. Operations are given an object of the base class."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made = super().__new__(cls)
        if torch.device(device).type == "cuda":
            DEVICE_GENERATORS.add(made._cdata)  # type: ignore[attr-defined]
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE if self._cdata in DEVICE_GENERATORS else CPU  # type: ignore[attr-defined]
