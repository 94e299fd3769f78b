"""What the flows share: the task of a node, how they walk a plan and end, their logs and progress."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, get_client, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import Event, Resource
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run, task_run
from prefect.states import Cancelled, Completed, Failed, State
from rich.markup import escape

from data_contracts.errors import ContractError
from data_contracts.printable import printable
from data_contracts.store import Store
from flows.artifacts import artifact_key, shown_or_warned
from wsis.engine.progress import Bar, Progress
from wsis.engine.stage import Outcome
from wsis.errors import RunEndsError, WsisError
from wsis.runs.plan import Node
from wsis.runs.runner import Runner
from wsis.runs.side_by_side import Execute, Stop

_ON_PURPOSE = (ContractError, WsisError)
P = ParamSpec("P")
R = TypeVar("R")


def failing_in_one_line(body: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """The body of a flow or task whose errors on purpose are its state's message, without tracebacks in the logs.

    What a flow fails with is an event too: of a state, `prefect deployment run --watch` prints the name alone.
    """

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            return body(*args, **kwargs)
        except _ON_PURPOSE as error:
            _show_why(str(error))
            for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):  # who log it again
                logging.getLogger(name).addFilter(_without_traceback)
            return Failed(message=str(error), data=error)
        except Exception as error:
            _show_why(f"{type(error).__name__}: {error}")
            raise

    return run


def _show_why(line: str) -> None:
    """Send the event `wsis-error` of this flow run, called by the line, before its last state; nothing in a task.

    Not by Prefect's `emit_event`: a thread sends what it takes, which may be after the state that ends `--watch`.
    """
    if flow_run.id is None or task_run.id is not None:
        return
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
        "prefect.resource.name": escape(printable(line)),
    }
    event = Event(event="wsis-error", resource=Resource(resource)).model_dump(mode="json")
    with (
        shown_or_warned("why it fails, is", get_run_logger().info),
        get_client(sync_client=True) as client,
    ):
        client.request("POST", "/events", json=[event])


def _waited_in_vain(record: logging.LogRecord) -> bool:
    """A filter that lets all pass: that a task run was not begun because the flow run ends is no error of its own."""
    if record.levelno == logging.ERROR and "NotReady(" in record.getMessage():
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
    return True


def _without_traceback(record: logging.LogRecord) -> bool:
    """A filter that lets all pass: an error on purpose is its line, and no error has no traceback."""
    if record.exc_info:
        error = record.exc_info[1]
        if isinstance(error, _ON_PURPOSE):
            record.msg, record.args, record.exc_info = str(error), (), None
        elif error is None:
            record.exc_info = None
    return True


@task(cache_policy=NO_CACHE, persist_result=False)
@failing_in_one_line
def stage_task(key: str, work: Callable[[], Outcome]) -> Outcome | State[Outcome]:
    """Execute one node. Reuse is decided by the store, never by Prefect's cache; the state's name says it."""
    try:
        outcome = work()
    except RunEndsError as error:
        return Cancelled(message=str(error))
    return (
        Completed(name="Cached", message="intact in the store", data=outcome) if outcome.reused else outcome
    )


def _task_of(node: Node) -> Task[[str, Callable[[], Outcome]], Any]:
    """Named after the stage, its runs after the node, with tags that Prefect's limits of concurrency can name."""
    tags = {"gpu" if node.stage.on_device else "cpu", node.stage.name}
    return stage_task.with_options(name=node.stage.name, task_run_name=node.key, tags=tags)


def prefect_wrap(node: Node, work: Callable[[], Outcome]) -> Outcome:
    """`wrap` of `Runner.run_stage`: each node is a task run."""
    state = _task_of(node)(node.key, work, return_state=True)
    outcome: Outcome = state.result()  # raises the error that it failed with
    return outcome


def prefect_walk(nodes: Sequence[Node], execute: Execute, stop: Stop) -> None:
    """`walk` of `Runner.run`: every node is a task that waits for those of its inputs.

    Raises:
        Exception: what the first node that fails raises. TerminationSignal: the flow run ends.
    """
    runs: dict[str, PrefectFuture[Any]] = {}
    logging.getLogger("prefect.task_runs").addFilter(_waited_in_vain)
    try:
        for node in nodes:
            inputs = [runs[key] for key in node.inputs.values() if key in runs]
            runs[node.key] = _task_of(node).submit(
                node.key, partial(execute, node), wait_for=inputs, return_state=False
            )
        wait(list(runs.values()))
    except BaseException as error:
        stop(error)
        raise
    for run in runs.values():
        if run.state.is_failed() or run.state.is_crashed():
            run.state.result()
    for key, run in runs.items():
        if not run.state.is_completed():
            raise RuntimeError(
                f"{key}: expected a completed task run, got {run.state.name}: {run.state.message}"
            )


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
    """Progress that writes to the log of the task run, and keeps one artifact: how far the run is."""

    def __init__(self, run_name: str) -> None:
        super().__init__()
        self._run_name = run_name
        self._artifact: UUID | None = None

    def log(self, message: str) -> None:
        get_run_logger().info(printable(message))

    @contextmanager
    def bar(self, total: int, description: str, unit: str = "it", initial: int = 0) -> Iterator[Bar]:
        bar = Bar(total, description, unit, initial, [], say=self.log)
        try:
            yield bar
        finally:
            bar.close()

    def of_run(self, share: float) -> None:
        """The run is so far, in [0, 1]."""
        percent = round(100 * min(1.0, share), 1)
        with shown_or_warned("how far the run is, is", self.log):
            self._show(percent)

    def _show(self, percent: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, percent)
            return
        made = create_progress_artifact(
            percent, key=artifact_key(self._run_name, "progress"), description=f"run {self._run_name}"
        )
        self._artifact = made if isinstance(made, UUID) else None
