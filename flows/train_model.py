"""The Prefect flow `wsis` for a model behind the proposals: deployments `train-contours` and `train-ranker`."""

from pathlib import Path

from prefect import flow

from data_contracts.store import Store
from flows.tasks import PrefectProgress, failing_in_one_line, log_store
from wsis.apps.model_training import Model, train


@flow(name="wsis", flow_run_name="train-{model}", persist_result=False)
@failing_in_one_line
def train_model(model: Model, data: str, overrides: list[str] | None = None, store: str | None = None) -> str:
    """Train the contour network or the ranker; an interrupted training goes on where it stopped.

    Args:
        data: folder with images/SPLIT/ID.jpg and boundaries/SPLIT/ID.png on the worker.
        overrides: `train_contours.KEY=VALUE` or `train_ranker.KEY=VALUE`, `execution.KEY=VALUE`, `seed=N` items.
        store: folder or fsspec URL; default the worker's WSIS_STORE, else ./runs.

    Returns:
        The model file, for `proposals.contour_model` or `proposals.ranker_model`.
    """
    opened = Store(store)
    log_store(opened)
    progress = PrefectProgress(f"train-{model}")
    return str(train(model, Path(data), opened, overrides or (), progress=progress).model)
