"""One training in several processes: of this stage's own, or of those that torchrun has started. What rank 0 says is
said by the stage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import distributed

from data_contracts.errors import ConfigError
from wsis.engine.device import computing, shared_memory
from wsis.engine.forwarded_progress import ForwardedProgress, Screen, Send
from wsis.engine.launched_group import joined, processes_started
from wsis.engine.process_group import Group, run_in_processes
from wsis.engine.progress import Progress
from wsis.engine.settings import Execution, StageConfig
from wsis.engine.stage import StageContext
from wsis.engine.stage_inputs import nobody_else

_NCCL_BYTES = 0.5e9  # of /dev/shm, for the processes of one machine


class SharedTraining(StageConfig):
    """Settings of a training that several processes can share."""

    batch_size: int = Field(4, ge=1, description="images a step, of all processes together")
    processes: int = Field(
        1,
        ge=1,
        le=1024,
        description="processes that share every batch: on CUDA one a GPU, on the CPU of the cores",
    )

    @model_validator(mode="after")
    def _batch_is_shared(self) -> Self:
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size: expected a multiple of processes ({self.processes}), got {self.batch_size}"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """As of every stage. Several processes add up in another order, so their number counts; one is left out, so
        that artefacts made before there was a choice are found."""
        found = super().identity()
        if found["processes"] == 1:
            del found["processes"]
        return found


def check_processes(config: SharedTraining, execution: Execution, section: str) -> None:
    """Refuse more processes than there are.

    Args:
        section: of the run's configuration, for the message.

    Raises:
        ConfigError: more than GPUs, or than torchrun started; or this process is not one that torchrun started; or
            /dev/shm has no room for NCCL.
    """
    if config.processes == 1:
        return
    group, gpus = joined(), torch.cuda.device_count()
    if group is None and processes_started() > 1:
        raise ConfigError(
            f"WORLD_SIZE: expected one process, got {processes_started()}: only `wsis run` and `wsis stage` share a "
            "training among processes of torchrun"
        )
    if group is not None and execution.cores > 1:
        raise ConfigError(
            f"execution.cores: expected 1, because torchrun's processes share one training, got {execution.cores}"
        )
    if group is not None and config.processes > group.size:
        raise ConfigError(
            f"{section}.processes: expected at most {group.size}, as many as torchrun started, got {config.processes}"
        )
    here = config.processes if group is None else min(config.processes, group.size_here)
    if execution.torch_device().type != "cuda":
        return
    if gpus < here:
        raise ConfigError(
            f"{section}.processes: expected at most {gpus}, as many as there are GPUs, got {here}"
        )
    if here > 1 and (room := shared_memory()) < _NCCL_BYTES:
        raise ConfigError(
            f"{section}.processes: expected {_NCCL_BYTES / 1e9:.1f} GB of /dev/shm, which NCCL shares among {here} "
            f"processes, got {room / 1e9:.2f} GB; in Docker use --shm-size=2g"
        )


def run_shared(work: Callable[[StageContext], None], context: StageContext, processes: int) -> None:
    """Call `work` with a stage's context in this process, or in each of several with a context of its own.

    Progress, log lines and counts of rank 0 become those of `context`. Rank 0 alone may write.

    Args:
        work: is pickled where there are several processes.

    Raises:
        As the work does, and as :func:`wsis.engine.process_group.run_in_processes` or
        :meth:`wsis.engine.launched_group.LaunchedGroup.share`.
    """
    launched = joined()
    if processes == 1:
        if launched is not None:
            context.log(
                f"uses one of the {launched.size} processes: `processes` of its section says how many share it"
            )
        work(context)
        return
    if launched is not None:
        launched.share(work, context, processes)
        return
    group = Group(processes, context.device.type, context.execution.threads, context.title)
    given = replace(context, progress=Progress(quiet=True), counts={}, worker_memory={}, shared=None)
    given.check_owner = nobody_else
    with Screen(context.progress) as screen:

        def hear(said: Any) -> None:
            context.check_owner()
            if isinstance(said, _Counted):
                context.counts.update(said.counts)
            else:
                screen.show(said)

        run_in_processes(_OfARank(work, given), group, hear, context.worker_memory)


@dataclass(frozen=True)
class _OfARank:
    """The work in one process of the group."""

    work: Callable[[StageContext], None]
    context: StageContext

    def __call__(self, send: Send) -> None:
        execution = self.context.execution
        if distributed.get_rank() > 0:
            execution = execution.model_copy(update={"tensorboard": None})
        context = replace(self.context, execution=execution, progress=ForwardedProgress(send))
        with computing(context.device, execution.deterministic, context.counts):
            self.work(context)
        send(_Counted(context.counts))


@dataclass(frozen=True)
class _Counted:
    """Counts for the manifest."""

    counts: Mapping[str, Any]
