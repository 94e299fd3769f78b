"""Work for groups of processes: top-level functions, because they are sent to other processes."""

import atexit
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

from wsis.engine.stage import StageContext
from wsis.errors import NonFiniteError

Send = Callable[[Any], None]


def total(send: Send) -> None:
    """Ranks add up 1, 2, ...; both send, rank 0 is heard."""
    value = torch.tensor(float(distributed.get_rank() + 1))
    distributed.all_reduce(value)
    send((distributed.get_rank(), value.item(), torch.get_num_threads()))


def wait_for_nobody(send: Send) -> None:
    """The others never come."""
    send(os.getpid())
    distributed.all_reduce(torch.zeros(1))


def stay(send: Send) -> None:
    """Sends its process id and never ends."""
    send(os.getpid())
    time.sleep(600)


def diverge(send: Send) -> None:
    """Rank 1 fails on purpose, rank 0 waits for it."""
    if distributed.get_rank() == 1:
        raise NonFiniteError("'loss' became nan at step 3, images b, c")
    wait_for_nobody(send)


def break_down(send: Send) -> None:
    """Rank 1 fails by mistake."""
    if distributed.get_rank() == 1:
        raise KeyError("nothing of that name")
    wait_for_nobody(send)


def break_down_and_abort(send: Send) -> None:
    """Rank 1 fails by mistake, and would end by a signal on its way out, as gloo's threads now and then do."""
    atexit.register(os.abort)
    break_down(send)


def end_and_abort(send: Send) -> None:
    """Work that is done; the way out would end by a signal."""
    atexit.register(os.abort)
    total(send)


def leave(send: Send) -> None:
    """Rank 1 ends without a word."""
    if distributed.get_rank() == 1:
        os._exit(3)
    wait_for_nobody(send)


def be_killed(send: Send) -> None:
    """Rank 1 is killed."""
    if distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for_nobody(send)


def report(context: StageContext) -> None:
    """Work of a stage: both ranks show progress, log and count; rank 0 is heard."""
    rank = distributed.get_rank()
    value = torch.tensor(float(rank + 1))
    distributed.all_reduce(value)
    with context.progress.bar(2, context.title, "step") as bar:
        bar.update(2, {"loss": 0.5})
    context.log(f"rank {rank} writes scalars: {context.execution.tensorboard is not None}")
    context.counts.update(seed=context.seed, sum=value.item())


def diverge_of_stage(context: StageContext) -> None:
    """Rank 1 fails on purpose, rank 0 waits for it."""
    if distributed.get_rank() == 1:
        raise NonFiniteError("'loss' became nan at step 3, images b, c")
    distributed.all_reduce(torch.zeros(1))


def diverge_at_0(context: StageContext) -> None:
    """Rank 0 fails on purpose, rank 1 waits for it."""
    if distributed.get_rank() == 0:
        raise NonFiniteError("'loss' became nan at step 5")
    distributed.all_reduce(torch.zeros(1))


def break_down_of_stage(context: StageContext) -> None:
    """Rank 1 fails by mistake."""
    if distributed.get_rank() == 1:
        raise KeyError("nothing of that name")
    distributed.all_reduce(torch.zeros(1))


def stay_of_stage(context: StageContext) -> None:
    """Both take steps without end."""
    distributed.all_reduce(torch.zeros(1))
    context.log("both are at work")
    while True:
        distributed.all_reduce(torch.zeros(1))
        time.sleep(0.01)


def be_busy_alone(context: StageContext) -> None:
    """Rank 0 does something that is not shared."""
    context.log("rank 0 is at something else")
    time.sleep(600)
