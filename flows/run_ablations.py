"""The Prefect flow `wsis`, deployment `ablations`: every run of a suite, and the table that compares them."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from data_contracts.store import Store
from flows.artifacts import artifact_key, shown_or_warned
from flows.tasks import PrefectProgress, failing_in_one_line, log_store, prefect_walk, recording_cancellation
from wsis.apps.suites import Member, load_suite, members, run_members, suite_runs
from wsis.reporting.tables.suite_table import order_lines, pseudo_label_table, suite_table
from wsis.runs.runner import Runner


@flow(name="wsis", flow_run_name="ablations-{suite}", persist_result=False)
@failing_in_one_line
def run_ablations(
    suite: str = "voc_lite",
    rows: list[str] | None = None,
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    store: str | None = None,
    replace: bool = False,
) -> list[dict[str, Any]]:
    """Run the rows of a suite one after the other; what is intact in the store is reused.

    Args:
        suite: name of a shipped suite, or path of a YAML file on the worker.
        rows: names of rows; default all.
        seeds: in place of the suite's.
        overrides: `dotted.key=value` items of every run, such as `data.root=DIR`.
        store: folder or URL, such as s3://BUCKET/PATH; default the worker's WSIS_STORE, else ./runs.
        replace: go on under the names of runs of other settings or data, which is else refused.

    Returns:
        An object a run, as `wsis ablations --json` prints them.
    """
    name, loaded = load_suite(suite)
    chosen = members(name, loaded, overrides or (), rows or (), seeds or ())
    opened = Store(store)
    log_store(opened)

    def execute(member: Member, runner: Runner) -> None:
        runner.progress = PrefectProgress(member.run_name)
        with recording_cancellation(runner):
            runner.run(walk=prefect_walk)
        runs = suite_runs(opened, chosen)
        text = "\n\n".join([suite_table(runs), pseudo_label_table(runs), *order_lines(runs, loaded.orders)])
        with shown_or_warned("the suite is", runner.progress.log):
            create_markdown_artifact(text, key=artifact_key(name, "ablations"), description=f"suite {name}")

    run_members(opened, loaded.base, chosen, execute, replace)
    return [run.to_json() for run in suite_runs(opened, chosen)]
