"""How much work each stage of a run is, counted in images or training examples of the measured sizes.

See `wsis.runs.costs`, which knows what a unit takes.
"""

from collections.abc import Callable, Mapping

from wsis.engine.weight_selection import held_back_images
from wsis.method.prediction.tiles import choose_tiling
from wsis.runs.config import RunConfig
from wsis.runs.data_size import DataSize
from wsis.runs.plan import Node

_BOX_CANDIDATES = (0.5, 0.05)  # CPU seconds of an image with boxes, and of each of its boxes
_BOX_EXAMPLE = 0.05  # of a training example's work, for each box that takes part in its joint choice
_FINER = 4.2  # times the proposals of an image of few superpixels, which is looked at enlarged
BASE_MODEL = "mask_rcnn_lite0_fpn"
# Times a step of the prediction network, by model, and from which side (network pixels) of all but a tenth of the
# objects its anchors reach them, see `stages.prediction.fit`
MODELS: Mapping[str, tuple[float, float]] = {
    BASE_MODEL: (1.0, 17.5),
    f"{BASE_MODEL}_p2": (1.23, 8.8),
    f"{BASE_MODEL}_p2_small": (1.4, 0.0),
}
_PREPARED = 0.6  # times the work of a training example: an image's proposal graph and targets, once a stage


def images_of(node: Node, data: DataSize) -> int:
    """Images that a per-image node makes a record of."""
    split = getattr(node.config, "split", None)
    if split is not None:
        return data.train if split == "train" else data.val
    return {
        "dataset": data.images,
        "ground_truth": data.with_masks,
        "proposals": data.train + data.val,
        "prm_baseline": data.val,
    }.get(node.stage.name, data.train)


def _dataset(config: RunConfig, data: DataSize, node: Node) -> float:
    """Megapixels to decode."""
    return data.images * data.megapixels


def _ground_truth(config: RunConfig, data: DataSize, node: Node) -> float:
    """Megapixels of masks."""
    return data.with_masks * data.megapixels


def _classifier(config: RunConfig, data: DataSize, node: Node) -> float:
    """Views of 224 x 224."""
    settings, images = config.prm_classifier, data.train + data.negatives
    steps = settings.total_steps(images - settings.held_back_images(images))
    if data.alike:
        steps = min(steps, max(1, settings.warmup_steps))
    return steps * settings.batch_size * _area(settings.image_size, 224)


def _seeds(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 448 x 448."""
    return data.train * _area(config.prm_seeds.image_size, 448)


def _proposals(config: RunConfig, data: DataSize, node: Node) -> float:
    """Megapixels at the working size; those of a finer grid count for more."""
    largest = config.proposals.max_side**2 * 0.75 / 1e6  # of a 4:3 photograph
    return (data.train + data.val) * min(data.megapixels, largest) * (1 + data.smooth * (_FINER - 1))


def box_candidates(config: RunConfig, data: DataSize) -> float:
    """CPU seconds for the boxes' own proposals."""
    if config.data.supervision != "box":
        return 0.0
    return _BOX_CANDIDATES[0] * data.train + _BOX_CANDIDATES[1] * data.boxes


def _baseline(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 448 x 448."""
    return data.val * _area(config.prm_seeds.image_size, 448)


def _conditional(config: RunConfig, data: DataSize, node: Node) -> float:
    """Training examples of 256 x 256, and the images among them, each prepared once."""
    settings = config.conditional
    images = data.train - held_back_images(settings, data.train)
    examples = settings.batch_size * settings.total_steps(
        images, pretraining=(node.outer_iteration or 1) == 1
    )
    boxes = data.boxes / max(data.train, 1) if config.data.supervision == "box" else 0.0
    steps = examples * (1 + _BOX_EXAMPLE * boxes)
    return (steps + _PREPARED * min(examples, images)) * _area(settings.image_size, 256)


def _pseudo_labels(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 256 x 256."""
    return data.train * _area(config.conditional.image_size, 256)


def _prediction(config: RunConfig, data: DataSize, node: Node) -> float:
    """Training examples of 288 x 288."""
    settings = config.prediction
    if node.stage.name == "ceiling":
        steps = sum(settings.total_steps(data.train, t) for t in range(1, config.outer_iterations + 1))
    else:
        steps = settings.total_steps(data.train, node.outer_iteration)
    return steps * settings.batch_size * _area(settings.image_size, 288) * _anchors(config, data, node)


def _anchors(config: RunConfig, data: DataSize, node: Node) -> float:
    """Cost factor of the model that is trained: the configured one, or one with finer anchors where boxes or masks show
    that objects are small."""
    model, side = config.prediction.model, data.small_side * config.prediction.image_size
    told = config.data.supervision == "box" or node.stage.name == "ceiling"
    if model != BASE_MODEL or not told:
        return MODELS[model][0]
    return next(factor for factor, reached in MODELS.values() if side >= reached)


def _predictions(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images of 288 x 288: tiles, and the whole beside them. Those of `tiles: auto` are not foreseen."""
    side, settings = config.prediction.image_size, config.predictions
    one = _area(side, 288)
    if settings.tiles == "whole":
        one *= 1.0 if settings.size is None else _area(settings.size, side)
    elif settings.tiles != "auto" or settings.size is not None:
        height = (data.megapixels * 1e6 * 0.75) ** 0.5  # of a 4:3 photograph
        size = (round(height), round(height / 0.75))
        one *= 1 + len(choose_tiling(size, (side, side), settings, None).windows)
    return images_of(node, data) * one


def _evaluation(config: RunConfig, data: DataSize, node: Node) -> float:
    """Images that are compared with their masks."""
    return data.with_masks if "pseudo_labels" in node.inputs else data.val


def _area(side: int, measured: int) -> float:
    return (side / measured) ** 2


WORK: Mapping[str, Callable[[RunConfig, DataSize, Node], float]] = {
    "dataset": _dataset,
    "ground_truth": _ground_truth,
    "prm_classifier": _classifier,
    "prm_seeds": _seeds,
    "proposals": _proposals,
    "prm_baseline": _baseline,
    "conditional": _conditional,
    "pseudo_labels": _pseudo_labels,
    "prediction": _prediction,
    "ceiling": _prediction,
    "predictions": _predictions,
    "evaluation": _evaluation,
}
