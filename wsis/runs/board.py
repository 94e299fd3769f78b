"""What TensorBoard shows of a run as it goes: pictures of pseudo labels and predictions, and their scores, by outer
iteration.

Beside the store, in DIR/runs/NAME of `execution.tensorboard`. A run that goes on shows all of it anew, and what was
there before no more.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from wsis.engine.stage import Outcome
from wsis.reporting.pictures.stage_pictures import as_jpeg, sheet, stage_pictures
from wsis.reporting.tables.results import result_of, scores_of
from wsis.runs.plan import Node
from wsis.views.run import Run

if TYPE_CHECKING:  # an optional extra
    from torch.utils.tensorboard import FileWriter, SummaryWriter


class Board:
    """Called with each node that is done; shows what there is to see of it.

    Args:
        folder: `execution.tensorboard`; None: nothing is shown.
        warn: gets a line where something cannot be shown. The run goes on, and nothing more is shown.
    """

    def __init__(self, run: Run, folder: Path | None, warn: Callable[[str], None]) -> None:
        self._run, self._folder, self._warn = run, folder, warn
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if "_writer" in vars(self):
            self._trying("the rest", self._writer.close)

    def __call__(self, node: Node, _: Outcome) -> None:
        if self._folder is not None and not self._failed:
            self._trying(f"{node.key} and what comes after it", lambda: self._show(node))

    def _trying(self, what: str, show: Callable[[], None]) -> None:
        try:
            show()
        except Exception as error:  # a run does not end for want of a picture
            if not self._failed:
                why = " ".join(str(error).split())
                self._warn(f"execution.tensorboard: {what} is not shown: {type(error).__name__}: {why}")
            self._failed = True

    def _show(self, node: Node) -> None:
        step = node.outer_iteration or 0
        if node.stage.name == "evaluation":
            row = result_of(self._run, node.key)
            for name, score in scores_of(row).items():
                if score is not None:
                    self._writer.add_scalar(f"{row['kind']}/{name}", score, step)
        elif pictures := stage_pictures(self._run, node.key):
            self._add_picture(node, sheet(pictures, f"{self._run.name}: {node.key}"), step)
        else:
            return
        self._writer.flush()

    def _add_picture(self, node: Node, picture: NDArray[np.uint8], step: int) -> None:
        """As JPEG: `SummaryWriter.add_image` makes a PNG, which is many times as large for photographs."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, channels = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=as_jpeg(picture)
        )
        shown = Summary(value=[Summary.Value(tag=node.name, image=image)])
        cast("FileWriter", self._writer.file_writer).add_summary(shown, step)

    @cached_property
    def _writer(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        purged = 0  # what an earlier try has shown, from this step on
        return SummaryWriter(f"{self._folder}/runs/{self._run.name}", purge_step=purged)
