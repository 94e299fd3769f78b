"""The Prefect flow `wsis` for the model behind the proposals: deployment `train-contours`."""

from pathlib import Path

from prefect import flow

from data_contracts.store import Store
from flows.tasks import PrefectProgress, failing_in_one_line, log_store
from wsis.apps.model_training import train


@flow(name="wsis", flow_run_name="train-contours", persist_result=False)
@failing_in_one_line
def train_model(data: str, overrides: list[str] | None = None, store: str | None = None) -> str:
    """Train the contour network; an interrupted training goes on where it stopped.

    Args:
        data: folder with images/SPLIT/ID.jpg and boundaries/SPLIT/ID.png on the worker.
        overrides: `train_contours.KEY=VALUE`, `execution.KEY=VALUE`, `seed=N` items.
        store: folder or URL, such as s3://BUCKET/PATH; default the worker's WSIS_STORE, else ./runs.

    Returns:
        The model file, for `proposals.contour_model`.
    """
    opened = Store(store)
    log_store(opened)
    progress = PrefectProgress("train-contours")
    return str(train(Path(data), opened, overrides or (), progress=progress).model)
