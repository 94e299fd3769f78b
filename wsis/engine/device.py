"""The device of a run: what it is called, for log and manifest, and what keeps a GPU that is there from being used."""

import gc
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from data_contracts.errors import ConfigError
from wsis.engine.settings import Execution, cores

_DRIVER = Path("/proc/driver/nvidia/version")
_CONTROL = Path("/dev/nvidiactl")
_SHARED = Path("/dev/shm")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_BYTES_A_PROCESS = 2 * 2**30  # of a GPU, for a process that predicts: context, network and one image
_IMAGES_A_PROCESS = 200


def device_facts(device: torch.device) -> dict[str, str]:
    """Name -> value: device and the backend of MMDetection's operators; of a GPU also its name, the driver, and the
    CUDA that torch was built for. Never part of a fingerprint."""
    facts = {"device": str(device), "operators": operators()}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["driver"] = driver_version() or "unknown"
        facts["cuda"] = str(torch.version.cuda)
    return facts


def device_line(device: torch.device) -> str:
    """The same in words."""
    if device.type != "cuda":
        return f"device: {device}"
    facts = device_facts(device)
    return (
        f"device: {facts['gpu']} ({device}), driver {facts['driver']}, torch {torch.__version__} for CUDA "
        f"{facts['cuda']}, operators of {facts['operators']}"
    )


def unfed_line(execution: Execution) -> str | None:
    """What to say where a GPU has few processes to prepare its work: most of an image's time is the host's."""
    there = cores()
    if execution.torch_device().type != "cuda" or execution.workers >= there // 2:
        return None
    return (
        f"{execution.workers} processes prepare work for the GPU, of {there} cores: it will wait for them; "
        f"--set execution.workers={max(1, there - 2)} feeds it"
    )


def operators() -> str:
    """The backend of MMDetection's operators. torchvision, where it is one, takes seconds to import, and most commands
    need none."""
    from wsis.method.prediction.ops import install_ops

    return install_ops()


def unused_gpu() -> str | None:
    """Why torch cannot use the NVIDIA GPU of this machine; None where it can, or where there is none."""
    if torch.cuda.is_available() or not (_DRIVER.exists() or _CONTROL.exists()):
        return None
    driver = driver_version()
    there = f"an NVIDIA GPU is here (driver {driver})" if driver else "an NVIDIA GPU is here"
    if torch.version.cuda is None:
        return f"{there}, but torch {torch.__version__} was built without CUDA: install a build of torch for CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        why = str(error).strip().splitlines()[0]
    else:
        why = "it sees no device (CUDA_VISIBLE_DEVICES may hide it)"
    return f"{there}, but torch {torch.__version__} for CUDA {torch.version.cuda} cannot use it: {why}"


def driver_version() -> str | None:
    """Of NVIDIA's kernel module, None where it does not say."""
    if not _DRIVER.exists():
        return None
    found = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", _DRIVER.read_text(errors="replace"))
    return found.group(1) if found else None


def shared_memory() -> float:
    """Bytes of /dev/shm, which containers get 64 MiB of; infinite where there is none."""
    return float(shutil.disk_usage(_SHARED).total) if _SHARED.is_dir() else math.inf


@contextmanager
def ordered_sums(device: torch.device, wanted: bool) -> Iterator[None]:
    """Inside, CUDA adds up in one order where torch has a way to, and torch warns where it has none. The CPU always
    does.

    Args:
        wanted: `execution.deterministic`; without it nothing changes.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS asks for
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]


@contextmanager
def computing(device: torch.device, deterministic: bool, counts: dict[str, Any]) -> Iterator[None]:
    """Inside, a stage computes on the device, with `ordered_sums`. At its end what torch keeps of a GPU's memory is
    given back, for the next stage and for its processes.

    Args:
        counts: of the manifest, which get `peak_gpu_bytes`, the most that tensors of this process took of a GPU, where
            it took any and no other processes have said it already.
    """
    if device.type != "cuda":
        yield
        return
    torch.cuda.reset_peak_memory_stats(device)
    try:
        # what names no device, as pinned memory and the libraries, is of the current one
        with torch.cuda.device(device), ordered_sums(device, deterministic):
            yield
        if peak := torch.cuda.max_memory_allocated(device):
            counts.setdefault("peak_gpu_bytes", peak)
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def turns_of_gpus(device: torch.device) -> list[dict[str, str]]:
    """The environment of processes that share work on a device, in turn: each sees one of the GPUs that this process
    sees. A GPU that is named by its number is taken by all of them."""
    if device.type != "cuda" or device.index is not None or (count := torch.cuda.device_count()) < 2:
        return [{}]
    listed = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",")]
    names = listed if len(listed) >= count else [str(number) for number in range(count)]
    return [{_VISIBLE: name} for name in names[:count]]


def processes_on(device: torch.device, wanted: int, images: int) -> int:
    """How many processes share the images of a stage: as many as wanted. Of a GPU one for 200 images, since each takes
    ten seconds to load CUDA, and no more than its free memory has room for, at 2 GiB each."""
    if device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    room = len(turns_of_gpus(device)) * (free // _BYTES_A_PROCESS)
    return max(1, min(wanted, room, images // _IMAGES_A_PROCESS))


def peak_gpu_memory() -> int:
    """The most bytes that tensors of this process took of a GPU until now, of whichever it used most."""
    if not torch.cuda.is_initialized():
        return 0
    return max(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))


def check_operators(device: torch.device) -> None:
    """Refuse Mask R-CNN on CUDA without operators for it: ours in plain torch are loops over regions there.

    Raises:
        ConfigError: neither a compiled mmcv nor torchvision is installed, with the command that helps.
    """
    if device.type == "cuda" and operators() == "plain":
        raise ConfigError(
            f"execution.device: expected mmcv's or torchvision's operators because it is {str(device)!r}, found "
            f"neither: pip install '{matching_torchvision(torch.__version__)}'"
        )


def matching_torchvision(torch_version: str) -> str:
    """The requirement of the torchvision that a torch goes with: 0.(15 + n) to 2.n."""
    major, minor = torch_version.split(".")[:2]
    return f"torchvision==0.{int(minor) + 15}.*" if major == "2" else "torchvision"
