"""What a run says of its device, and what it refuses on one."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from data_contracts.errors import ConfigError
from data_contracts.store import Store
from stages.prediction.settings import PredictionConfig
from tests.runs.tiny_run import RUN, TINY, done, wsis
from wsis.engine import device, shared_work
from wsis.engine.settings import Execution
from wsis.engine.shared_work import check_processes
from wsis.errors import InputError
from wsis.method.prediction.models import checked_device
from wsis.method.prediction.ops import install_ops
from wsis.views.run import Run

_OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\n"
)
_CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which NVIDIA's kernel module says its version."""
    file = tmp_path / "version"
    file.write_text(_OPEN)
    monkeypatch.setattr(device, "_DRIVER", file)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return file


@pytest.mark.parametrize(("text", "version"), [(_OPEN, "580.65.06"), (_CLOSED, "535.183.01"), ("odd", None)])
def test_version_of_the_driver(driver: Path, text: str, version: str | None) -> None:
    driver.write_text(text)
    assert device.driver_version() == version


def test_no_gpu_no_word(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.unlink()
    monkeypatch.setattr(device, "_CONTROL", driver)
    assert device.unused_gpu() is None and device.driver_version() is None


def test_a_torch_without_cuda_beside_a_gpu(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert device.unused_gpu() == (
        f"an NVIDIA GPU is here (driver 580.65.06), but torch {torch.__version__} was built without CUDA: install a "
        "build of torch for CUDA"
    )


def test_a_driver_that_is_too_old(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12020).\nUpdate it")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", refuse)
    driver.write_text(_CLOSED)
    said = device.unused_gpu()
    assert said is not None and said.endswith(
        "for CUDA 13.0 cannot use it: The NVIDIA driver on your system is too old (found version 12020)."
    )
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    assert str(device.unused_gpu()).endswith("it sees no device (CUDA_VISIBLE_DEVICES may hide it)")


def test_a_run_warns_of_a_gpu_that_it_cannot_use(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    options = ("--dry-run", "--store", tmp_path)
    assert "was built without CUDA" in done(wsis("run", TINY, *options, "--set", "execution.device=auto")).err
    asked = done(wsis("run", TINY, *options, "--set", "execution.device=cpu")).err
    assert "was built without CUDA" not in asked and "device: cpu" in asked


def test_cuda_without_operators_is_refused_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "operators", lambda: "plain")
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    with pytest.raises(
        ConfigError, match=r"because it is 'cuda', found neither: pip install 'torchvision==0.28.\*'"
    ):
        device.check_operators(torch.device("cuda"))
    device.check_operators(torch.device("cpu"))
    monkeypatch.setattr(device, "operators", lambda: "torchvision")
    device.check_operators(torch.device("cuda"))


@pytest.mark.parametrize(
    ("torch_version", "wanted"),
    [("2.11.0+cu130", "torchvision==0.26.*"), ("2.0.1", "torchvision==0.15.*"), ("3.0.0", "torchvision")],
)
def test_the_torchvision_of_a_torch(torch_version: str, wanted: str) -> None:
    assert device.matching_torchvision(torch_version) == wanted


def test_nccl_needs_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(shared_work, "shared_memory", lambda: 67e6)
    config = PredictionConfig(processes=2, batch_size=2)
    with pytest.raises(
        ConfigError, match=r"prediction.processes: .* among 2 processes, got 0.07 GB; .* --shm-size=2g"
    ):
        check_processes(config, Execution(device="cuda"), "prediction")
    monkeypatch.setattr(shared_work, "shared_memory", lambda: 2e9)
    check_processes(config, Execution(device="cuda"), "prediction")


def test_facts_of_a_gpu(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA Example")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    operators = install_ops()
    assert device.device_facts(torch.device("cuda:1")) == {
        "device": "cuda:1",
        "operators": operators,
        "gpu": "NVIDIA Example",
        "driver": "580.65.06",
        "cuda": "13.0",
    }
    assert device.device_line(torch.device("cuda:1")) == (
        f"device: NVIDIA Example (cuda:1), driver 580.65.06, torch {torch.__version__} for CUDA 13.0, operators of "
        f"{operators}"
    )


def test_stages_that_compute_on_the_device_record_it(tiny_store: Path) -> None:
    run = Run.load(Store(tiny_store), RUN)
    assert run.artefact("prediction@1", verify=False).manifest.environment["device"] == "cpu"
    assert "device" not in run.artefact("dataset", verify=False).manifest.environment


def test_sums_in_one_order_are_for_cuda_and_for_the_time_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with device.ordered_sums(torch.device("cpu"), True):
        assert not torch.are_deterministic_algorithms_enabled()
    with device.ordered_sums(torch.device("cuda"), False):
        assert not torch.are_deterministic_algorithms_enabled()
    with device.ordered_sums(torch.device("cuda"), True):
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic


class Entered(nullcontext[None]):
    """In place of torch.cuda.device: which devices were made the current one."""

    entered: ClassVar[list[str]] = []

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.entered.append(str(device))


def test_a_stage_on_the_second_gpu_is_there_with_what_names_no_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", Entered)
    monkeypatch.setattr(Entered, "entered", [])
    with device.computing(torch.device("cuda:1"), False, {}):
        assert Entered.entered == ["cuda:1"]


def test_the_peak_of_a_process_is_that_of_the_gpu_it_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.peak_gpu_memory() == 0
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=0: (0, 7)[device])
    assert device.peak_gpu_memory() == 7


@pytest.mark.parametrize(("name", "there"), [("cuda:200", 1), ("cuda:1", 1), ("cuda:255", 8), ("cuda", 0)])
def test_a_gpu_that_is_not_there(name: str, there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(ConfigError, match=rf"because it is '{name}', but torch .* sees {there or 'none'};"):
        Execution(device=name).torch_device()
    with pytest.raises(InputError, match=f"the run asks for '{name}'"):
        checked_device(name)


@pytest.mark.parametrize(
    ("built", "capability", "fits"),
    [
        (["sm_75", "sm_80", "sm_120"], (6, 1), False),
        (["sm_75", "sm_80", "sm_120"], (7, 5), True),
        (["sm_75", "sm_80", "sm_120"], (8, 9), True),  # of the same generation
        (["sm_75", "sm_80", "sm_120"], (13, 0), False),
        (["sm_75", "compute_120"], (13, 0), True),  # compiled by the driver
        (["sm_75", "compute_120"], (8, 6), False),
        (["gfx942"], (9, 4), True),  # of another make: torch knows
        ([], (6, 1), True),
    ],
)
def test_a_gpu_that_torch_has_no_code_for_is_refused(
    built: list[str], capability: tuple[int, int], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 1080")
    Execution(device="cpu").check()
    for name in ("auto", "cuda"):
        if fits:
            Execution(device=name).check()
            continue
        with pytest.raises(
            ConfigError, match=rf"{built[0]}.*got GTX 1080 \(sm_{capability[0]}{capability[1]}\)"
        ):
            Execution(device=name).check()


def test_the_peak_of_a_gpus_memory_is_counted_once_and_what_is_kept_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append("reset"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("emptied"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "device", Entered)
    counts: dict[str, int] = {}
    with device.computing(torch.device("cuda"), False, counts):
        assert asked == ["reset"]
    assert counts == {"peak_gpu_bytes": 7} and asked == ["reset", "emptied"]
    counts = {"peak_gpu_bytes": 9}  # of a process of its own
    with device.computing(torch.device("cuda"), False, counts):
        pass
    with device.computing(torch.device("cpu"), False, counts):
        pass
    assert counts == {"peak_gpu_bytes": 9}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [(None, ["0", "1", "2"]), ("4, GPU-a,7", ["4", "GPU-a", "7"]), ("5,6,7,9", ["5", "6", "7"])],
)
def test_processes_that_share_work_see_one_gpu_each_in_turn(
    listed: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    found = device.turns_of_gpus(torch.device("cuda"))
    assert [turn["CUDA_VISIBLE_DEVICES"] for turn in found] == expected
    assert device.turns_of_gpus(torch.device("cuda:1")) == device.turns_of_gpus(torch.device("cpu")) == [{}]


def test_as_many_processes_share_a_gpu_as_its_memory_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (9 * 2**30, 24 * 2**30))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    many = 10_000
    assert device.processes_on(torch.device("cuda"), 16, many) == 4
    assert device.processes_on(torch.device("cuda"), 3, many) == 3
    assert device.processes_on(torch.device("cuda"), 16, 650) == 3
    assert device.processes_on(torch.device("cuda"), 16, 100) == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.processes_on(torch.device("cuda"), 16, many) == 8
    assert device.processes_on(torch.device("cuda:1"), 16, many) == 4
    assert device.processes_on(torch.device("cpu"), 16, 100) == 16
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**20, 24 * 2**30))
    assert device.processes_on(torch.device("cuda"), 16, many) == 1


def test_a_gpu_that_few_processes_feed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsis.engine.device.cores", lambda: 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    said = device.unfed_line(Execution(device="cuda"))
    assert said is not None and "2 processes" in said and "execution.workers=14" in said
    assert device.unfed_line(Execution(device="cuda", workers=8)) is None
    assert device.unfed_line(Execution(device="cpu")) is None
