"""What the flows share: the only Prefect task (a node of the plan), how they end, and what they publish."""

import functools
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import get_client, get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Failed, State

from data_contracts.errors import ContractError
from data_contracts.printable import printable
from data_contracts.store import Store
from wsis.engine.progress import Progress
from wsis.engine.stage import Outcome
from wsis.errors import WsisError
from wsis.reporting.tables.results import results_of
from wsis.reporting.tables.tables import COCO, THRESHOLDS
from wsis.runs.plan import Node
from wsis.runs.runner import Runner
from wsis.views.run import Run

_UPDATE_SECONDS = 5.0
_ON_PURPOSE = (ContractError, WsisError)
P = ParamSpec("P")
R = TypeVar("R")


def failing_in_one_line(body: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """The body of a flow or task whose errors on purpose are its state's message, without tracebacks in the logs."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            return body(*args, **kwargs)
        except _ON_PURPOSE as error:
            for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):  # who log it again
                logging.getLogger(name).addFilter(_without_traceback)
            return Failed(message=str(error), data=error)

    return run


def _without_traceback(record: logging.LogRecord) -> bool:
    """A filter that lets all pass: an error on purpose is its line, and no error has no traceback."""
    if record.exc_info:
        error = record.exc_info[1]
        if isinstance(error, _ON_PURPOSE):
            record.msg, record.args, record.exc_info = str(error), (), None
        elif error is None:
            record.exc_info = None
    return True


@task(name="stage", task_run_name="{key}", cache_policy=NO_CACHE, persist_result=False)
@failing_in_one_line
def stage_task(key: str, work: Callable[[], Outcome]) -> Outcome:
    """Execute one node. Reuse is decided by the store, never by Prefect's cache."""
    return work()


def prefect_wrap(node: Node, work: Callable[[], Outcome]) -> Outcome:
    """`wrap` of `Runner.run`: each node is a task run."""
    ended = stage_task(node.key, work)
    if isinstance(ended, State):
        ended.result()  # raises the error that it failed with
        raise RuntimeError(f"{node.key}: expected a failed state, got {ended.name}")
    return ended


@contextmanager
def recording_cancellation(runner: Runner) -> Iterator[None]:
    """A run that ends inside because its flow run is cancelled is recorded so."""
    try:
        yield
    except TerminationSignal:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(flow_run.id)).state
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            runner.cancelled()
        raise


def log_store(store: Store) -> None:
    """Say in the flow run's log where its artefacts lie."""
    where = store.location if "://" in store.location else Path(store.location).resolve()
    get_run_logger().info(f"store: {where} (for `wsis results` and all other commands: --store {where})")


class PrefectProgress(Progress):
    """Progress that also writes to the flow run's log and keeps a progress artifact for each long piece."""

    def __init__(self, run_name: str) -> None:
        super().__init__([self._update])
        self._run_name = run_name
        self._artifacts: dict[str, tuple[UUID, float]] = {}

    def log(self, message: str) -> None:
        get_run_logger().info(printable(message))

    def _update(self, description: str, share: float) -> None:
        now, percent = time.monotonic(), round(100 * min(1.0, share), 1)
        known = self._artifacts.get(description)
        if known is None:
            created = create_progress_artifact(
                percent,
                key=artifact_key(self._run_name, description),
                description=f"{self._run_name}: {description}",
            )
            if isinstance(created, UUID):
                self._artifacts[description] = (created, now)
        elif now - known[1] >= _UPDATE_SECONDS or share >= 1.0:
            update_progress_artifact(known[0], percent)
            self._artifacts[description] = (known[0], now)


def artifact_key(*parts: str) -> str:
    """A key Prefect accepts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(("wsis", *parts)).lower()).strip("-")


def publish_results(run: Run) -> list[dict[str, Any]]:
    """Write VOC mAP and COCO AP of everything evaluated so far as a Prefect table artifact."""
    rows = results_of(run)
    table = [
        {
            "kind": row["kind"],
            "outer iteration": row["outer_iteration"] if row["outer_iteration"] is not None else "-",
            "split": row["split"],
            **{f"mAP {t}": _percent(row["mAP"][t]) for t in THRESHOLDS},
            **{f"COCO {m}": _percent(row.get("coco", {}).get(m)) for m in COCO},
        }
        for row in rows
    ]
    create_table_artifact(
        table,
        key=artifact_key(run.name, "results"),
        description=f"VOC mAP^r and COCO AP of run {run.name}",
    )
    return rows


def _percent(value: float | None) -> float | str:
    return "-" if value is None else round(100 * value, 2)
