"""The interface of the services that can show a run as it goes, and TensorBoard as one of them; MLflow and W&B are in
`wsis.runs.board_trackers`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wsis.reporting.pictures.stage_pictures import as_jpeg

if TYPE_CHECKING:  # optional extras
    from torch.utils.tensorboard import FileWriter, SummaryWriter


class Shown(NamedTuple):
    """A run as a tracker knows it.

    Attributes:
        settings: dotted key -> value of all that decides the result.
        identity: 32 hexadecimal digits of name, settings and data: the run is found again by it.
    """

    name: str
    settings: Mapping[str, Any]
    identity: str

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any], data: Mapping[str, str | None]) -> "Shown":
        """The run of that name, settings and digests of data."""
        text = json.dumps([name, settings, data], sort_keys=True)
        return cls(name, settings, hashlib.sha256(text.encode()).hexdigest()[:32])


class Backend(Protocol):
    """One service that shows a run. It is connected to when it is first given something. Any method may raise anything.

    Attributes:
        setting: the key that asks for it.
    """

    setting: str

    def lacks(self, key: str, fingerprint: str) -> bool:
        """Whether the artefact of node `key` is still to be shown."""

    def losses(self, key: str, curve: Sequence[Mapping[str, float]]) -> None:
        """Show the losses of a training: one mapping a point of its curve, with the key "step"."""

    def scores(self, values: Mapping[str, float], iteration: int) -> None:
        """Show the scores of an outer iteration: name -> value in [0, 1]."""

    def picture(self, name: str, picture: NDArray[np.uint8], iteration: int) -> None:
        """Show a picture, uint8 RGB [H, W, 3], of an outer iteration."""

    def done(self, key: str, fingerprint: str) -> None:
        """Everything of the artefact of node `key` was given: send what is still buffered."""

    def close(self, failed: bool) -> None:
        """End the run's entry, as failed or finished; does nothing if nothing was ever shown."""


class TensorBoard:
    """Event files in FOLDER/runs/NAME. Losses are written by the trainings themselves (`wsis.engine.scalars`)."""

    setting = "execution.tensorboard"

    def __init__(self, folder: Path, run: Shown) -> None:
        self._folder = folder / "runs" / run.name

    def lacks(self, key: str, fingerprint: str) -> bool:  # a run that goes on shows all of it anew
        return True

    def losses(self, key: str, curve: Sequence[Mapping[str, float]]) -> None:
        return

    def scores(self, values: Mapping[str, float], iteration: int) -> None:
        for name, score in values.items():
            self._writer.add_scalar(name, score, iteration)

    def picture(self, name: str, picture: NDArray[np.uint8], iteration: int) -> None:
        """As JPEG: `SummaryWriter.add_image` makes a PNG, which is many times as large for photographs."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, channels = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=as_jpeg(picture)
        )
        shown = Summary(value=[Summary.Value(tag=name, image=image)])
        cast("FileWriter", self._writer.file_writer).add_summary(shown, iteration)

    def done(self, key: str, fingerprint: str) -> None:
        if "_writer" in vars(self):
            self._writer.flush()

    def close(self, failed: bool) -> None:
        if "_writer" in vars(self):
            self._writer.close()

    @cached_property
    def _writer(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        purged = 0  # first step whose points of an earlier try are dropped
        return SummaryWriter(str(self._folder), purge_step=purged)
