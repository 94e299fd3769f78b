"""The public Python interface: `import wsis`, then `wsis.open_run(...)`. docs/python.md shows it at work.

Every error raised on purpose is a `data_contracts.errors.ContractError` or a `wsis.errors.WsisError` with one line of
text, as the commands print it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import RecordReader
from data_contracts.schemas import SCHEMAS
from data_contracts.store import Artefact, Store
from wsis.apps import photograph_predictions, photograph_proposals
from wsis.apps.training_objects import training_objects
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.coco_ap import CocoEvaluator
from wsis.method.evaluation.instances import Detections, GroundTruth
from wsis.method.evaluation.voc_map import VocMapEvaluator
from wsis.method.masks import rle
from wsis.method.masks.network_detections import NetworkDetections
from wsis.method.masks.proposal_set import ProposalSet, Regions
from wsis.method.prediction.settings import PredictSettings
from wsis.method.prm.seeds import Seeds
from wsis.method.proposals import generate
from wsis.readers.files.folder_files import read_bytes
from wsis.readers.files.images import decode_image
from wsis.reporting.tables.results import results_of
from wsis.runs.config import load_config, stored_config, validated
from wsis.runs.runner import Runner
from wsis.views.dataset import read_image
from wsis.views.image_names import ImageNames
from wsis.views.run import Run, class_name

Image = NDArray[np.uint8] | str | Path
"""RGB uint8 [H, W, 3], or the path of a file."""
T = TypeVar("T")


class LabelSet(NamedTuple):
    """One of the distinct samples of an image's pseudo labels: n instances.

    Attributes:
        share: of the K samples, how many are equal to this one, in (0, 1].
        masks: bool [n, H, W].
        labels: int32 [n], classes 1..C.
        classes: their names.
        scores: float32 [n], score margin over the background.
    """

    share: float
    masks: NDArray[np.bool_]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    scores: NDArray[np.float32]


class ImagesOf(Generic[T]):
    """What an artefact holds of each image, read when it is asked for: `found["photo.jpg"]`.

    An image is named by its id, its name or its file name, with or without folder and ending. Iterating gives ids.
    """

    def __init__(self, records: RecordReader, names: ImageNames, make: Callable[[str], T]) -> None:
        self._records, self._names, self._make = records, names, make

    def __getitem__(self, image: str) -> T:
        """ConfigError: a text that means no image, or several. KeyError: the artefact leaves the image out."""
        image_id = self._names.chosen([image], "image")[0]
        if image_id not in self._records:
            raise KeyError(
                f"{image}: not among these {len(self)} images; negatives have no masks, and a split its own"
            )
        return self._make(image_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records.ids)

    def __len__(self) -> int:
        return len(self._records)


class OpenedRun(Run):
    """A stored run, finished or not; nothing here changes it."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.store, run.record)
        self._detectors: dict[str, Any] = {}

    def _images_of(self, artefact: Artefact, make: Callable[[dict[str, np.ndarray], str], T]) -> ImagesOf[T]:
        records = artefact.records(SCHEMAS[artefact.manifest.contract])
        return ImagesOf(records, self.names, lambda image_id: make(records[image_id], image_id))

    def image(self, image: str) -> NDArray[np.uint8]:
        """An image of the data set, RGB uint8 [H, W, 3], by its name."""
        return read_image(self.images, self.names.chosen([image], "image")[0])

    def proposals(self) -> ImagesOf[ProposalSet]:
        """The proposals of each image.

        Raises:
            ConfigError: the run has none yet; names what it has.
        """
        return self._images_of(self.artefact("proposals"), lambda record, _: ProposalSet.from_record(record))

    def seeds(self) -> ImagesOf[Seeds]:
        """The peaks of each training image. Raises: as `proposals`."""
        return self._images_of(self.artefact("prm_seeds"), lambda record, _: Seeds.from_record(record))

    def pseudo_labels(self, iteration: int | None = None) -> ImagesOf[list[LabelSet]]:
        """The distinct samples of each training image, the most frequent first, of an outer iteration (None: the last).

        Raises: as `proposals`.
        """
        proposals = self.artefact(self.proposals_key).records(SCHEMAS["proposals"])

        def sets_of(record: dict[str, np.ndarray], image_id: str) -> list[LabelSet]:
            samples = SampleSet.from_record(record)
            regions = Regions.from_record(proposals.read(image_id, Regions.FIELDS))
            return [self._label_set(samples, u, regions) for u in range(len(samples.shares))]

        return self._images_of(self.latest("pseudo_labels", iteration), sets_of)

    def _label_set(self, samples: SampleSet, index: int, regions: Regions) -> LabelSet:
        _, labels, scores = samples.unique(index)
        names = tuple(class_name(self.classes, label) for label in labels.tolist())
        return LabelSet(float(samples.shares[index]), samples.masks(index, regions), labels, names, scores)

    def predictions(self, iteration: int | None = None, split: str = "val") -> ImagesOf[NetworkDetections]:
        """What the prediction network of an outer iteration (None: the last) found in each image of a split.

        Raises: as `proposals`.
        """
        t = self.latest("prediction", iteration).manifest.outer_iteration
        found = self.artefact(f"predictions.{split}@{t}")
        return self._images_of(found, lambda record, _: NetworkDetections.from_record(record))

    def results(self) -> list[dict[str, Any]]:
        """One row per evaluated thing and outer iteration, as `wsis results --json` prints them."""
        return results_of(self)

    def predict(
        self,
        image: Image,
        iteration: int | None = None,
        score: float | None = None,
        tiles: Literal["auto", "whole"] | int | None = None,
        size: int | None = None,
    ) -> NetworkDetections:
        """Detections in one image by the network of an outer iteration (None: the last); best first.

        Args:
            score: least score of what is kept; None: as the run is configured (`predictions.score_threshold`).
            tiles: "auto": a large or long image in overlapping tiles where its objects would shrink too far; "whole":
                never; a number: tiles of so many pixels a side. None: as the run is configured, else "auto".
            size: look at the image as if its longer side had so many pixels.

        Raises:
            ConfigError: the run has no such network yet, or a value is out of its range. DataError: the file is no
                image. InputError: the array is no image.
        """
        config = photograph_predictions.chosen_tiles(stored_config(self.record).predictions)
        least = config.score_threshold if score is None else score
        given = {"tiles": tiles, "size": size}
        changes = {name: value for name, value in given.items() if value is not None}
        tree = {**config.model_dump(), **changes, "score_threshold": min(least, config.score_threshold)}
        settings = validated(PredictSettings, tree, "predict")
        found: NetworkDetections = self._detector(iteration).predict([_pixels(image)], settings)[0]
        return found.sure(least)

    def _detector(self, iteration: int | None) -> Any:
        """Built once for each outer iteration; MMDetection takes seconds to import."""
        from wsis.method.prediction.config import from_json
        from wsis.method.prediction.inference import load_detector

        trained = self.latest("prediction", iteration)
        if trained.fingerprint not in self._detectors:
            device = str(stored_config(self.record).execution.torch_device())
            model, weights = from_json(trained.file("model.json").read_text()), trained.file("weights.pth")
            objects = training_objects(self, trained)
            self._detectors[trained.fingerprint] = load_detector(model, weights, device, objects=objects)
        return self._detectors[trained.fingerprint]


def open_run(name: str, store: str | Path | None = None) -> OpenedRun:
    """A stored run.

    Args:
        store: folder or URL; None: $WSIS_STORE, else ./runs.

    Raises:
        ArtefactMissingError: no such run; names those that exist. CorruptArtefactError: its record is damaged.
    """
    return OpenedRun(Run.load(Store(store), name))


def train(
    config: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    data_root: str | Path | None = None,
    name: str | None = None,
    store: str | Path | None = None,
) -> OpenedRun:
    """Run all stages of a configuration, as `wsis run` does; what is intact in the store is reused.

    Args:
        config: a shipped configuration (`wsis configs`) or a YAML file.
        settings: dotted key -> value, as `--set`: {"outer_iterations": 2}.
        data_root: folder of the data, `data.root`.
        name: of the run; None: the configuration's.
        store: as :func:`open_run`.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong; or the name is that of another run.
        DataError: the data is not at hand, or wrong.
    """
    asked = {**({} if data_root is None else {"data.root": str(data_root)}), **(settings or {})}
    overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in asked.items()]
    runner = Runner(
        Store(store),
        name or Path(config).stem,
        load_config(str(config), overrides),
        config_name=str(config),
    )
    runner.run()
    return OpenedRun(runner)


def generate_proposals(image: Image, **settings: Any) -> ProposalSet:
    """Segmentation proposals of a photograph, best first: no labels, no training.

    Args:
        settings: keys of the section `proposals` of a configuration: num_proposals=100.

    Raises:
        ConfigError: naming key, expected and got for everything that is wrong.
        DataError: the file is no image.
    """
    made = validated(photograph_proposals.Settings, {"proposals": settings}, "generate_proposals")
    return generate(_pixels(image), made.proposals)


class Instances(NamedTuple):
    """Instances of one image: masks bool [n, H, W], labels int [n] (1..C), scores float [n] (None: a truth's)."""

    masks: NDArray[np.bool_]
    labels: NDArray[np.integer]
    scores: NDArray[np.floating] | None = None


def evaluate_masks(pairs: Iterable[tuple[Instances, Instances]], classes: Iterable[str]) -> dict[str, Any]:
    """VOC mAP^r and COCO AP of masks against the true ones, each in [0, 1], null without truth.

    Args:
        pairs: of each image what was found, with scores, and what is there.
        classes: names of the classes 1..C.

    Returns:
        `mAP` (IoU -> mean), `per_class`, `coco` (AP, AP50, ...) and `coco_per_class`, among others.

    Raises:
        InputError: sizes or lengths differ, or a label exceeds the number of classes.
    """
    named = tuple(classes)
    voc, coco = VocMapEvaluator(named), CocoEvaluator(named)
    for number, (found, true) in enumerate(pairs):
        height, width = true.masks.shape[1:]
        truth = GroundTruth((height, width), rle.encode_many(true.masks), true.labels)
        scores = np.ones(len(found.labels)) if found.scores is None else found.scores
        size = (found.masks.shape[1], found.masks.shape[2])
        detections = Detections(size, rle.encode_many(found.masks), found.labels, scores)
        voc.add_image(str(number), detections, truth)
        coco.add_image(detections, truth)
    return voc.result().as_row("masks", None, "", "") | coco.result().as_fields()


def _pixels(image: Image) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        return image
    return decode_image(read_bytes(Path(image), str(image)), str(image))
