"""How large the objects were that a run's prediction network was trained on. Tiles are chosen by it."""

from data_contracts.errors import ArtefactMissingError
from data_contracts.store import Artefact
from stages.prediction.prediction import StoredSource
from stages.prediction.predictions import objects_of
from stages.prediction.training import MODEL_JSON_NAME
from wsis.method.prediction.training_objects import TrainingObjects
from wsis.views.run import Run

_LABELS = ("dataset", "proposals", "pseudo_labels")


def training_objects(run: Run, trained: Artefact) -> TrainingObjects | None:
    """The sizes recorded with a network. A network of an earlier version has none: then those of its pseudo labels in
    the store; None if these are gone.

    Raises:
        CorruptArtefactError: the pseudo labels are damaged.
    """
    said, parents = objects_of(trained), trained.manifest.parents
    if said is not None or not {*_LABELS} <= {*parents}:
        return said
    from wsis.method.prediction.config import from_json, image_scale

    try:
        labels = {name: run.store.open(parents[name].stage, parents[name].fingerprint) for name in _LABELS}
    except ArtefactMissingError:
        return None
    return TrainingObjects.of(
        StoredSource(labels), image_scale(from_json(trained.file(MODEL_JSON_NAME).read_text()))
    )
