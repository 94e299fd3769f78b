"""What every stage's configuration shares, and where and how a stage is executed."""

import os
import re
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_contracts.errors import ConfigError
from data_contracts.printable import one_line
from wsis.engine.scalars import why_unwritable
from wsis.errors import ClusterError
from wsis.method.placement import gpus_beside
from wsis.method.settings import Settings

_ADDRESS = re.compile(r"(tcp|tls)://(?P<host>[^/\s:\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")

_CODE = re.compile(r"(sm|compute)_(\d+)(\d)")  # of torch.cuda.get_arch_list: kind, major, minor

_GREETING = b"pickle-protocol"
CONNECT_SECONDS = 30.0
WITHOUT_CLUSTER = "without a cluster: --set execution.cluster=null"


def execution_only(default: Any = ..., **kwargs: Any) -> Any:
    """A config field that changes where or how fast a stage runs but not its result: not in the fingerprint."""
    return Field(default, json_schema_extra={"execution_only": True}, **kwargs)


class StageConfig(Settings):
    """Base of all stage configurations: unknown keys are refused, values are frozen."""

    def identity(self) -> dict[str, Any]:
        """The configuration as JSON without execution-only fields."""
        return identity_fields(self)


def identity_fields(model: BaseModel) -> dict[str, Any]:
    """A model as JSON without the execution-only fields of itself and of models inside."""
    dumped = model.model_dump(mode="json")
    return {
        name: _plain(getattr(model, name), dumped[name])
        for name, info in type(model).model_fields.items()
        if not (isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("execution_only"))
    }


def _plain(value: Any, dumped: Any) -> Any:
    """`dumped`, the JSON of `value`, without the execution-only fields of models anywhere inside."""
    if isinstance(value, BaseModel):
        return identity_fields(value)
    if isinstance(value, Mapping) and isinstance(dumped, dict):
        return {k: _plain(v, d) for (k, d), v in zip(dumped.items(), value.values(), strict=True)}
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_plain(v, d) for v, d in zip(value, dumped, strict=True)]
    return dumped


class Execution(BaseModel):
    """Where and how to run; never part of a fingerprint, but for threads of a training on the CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|cuda:(0|[1-9]\d{0,2}))$",
        examples=["auto", "cpu", "cuda", "cuda:1"],
        description="auto, cpu, cuda or cuda:N; auto: CUDA where there is some",
    )
    workers: int = Field(
        default=2,
        ge=1,
        le=256,
        description="processes for work on images, and to prepare the next steps of trainings",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="threads of the arithmetic of each training process; on the CPU another number is another result",
    )
    deterministic: bool = Field(
        default=False,
        description="on CUDA, sums in one order where torch has a way to: slower; the CPU always has one",
    )
    cores: int = Field(
        default=1,
        ge=1,
        le=4096,
        description="cores of stages side by side, each in a process of its own; 1: one stage after the other",
    )
    timeouts: dict[str, float] = Field(
        default={}, description="stage -> most seconds that it may take; it is ended then, as Ctrl-C does"
    )
    cluster: str | None = Field(
        default=None,
        description="address of a Dask scheduler, tcp://HOST:PORT: its workers take the work on images, shard by shard",
    )
    shard_images: int = Field(default=64, ge=1, le=4096, description="images a shard: what a kill can cost")
    checkpoint_seconds: float = Field(default=60.0, gt=0, description="time between training checkpoints")
    tensorboard: Path | None = Field(
        default=None, description="folder for TensorBoard's event files: trainings, pictures, scores"
    )
    mlflow: str | None = Field(
        default=None,
        min_length=1,
        description="address of an MLflow server, or a folder for its database: losses, pictures, scores",
    )
    wandb: str | None = Field(
        default=None,
        pattern=r"^([^/\\#?%:\s]+/)?[^/\\#?%:\r\n]{1,128}$",
        examples=["PROJECT", "ENTITY/PROJECT"],
        description="project of Weights & Biases, PROJECT or ENTITY/PROJECT: losses, pictures, scores",
    )

    def on(self, given: int | None) -> "Execution":
        """The same with so many processes for work on images; None: as it is."""
        return self if given is None else self.model_copy(update={"workers": min(self.workers, given)})

    def check(self) -> None:
        """Fail before any work where this machine cannot execute like that.

        Raises:
            ConfigError: CUDA, TensorBoard, MLflow, W&B or a cluster is asked for and there is none; this torch has no
                code for the GPU; or TensorBoard's folder cannot be written.
        """
        _check_code(self.torch_device())
        if self.cluster is not None and find_spec("distributed") is None:
            raise ConfigError(
                f"execution.cluster: expected the package distributed because it is {self.cluster!r}, but it is not "
                "installed: pip install 'wsis[cluster]', here and where the workers are"
            )
        for package in ("tensorboard", "mlflow", "wandb"):
            if (asked := getattr(self, package)) is not None and not _is_installed(package):
                raise ConfigError(
                    f"execution.{package}: expected the package {package} because it is {str(asked)!r}, "
                    f"but it is not installed; install wsis[{package}], or use --set execution.{package}=null"
                )
        if self.tensorboard is not None and (why := why_unwritable(self.tensorboard)) is not None:
            raise ConfigError(
                f"execution.tensorboard: expected a folder that can be written, got {str(self.tensorboard)!r}: {why}"
            )

    def torch_device(self) -> torch.device:
        """The device to use.

        Raises:
            ConfigError: CUDA is asked for and there is none, or none of that number.
        """
        if (there := gpus_beside(self.device)) is not None:
            raise ConfigError(
                f"execution.device: expected a CUDA device because it is {self.device!r}, but torch "
                f"{torch.__version__} sees {there or 'none'}; use --set execution.device=auto"
            )
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    @field_validator("cluster")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError(f"expected tcp://HOST:PORT or tls://HOST:PORT, got {value!r}")
        return value

    @field_validator("mlflow")
    @classmethod
    def _without_secrets(cls, value: str | None) -> str | None:
        if value is not None and "@" in urlsplit(value).netloc:  # the run's record keeps it
            raise ValueError(
                "expected an address without user and password: set MLFLOW_TRACKING_USERNAME and _PASSWORD"
            )
        return value

    @field_validator("threads", mode="before")
    @classmethod
    def _one_for_records_of_before(cls, value: Any) -> Any:
        return 1 if value == 0 and value is not False else value  # 0 left the choice to OMP_NUM_THREADS


def _check_code(device: torch.device) -> None:
    """Refuse a GPU that this torch was built without code for: its first operation would fail.

    Raises:
        ConfigError: it is one, with those that there is code for.
    """
    built = torch.cuda.get_arch_list() if device.type == "cuda" else []
    codes = [(found[1], int(found[2]), int(found[3])) for one in built if (found := _CODE.match(one))]
    if not codes:
        return
    major, minor = torch.cuda.get_device_capability(device)
    binary = any(kind == "sm" and a == major and b <= minor for kind, a, b in codes)
    if not binary and not any(kind == "compute" and (a, b) <= (major, minor) for kind, a, b in codes):
        raise ConfigError(
            f"execution.device: expected a GPU that torch {torch.__version__} has code for ({', '.join(built)}), got "
            f"{torch.cuda.get_device_name(device)} (sm_{major}{minor}); install a build of torch for it, or use "
            "--set execution.device=cpu"
        )


def _is_installed(package: str) -> bool:
    """Whether it can be imported; a folder of its name, as W&B makes one, is found too, without an origin."""
    found = find_spec(package)
    return found is not None and found.origin is not None


def reach(address: str) -> None:
    """Ask whether a scheduler is at an address and greets, as Dask's do at once; Dask would wait for it without end.

    Raises:
        ClusterError: none does. ConfigError: of tls://, Dask has no certificates here.
    """
    found = _ADDRESS.fullmatch(address)
    if address.startswith("tls"):
        _check_certificates(address)
    host, port = (found["host"].strip("[]"), int(found["port"])) if found else ("", 0)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as link:
            if address.startswith("tls") or _GREETING in link.recv(1024):
                return
            raise OSError("what listens there is something else")
    except (OSError, OverflowError, UnicodeError) as error:
        raise ClusterError(
            f"execution.cluster: expected a Dask scheduler at {address}, got none: {error}; start one, or go on "
            f"{WITHOUT_CLUSTER}"
        ) from error


def _check_certificates(address: str) -> None:
    """Dask would wait a minute, and say of its own insides that they lack something."""
    from distributed.security import Security

    why = "got none"
    try:
        if Security().get_connection_args("client")["ssl_context"] is not None:
            return
    except OSError as error:  # a file that is not there, or is no certificate
        why = f"got {one_line(error)}"
    variables = ", ".join(
        f"DASK_DISTRIBUTED__COMM__TLS__{n}" for n in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
    )
    raise ConfigError(
        f"execution.cluster: expected certificates because it is {address!r}, in Dask's configuration or {variables}, "
        f"{why}"
    )


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
