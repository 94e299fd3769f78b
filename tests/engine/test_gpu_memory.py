"""A GPU with too little memory in the middle of a stage: one line with what takes less, and the command goes on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from data_contracts.store import Store
from stages.conditional import conditional
from stages.prediction import ceiling, prediction
from stages.prm import prm_classifier
from tests.engine.toy_stages import SCHEMA, SHARD, TRAINING, Compute, ShardConfig, TrainingConfig
from wsis.engine import training
from wsis.engine.gpu_memory import gpu_memory_refused
from wsis.engine.per_image import write_records
from wsis.engine.progress import Progress
from wsis.engine.settings import Execution
from wsis.engine.stage import Artefact, Stage, StageContext, execute
from wsis.errors import GpuMemoryError
from wsis.runs.config import load_config

SAID = "CUDA out of memory. Tried to allocate 20.00 MiB"
ERROR = torch.OutOfMemoryError(
    f"{SAID}. GPU 0 has a total capacity of 23.64 GiB of which 14.81 MiB is free. If reserved but unallocated "
    "memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
TITLE_SAYS = rf": the GPU has too little memory \({SAID}\): use "


class Full(Compute):
    """Records, until an image for which a GPU has no memory."""

    def __call__(self, ids: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        for image_id in ids:
            if image_id == self.config.fail_at:
                raise ERROR
            yield from super().__call__([image_id])


def run_full(inputs: Mapping[str, Artefact], config: ShardConfig, context: StageContext) -> None:
    ids = [f"img{i:03d}" for i in range(config.images)]
    write_records(context, SCHEMA, ids, Full(config), context.execution.workers, SHARD)


FULL = Stage("toy_full", 1, ShardConfig, run_full, (), "toy", per_image=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_images_that_a_gpu_has_no_memory_for(workers: int, tmp_path: Path) -> None:
    store, execution = Store(tmp_path), Execution(device="cpu", workers=workers)
    with pytest.raises(GpuMemoryError, match=rf"^toy_full{TITLE_SAYS}--set execution\.workers=1, ") as raised:
        execute(
            FULL, ShardConfig(fail_at="img020"), {}, store, execution=execution, progress=Progress(quiet=True)
        )
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 250
    said: list[str] = []
    progress = Progress(quiet=True)
    with mock.patch.object(progress, "log", said.append):
        execute(FULL, ShardConfig(), {}, store, execution=execution, progress=progress)
    assert "toy_full: 16 of 40 images are there already" in said


def test_a_training_goes_on_from_the_step_before(tmp_path: Path) -> None:
    def seed(*key: int) -> None:
        if key[-1] == 30:
            raise ERROR
        plain(*key)

    plain, store, said = training.seed_everything, Store(tmp_path), []
    stage, progress = replace(TRAINING, less_gpu_memory="a smaller batch"), Progress(quiet=True)
    one = Execution(device="cpu", checkpoint_seconds=1e-6)
    with (
        mock.patch.object(training, "seed_everything", seed),
        pytest.raises(GpuMemoryError, match=rf"^toy_training{TITLE_SAYS}a smaller batch, or "),
    ):
        execute(stage, TrainingConfig(), {}, store, execution=one, progress=progress)
    with mock.patch.object(progress, "log", said.append):
        execute(stage, TrainingConfig(), {}, store, execution=one, progress=progress)
    assert "toy_training: resumes at step 30" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (str(ERROR), SAID),
        (
            f"conditional@1: a training process failed:\nrank 1: Traceback\n  torch.OutOfMemoryError: {ERROR}",
            SAID,
        ),
        ("CUDA error: out of memory\nCUDA kernel errors might be reported", "CUDA error: out of memory"),
        (
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "CUBLAS_STATUS_ALLOC_FAILED",
        ),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", None),
        ("CUDA error: device-side assert triggered", None),
    ],
)
def test_what_cuda_and_its_libraries_say(text: str, said: str | None) -> None:
    assert gpu_memory_refused(RuntimeError(text)) == said


@pytest.mark.parametrize(
    ("stage", "setting", "equal"),
    [
        (conditional.STAGE, "conditional.checkpointing=true", True),
        (prediction.STAGE, "prediction.gradient_accumulation=2", False),
        (prediction.STAGE, "prediction.precision=bfloat16", False),
        (ceiling.STAGE, "prediction.gradient_accumulation=2", False),
        (prm_classifier.STAGE, "prm_classifier.batch_size=2", False),
    ],
)
def test_what_takes_less_is_a_setting_and_says_where_a_run_asks_for_replace(
    stage: Stage, setting: str, equal: bool
) -> None:
    key = setting.partition("=")[0]
    (said,) = [one for one in stage.less_gpu_memory.split(" or, ") if key in one]
    assert ("--replace" in said) != equal
    before, now = (getattr(load_config("demo", one), key.partition(".")[0]) for one in ((), (setting,)))
    assert (before.identity() == now.identity()) == equal
