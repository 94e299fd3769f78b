"""The Prefect flow `wsis` for one stage: deployments `prm-seeds`, `proposals`, `pseudo-labels`, ..."""

from prefect import flow

from data_contracts.store import Store
from flows.artifacts import publish_results
from flows.tasks import PrefectProgress, failing_in_one_line, log_store, prefect_wrap
from wsis.runs.runner import Runner


@flow(name="wsis", flow_run_name="{run_name}-{stage}", persist_result=False)
@failing_in_one_line
def run_stage(
    stage: str,
    run_name: str = "demo",
    iteration: int | None = None,
    overrides: list[str] | None = None,
    force: bool = False,
    store: str | None = None,
) -> dict[str, str]:
    """Recompute one stage of a run from its stored artefacts.

    Args:
        stage: stage or node name, `prm_seeds` or `prm-seeds`.
        iteration: outer iteration; default all that the run has computed.
        force: compute again although the artefact is intact.

    Returns:
        Key of each node -> fingerprint of its artefact.
    """
    opened = Store(store)
    log_store(opened)
    runner = Runner(opened, run_name, progress=PrefectProgress(run_name))
    done = runner.run_stage(stage, iteration, tuple(overrides or ()), force, wrap=prefect_wrap)
    if any(node.stage.name == "evaluation" for node, _ in done):
        publish_results(runner, runner.progress.log)
    return {node.key: outcome.artefact.fingerprint for node, outcome in done}
