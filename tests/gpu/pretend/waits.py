"""What an operation on CUDA makes the host wait for, seen from outside of its kernels; sums without an order; draws."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tests.gpu.pretend.counts import COUNTS, Kind
from tests.gpu.pretend.refusals import INDEXING, fills
from tests.gpu.pretend.tensor import PretendTensor

_WAITS = {
    **dict.fromkeys(("_local_scalar_dense", "is_nonzero", "equal"), Kind.VALUE),
    **dict.fromkeys(("nonzero", "masked_select", "repeat_interleave", "_coalesce"), Kind.SIZE),
    **dict.fromkeys(("_unique2", "unique_dim", "unique_consecutive", "bincount", "histc"), Kind.SIZE),
    "nms": Kind.SIZE,  # of torchvision: the suppression runs on the host
}
_RANDOM = {
    *(
        "rand",
        "randn",
        "randint",
        "randperm",
        "rand_like",
        "randn_like",
        "randint_like",
        "bernoulli",
        "bernoulli_",
    ),
    *(
        "normal_",
        "uniform_",
        "exponential_",
        "multinomial",
        "native_dropout",
        "random_",
        "log_normal_",
        "normal",
    ),
    *("geometric_", "cauchy_"),
}
# As the documentation of torch.use_deterministic_algorithms lists them; index_put only where it accumulates, cumsum
# only of numbers that round.
_UNORDERED = {
    *(
        "index_add_",
        "index_add",
        "scatter_add_",
        "scatter_add",
        "scatter_reduce",
        "put_",
        "histc",
        "bincount",
    ),
    *("upsample_bilinear2d_backward", "upsample_nearest2d_backward", "_adaptive_avg_pool2d_backward"),
    *("max_pool2d_with_indices_backward", "reflection_pad2d_backward", "replication_pad2d_backward"),
    *("nll_loss2d_forward", "_roi_align_backward", "cumsum", "_sparse_addmm", "convolution_backward"),
    *("grid_sampler_2d_backward", "median"),
}


def count_waits(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], ours: Sequence[PretendTensor]
) -> None:
    """Count one operation on the device.

    Args:
        name: of the operation, without namespace and overload.
        ours: its arguments that are on the device.
    """
    COUNTS.operations[COUNTS.unit] += 1
    if name in _WAITS and ours:
        COUNTS.add(_WAITS[name], name)
    if name in INDEXING:
        _count_index(name, args, kwargs)
    if name in _RANDOM:
        COUNTS.add(Kind.RANDOM, name)
    if name in _UNORDERED and not (name == "cumsum" and not ours[0].is_floating_point()):
        COUNTS.add(Kind.UNORDERED, name)


def _count_index(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """A mask of the device becomes indices, of which the host must know how many there are."""
    indices = [i for i in args[1] if i is not None]
    value = args[2] if len(args) > 2 and isinstance(args[2], torch.Tensor) else None
    masks = [i for i in indices if i.dtype in (torch.bool, torch.uint8) and isinstance(i, PretendTensor)]
    if not fills(indices, value):
        for _ in masks:
            COUNTS.add(Kind.SIZE, "boolean index")
    if value is not None and (kwargs.get("accumulate") or (len(args) > 3 and args[3])):
        COUNTS.add(Kind.UNORDERED, name)
