"""What the benchmarks of the conditional distribution take from a run that evaluates."""

from data_contracts.schemas import GROUND_TRUTH, SEEDS
from data_contracts.store import Store
from wsis.engine.stage import Artefact
from wsis.views.run import Run, spread


def artefacts_of_run(store: str, run: str, *more: str) -> dict[str, Artefact]:
    """Data set, proposals, seeds, ground truth and `more` keys of a run, every one hashed as it is opened."""
    opened = Run.load(Store(store), run)
    keys = ("dataset", "proposals", "prm_seeds", "ground_truth", *more)
    return {key: opened.artefact(key) for key in keys}


def labelled_images(inputs: dict[str, Artefact], images: int) -> list[str]:
    """At most so many training images with masks, evenly spread."""
    trained = set(inputs["prm_seeds"].records(SEEDS).ids)
    return spread([i for i in inputs["ground_truth"].records(GROUND_TRUTH).ids if i in trained], images)
