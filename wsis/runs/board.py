"""What is shown of a run as it goes: pictures of pseudo labels and predictions, and their scores, by outer iteration;
losses of trainings that are done.

Beside the store, wherever `execution` says. No result depends on it, nor on whether it can be shown.
"""

import json
from collections.abc import Callable
from functools import cached_property, partial
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data_contracts.printable import one_line
from data_contracts.store import Artefact
from wsis.engine.stage import Outcome
from wsis.engine.training import CURVE_NAME
from wsis.reporting.pictures.stage_pictures import sheet, stage_pictures
from wsis.reporting.tables.results import result_of, scores_of
from wsis.runs.board_backends import Backend, Shown, TensorBoard
from wsis.runs.board_trackers import Mlflow, Wandb
from wsis.runs.config import RunConfig
from wsis.runs.plan import Node
from wsis.runs.settings_text import settings_of
from wsis.views.run import Run


class Board:
    """Called after each node; shows its pictures, scores or losses.

    Args:
        config: of the run; its section `execution` says where it is shown, nowhere by default.
        say: gets a line for each service that shows the run, with its address.
        warn: gets a line when a service fails. The run goes on, and that service is not used again.
    """

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._run, self._warn = run, warn
        data, execution = run.record.data, config.execution
        settings = {one.key: one.value for one in settings_of(config) if one.changes_results}
        shown = Shown.of(run.name, settings, {} if data is None else data.digests)
        self._places: list[Backend] = []
        if execution.tensorboard is not None:
            self._places.append(TensorBoard(execution.tensorboard, shown))
        if execution.mlflow is not None:
            self._places.append(Mlflow(execution.mlflow, shown, say))
        if execution.wandb is not None:
            self._places.append(Wandb(execution.wandb, shown, say))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for place in [*self._places]:
            self._trying(place, "the rest", partial(place.close, error is not None))

    def __call__(self, node: Node, outcome: Outcome) -> None:
        sight = _Sight(self._run, node, outcome.artefact)
        for place in [*self._places]:
            self._trying(place, f"{node.key} and what comes after it", partial(sight.show, place))

    def _trying(self, place: Backend, what: str, show: Callable[[], None]) -> None:
        try:
            show()
        except Exception as error:  # a run must not fail because it cannot be shown
            self._warn(f"{place.setting}: {what} is not shown: {type(error).__name__}: {one_line(error)}")
            self._places.remove(place)


class _Sight:
    """What can be shown of one node; pictures are drawn once for all services."""

    def __init__(self, run: Run, node: Node, artefact: Artefact) -> None:
        self._run, self._node, self._artefact = run, node, artefact

    def show(self, place: Backend) -> None:
        node, fingerprint = self._node, self._artefact.fingerprint
        iteration = node.outer_iteration or 0
        if node.stage.name != "evaluation" and not self._is_training and self._picture is None:
            return
        if not place.lacks(node.key, fingerprint):
            return
        if node.stage.name == "evaluation":
            place.scores(self._scores, iteration)
        elif self._is_training:
            place.losses(node.key, json.loads(self._artefact.file(CURVE_NAME).read_text()))
        elif self._picture is not None:
            place.picture(node.name, self._picture, iteration)
        place.done(node.key, fingerprint)

    @property
    def _is_training(self) -> bool:
        return CURVE_NAME in self._artefact.manifest.files

    @property
    def _scores(self) -> dict[str, float]:
        row = result_of(self._run, self._node.key)
        return {f"{row['kind']}/{name}": score for name, score in scores_of(row).items() if score is not None}

    @cached_property
    def _picture(self) -> NDArray[np.uint8] | None:
        pictures = stage_pictures(self._run, self._node.key)
        return sheet(pictures, f"{self._run.name}: {self._node.key}") if pictures else None
