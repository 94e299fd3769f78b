"""`wsis export`: what a run learned, in forms that need no store: a plain MMDetection model, COCO instances."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from data_contracts.atomic import write_atomic
from data_contracts.paths import safe_relative, write_file
from data_contracts.records import RecordReader
from data_contracts.schemas import DATASET, PROPOSALS, PSEUDO_LABELS, array_to_text
from data_contracts.store import Artefact
from wsis.apps.labelled_images import chosen_images, instances_of
from wsis.apps.output_paths import check_folder
from wsis.apps.training_objects import training_objects
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks import rle
from wsis.method.masks.proposal_set import Regions
from wsis.runs.runner import Runner
from wsis.views.dataset import class_names, source_categories, source_ids

MODEL_FILES = ("model.py", "weights.pth")
PSEUDO_LABELS_FILE = "pseudo_labels.json"
_VISUALIZER = (  # MMDetection's DetInferencer and image_demo.py ask for one
    "visualizer = dict(name='visualizer', type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])\n"
)
Sets = Literal["frequent", "all"]


def export_model(runner: Runner, out: Path, iteration: int | None = None) -> list[Path]:
    """Copy the network of an outer iteration (default: the last): `init_detector(model.py, weights.pth)` loads it, and
    `DetInferencer` of the same two.

    model.py says how large training objects were, so that `wsis.method.prediction.inference.load_detector` of it can
    choose tiles.

    Raises:
        ConfigError: the run has no such network. CorruptArtefactError: a file of it is damaged; named.
        StoreError: `out` cannot be written.
    """
    trained = runner.latest("prediction", iteration)
    check_folder(out)
    runner.progress.log(f"model of {runner.choice(trained, iteration)}")
    from wsis.method.prediction.config import TRAINING_OBJECTS

    objects = training_objects(runner, trained)
    said = "" if objects is None else f"{TRAINING_OBJECTS} = {objects.model_dump()!r}\n"
    for name, more in zip(MODEL_FILES, (_VISUALIZER + said, ""), strict=True):
        write_atomic(out / name, trained.file(name).read_bytes() + more.encode())
    return [out / name for name in MODEL_FILES]


def how_to_load(model: Path, weights: Path) -> str:
    """The lines of Python that load an exported model in this environment, and what another needs for it.

    The first brings the operators that MMDetection needs where mmcv is installed without compiled ones.
    """
    from wsis.method.prediction.config import wsis_backbone

    ours = wsis_backbone(model)
    also = "" if ours is None else f", with wsis installed beside it for the backbone {ours}"
    return (
        "import wsis.method.prediction  # first: operators, where mmcv has no compiled ones\n"
        "from mmdet.apis import init_detector; "
        f'model = init_detector({str(model)!r}, {str(weights)!r}, device="cpu")\n'
        f"# an MMDetection whose mmcv has compiled operators needs the second line alone{also}"
    )


def export_pseudo_labels(
    runner: Runner,
    out: Path,
    sets: Sets = "frequent",
    iteration: int | None = None,
    names: Iterable[str] = (),
    worst: int | None = None,
    with_images: bool = False,
) -> tuple[Path, int, int]:
    """Write the pseudo labels of the training images as COCO instances (run lengths).

    K samples of an image fall into distinct sets. `frequent` writes the most frequent one, `all` an image entry
    for each, so that no two samples ever lie in one image: same `file_name` and `source_image`, another `id`.
    Either way an image entry carries `multiplicity` (samples equal to this set), `weight` (that over K) and `diversity`
    (how far the K samples of its image disagree: the mean of 1 - IoU over pairs).
    Where the data set's own annotations number images and classes, the entries have those ids (`all`: as `source_id`,
    and an `id` of text, ID#1, ID#2, ...), so that none means another image of the data set.

    Args:
        names, worst: which images; see :func:`wsis.apps.labelled_images.chosen_images`.
        with_images: write the images too, below `out`/images.

    Returns:
        The file, the number of image entries and that of annotations.

    Raises:
        ConfigError: the run has no such pseudo labels, or a name means no image.
        CorruptArtefactError: they are damaged. InputError: they contradict the proposals.
        StoreError: `out` cannot be written.
    """
    labels = runner.latest("pseudo_labels", iteration)
    dataset, proposals = runner.artefact("dataset"), runner.artefact(runner.proposals_key).records(PROPOSALS)
    wanted = chosen_images(runner, labels, names, worst)
    check_folder(out)
    runner.progress.log(f"pseudo labels of {runner.choice(labels, iteration)}")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    records, data = labels.records(PSEUDO_LABELS), dataset.records(DATASET)
    numbers, categories = source_ids(dataset), _category_ids(dataset)
    for image_id in runner.progress.track(wanted, len(wanted), PSEUDO_LABELS_FILE, "img"):
        if with_images:
            name = array_to_text(data.read(image_id, ("file_name",))["file_name"])
            write_file(
                out / "images" / safe_relative(name), data.read(image_id, ("encoded",))["encoded"].tobytes()
            )
        own = numbers.get(image_id)
        found = _sets_of(image_id, records, data, proposals, sets)
        for index, (image, instances) in enumerate(found, start=1):
            identity: dict[str, Any] = {"id": len(images) + 1 if own is None else own}
            if own is not None and sets == "all":
                identity = {"id": f"{own}#{index}", "source_id": own}
            images.append({**identity, **image})
            for one in instances:
                ids = {"id": len(annotations) + 1, "image_id": identity["id"]}
                annotations.append({**ids, **one, "category_id": categories[one["category_id"]]})
    tree = {
        "info": {
            "description": "pseudo labels by wsis, learned, not drawn by people",
            "run": runner.record.name,
            "outer_iteration": labels.manifest.outer_iteration,
            "sets": sets,
            "supervision": labels.manifest.supervision,
        },
        "images": images,
        "annotations": annotations,
        "categories": [{"id": categories[j], "name": n} for j, n in enumerate(class_names(dataset), start=1)],
    }
    path = out / PSEUDO_LABELS_FILE
    write_atomic(path, json.dumps(tree, allow_nan=False).encode())
    return path, len(images), len(annotations)


def _category_ids(dataset: Artefact) -> dict[int, int | str]:
    """Class 1..C -> its id in the annotations of the training images; the class itself where they have none of it."""
    own = source_categories(dataset).get("train", {})
    names = list(enumerate(class_names(dataset), start=1))
    if any(name not in own for _, name in names):
        return {j: j for j, _ in names}
    return {j: own[name] for j, name in names}


def _sets_of(
    image_id: str, labels: RecordReader, dataset: RecordReader, proposals: RecordReader, sets: Sets
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """An image entry and its annotations for each set that is wanted; most frequent first."""
    record = labels[image_id]
    samples = SampleSet.from_record(record)
    regions = Regions.from_record(proposals.read(image_id, Regions.FIELDS))
    height, width = regions.image_size
    name = array_to_text(dataset.read(image_id, ("file_name",))["file_name"])
    for index, multiplicity in enumerate(samples.multiplicities.tolist()):
        if sets == "frequent" and index:  # they are stored most frequent first
            return
        image = {
            "file_name": name,
            "source_image": image_id,
            "height": height,
            "width": width,
            "multiplicity": multiplicity,
            "weight": multiplicity / samples.num_samples,
            "diversity": float(record["diversity"][0]),
        }
        yield image, list(_annotations(samples, index, regions))


def _annotations(samples: SampleSet, index: int, regions: Regions) -> Iterator[dict[str, Any]]:
    """Annotations of one set, see `wsis.apps.labelled_images.instances_of`."""
    size = regions.image_size
    for label, score, counts, area in instances_of(samples, index, regions):
        x1, y1, x2, y2 = rle.bbox(counts, size).tolist()
        yield {
            "category_id": label,
            "segmentation": {"size": list(size), "counts": counts.decode()},
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area,
            "iscrowd": 0,
            "score_margin": score,
        }
