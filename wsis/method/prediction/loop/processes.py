"""Several training processes that torchrun started: joining them, and values of all of them.

Each process takes its share of every global batch, gradients are averaged over processes, rank 0 alone writes. Losses
are normalised over each process's own images, as MMDetection does.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.dist import get_world_size
from torch import distributed


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within it, this process is one of torchrun's group; alone it changes nothing.

    On CUDA the process takes the GPU of its LOCAL_RANK.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        distributed.barrier()  # nobody returns before rank 0 has written
    finally:
        distributed.destroy_process_group()


def mean_over_processes(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """The mean of every value over all processes, which must bring the same names."""
    if get_world_size() == 1:
        return dict(values)
    names = sorted(values)
    total = torch.tensor([values[n] for n in names], dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return dict(zip(names, (total / get_world_size()).tolist(), strict=True))
