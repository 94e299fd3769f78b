"""The Prefect flow `wsis`, deployment `full-training`: all stages through the outer iterations."""

from typing import Any

from prefect import flow

from data_contracts.store import Store
from flows.artifacts import publish_pictures, publish_report, publish_results
from flows.tasks import PrefectProgress, failing_in_one_line, log_store, prefect_walk, recording_cancellation
from wsis.engine.stage import Outcome
from wsis.runs.config import load_config
from wsis.runs.plan import Node
from wsis.runs.runner import Runner


@flow(name="wsis", flow_run_name="{run_name}", persist_result=False)
@failing_in_one_line
def full_training(
    config: str = "demo",
    run_name: str = "demo",
    overrides: list[str] | None = None,
    seed: int | None = None,
    store: str | None = None,
    replace: bool = False,
) -> list[dict[str, Any]]:
    """Run a configuration to the end; what is intact in the store is reused.

    Args:
        config: name of a shipped configuration, or path of a YAML file on the worker.
        run_name: name of the run; the same name goes on with an interrupted run.
        overrides: `dotted.key=value` items.
        seed: overrides the configuration's seed.
        store: folder or URL, such as s3://BUCKET/PATH; default the worker's WSIS_STORE, else ./runs.
        replace: go on under the name of a run of other settings or data, which is else refused.

    Returns:
        The rows of results, as `wsis results --json` prints them.
    """
    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    opened = Store(store)
    log_store(opened)
    runner = Runner(
        opened,
        run_name,
        load_config(config, changes),
        config_name=config,
        replace=replace,
    )

    progress = runner.progress = PrefectProgress(run_name)
    computed: list[str] = []

    def after(node: Node, outcome: Outcome) -> None:
        progress.of_run(runner.share_done())
        if not outcome.reused:
            computed.append(node.key)
        if node.stage.name == "evaluation":
            publish_results(runner, progress.log)
        if not outcome.reused:
            publish_pictures(runner, node.key, progress.log)

    with recording_cancellation(runner):
        runner.run(after=after, walk=prefect_walk)
    publish_report(runner, bool(computed), progress)
    return publish_results(runner, progress.log)
