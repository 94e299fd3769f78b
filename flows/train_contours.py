"""The Prefect flow `wsis`, deployment `train-contours`: the contour network behind the proposals."""

from pathlib import Path

from prefect import flow

from data_contracts.store import Store
from flows.contour_training import train
from flows.tasks import PrefectProgress


@flow(name="wsis", flow_run_name="train-contours", persist_result=False)
def train_contours(data: str, overrides: list[str] | None = None, store: str | None = None) -> str:
    """Train the contour network; an interrupted training goes on from its last checkpoint.

    Args:
        data: folder with images/SPLIT/ID.jpg and boundaries/SPLIT/ID.png on the worker.
        overrides: `train_contours.KEY=VALUE`, `execution.KEY=VALUE` or `seed=N` items.
        store: folder or fsspec URL; default the worker's WSIS_STORE, else ./runs.

    Returns:
        The model file, for `proposals.contour_model`.
    """
    progress = PrefectProgress("train-contours")
    _, model = train(Path(data), Store(store), overrides or (), progress=progress)
    return str(model)
