"""The shipped model made to fit the training objects: anchors by their sizes, limit of detections by their number."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.prediction.settings import PredictionConfig, config_file, model_spec
from wsis.method.prediction.data.training_images import PseudoLabelSource

# By growing cost: +23 % time a step with P2. Other models are left alone.
FITTED = ("mask_rcnn_lite0_fpn", "mask_rcnn_lite0_fpn_p2", "mask_rcnn_lite0_fpn_p2_small")
# Begins names of counts of the manifest, from which later outer iterations take the choice with the weights.
COUNT = "fit"
_ENOUGH = 0.9  # share of the objects that anchors must reach
_ROOM = 1.5  # detections for each object of the fullest training image
_DETECTIONS, _STEP, _MOST = 100, 100, 500


@dataclass(frozen=True)
class Fit:
    """What was chosen.

    Attributes:
        model: a file of configs/mmdet by name, or a path.
        detections: the most of an image; None: the file's own limit.
        grounds: what the choice rests on, for the manifest; empty where there was nothing to choose.
    """

    model: str
    detections: int | None = None
    grounds: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, config: PredictionConfig, classes: tuple[str, ...]) -> Any:
        """The run's part of the MMDetection config, a `PredictionSpec`."""
        return model_spec(config, classes, self.detections)

    def counts(self) -> dict[str, Any]:
        """For the manifest: empty, or the choice and its grounds."""
        if not self.grounds:
            return {}
        said = {"model": self.model, "detections": self.detections, **self.grounds}
        return {f"{COUNT}_{name}": value for name, value in said.items()}

    def said(self) -> str:
        """The choice in one line."""
        reached = ", ".join(f"{share:.0%} by {name}" for name, share in self.grounds["reached"].items())
        return (
            f"training objects have {self.grounds['median_side']:g} pixels at the network's scale (median side), at "
            f"most {self.grounds['most_objects']:g} an image; anchors reach {reached}: model {self.model}, at most "
            f"{self.detections} detections an image"
        )


def fit_before(counts: Mapping[str, Any], config: PredictionConfig) -> Fit:
    """The choice of the outer iteration before, from the counts of its manifest; the configured model for an artefact
    that was made before there was a choice."""
    found = {k.removeprefix(f"{COUNT}_"): v for k, v in counts.items() if k.startswith(f"{COUNT}_")}
    if config.model != FITTED[0] or not found:
        return Fit(config.model)
    return Fit(found.pop("model"), found.pop("detections"), found)


def fitted(config: PredictionConfig, source: PseudoLabelSource) -> Fit:
    """The first model whose anchors reach most objects; the configured one where that is not `FITTED[0]`."""
    if config.model != FITTED[0]:
        return Fit(config.model)
    from wsis.method.prediction.config import anchors_of, plain_config
    from wsis.method.prediction.object_sizes import object_sizes, reached_share

    spec = model_spec(config, source.classes)
    objects = object_sizes(source, spec.image_scale)
    if not len(objects.width):
        return Fit(config.model)
    reached = {}
    for model in FITTED:
        reached[model] = reached_share(objects, anchors_of(plain_config(config_file(model), spec)))
        if reached[model] >= _ENOUGH:
            break
    wanted = math.ceil(_ROOM * objects.most / _STEP) * _STEP
    grounds = {
        "reached": {name: round(share, 4) for name, share in reached.items()},
        "median_side": round(objects.median, 1),
        "most_objects": round(objects.most, 1),
    }
    return Fit(model, min(max(wanted, _DETECTIONS), _MOST), grounds)
