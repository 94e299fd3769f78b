"""Configurations of earlier versions, stored or in a user's file, in the keys of this one: the one place that knows
removed keys.

A run's record and an artefact's manifest keep the configuration as it was. Where a removed key had the value that is
the only one now, it is dropped; where it had another, this version cannot do what the run did, and says so.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any

from data_contracts.errors import ConfigError

LAST_VERSION = "0.1.0 (commit ab8a9db)"
"""The last version that had the keys of `REMOVED`."""

Tree = dict[str, Any]
ANY: Collection[Any] | None = None

REMOVED: Mapping[str, Collection[Any] | None] = {
    "conditional.backbone_factor": (0.1,),
    "conditional.background_margin": (0.0,),
    "conditional.compile": (False,),
    "conditional.confident_score": ANY,  # of detection_target=confident alone
    "conditional.containment": (0.5,),
    "conditional.contrast_weight": ANY,  # of pairwise=contrast alone
    "conditional.detection_target": ("soft",),
    "conditional.flip": (True,),
    "conditional.floor": (0.05,),
    "conditional.match_iou": (0.5,),
    "conditional.max_held_back": (32,),
    "conditional.max_neighbours": (16,),
    "conditional.min_detection_score": (0.05,),
    "conditional.noise_scale": (1.0,),
    "conditional.pairwise_iterations": (3,),
    "conditional.patience": (10,),
    "conditional.seed_box_power": (4.0,),
    "conditional.seed_contour_power": (3.0,),
    "conditional.seed_top": (1,),
    "conditional.seed_split": ANY,  # the groups of seeds decide
    "conditional.separation": ("sum",),
    "conditional.separation_weight": (1.0,),
    "conditional.validate_every": (0.2,),
    "conditional.weight_decay": (1e-5,),
    "data.scenes.clutter": (4,),
    "data.scenes.max_classes": (2,),
    "data.scenes.min_share": (0.01,),
    "data.scenes.min_visible": (0.4,),
    "data.scenes.noise": (4.0,),
    "evaluation.split": ("auto",),
    "evaluation.void": ("truth",),
    "prediction.cached_records": ANY,
    "prediction.copy_paste": (0.0,),
    "prediction.unexplained_response": (0.0,),
    "predictions.split": ANY,  # of a run's nodes
    "prm_baseline.alpha": (0.8,),
    "prm_baseline.background": (0.95,),
    "prm_baseline.beta": (2.0,),
    "prm_baseline.chunk_size": ANY,
    "prm_baseline.contour_width": (5,),
    "prm_baseline.map_stride": (4,),
    "prm_baseline.max_area": (0.85,),
    "prm_baseline.min_area": (2e-5,),
    "prm_baseline.split": ("val",),
    "prm_baseline.threshold": (0.0,),
    "prm_classifier.batch_norm": ("frozen_statistics",),
    "prm_classifier.classifier_learning_rate": (2e-3,),
    "prm_classifier.frozen_blocks": (0,),
    "prm_classifier.held_back": (0.05,),
    "prm_classifier.output_stride": (32,),
    "prm_classifier.weight_decay": (1e-4,),
    "prm_classifier.window": (3,),
    "prm_seeds.chunk_size": ANY,
    "prm_seeds.map_stride": (4,),
    "prm_seeds.threshold": (0.0,),
    "proposals.max_cells": (4096,),
    "proposals.ranker_model": (None,),
    "proposals.region_contrast": (0.5,),
    "proposals.selection": ("loosening",),
    "proposals.tolerate_failures": (False,),
    "proposals.tuples_per_list": (300,),
}
"""Dotted key -> the values that mean what this version does anyway; `ANY`: whatever it was, nothing depends on it."""

GONE: Mapping[str, Collection[Any]] = {
    "conditional.direction": ("central",),
    "conditional.pairwise": ("propagate", "contrast"),
    "conditional.pooling": ("area",),
    "proposals.contour": ("structured_forests",),
    "proposals.ranking": ("learned",),
}
"""Dotted key that there still is -> its removed values."""

MOVED: Mapping[str, str] = {
    "conditional.zero_noise": "conditional.k=1",
    "prediction.gamma": "prediction.self_diversity",
    "prediction.pointwise": "prediction.self_diversity=0",
    "prediction.self_diversity_scale": "prediction.self_diversity",
    "prm_baseline.image_size": "prm_seeds.image_size",
    "prm_baseline.stop_stride": "prm_seeds.stop_stride",
    "pseudo_labels.k": "conditional.k",
    "pseudo_labels.zero_noise": "conditional.k=1",
}
"""Dotted key -> the key that says it now."""


def _one_k(tree: Tree) -> str | None:
    """K was two keys, and PW_c these and two more: zero noise with one sample."""
    conditional, labels = tree.get("conditional") or {}, tree.get("pseudo_labels") or {}
    k = conditional.get("k", 10)
    drawn = labels.pop("k", k)
    zeros = {section.pop("zero_noise", k == 1) for section in (conditional, labels)}
    if drawn != k:
        return f"pseudo_labels.k={drawn} beside conditional.k={k}"
    return None if zeros == {k == 1} else f"zero_noise={k != 1} beside k={k}"


def _one_gamma(tree: Tree) -> str | None:
    """The weight of the prediction network's own diversity was three keys."""
    section, gamma = tree.get("prediction") or {}, (tree.get("conditional") or {}).get("gamma", 0.25)
    if section.keys() & {"gamma", "self_diversity_scale", "pointwise"}:
        own, scale = section.pop("gamma", 0.5), section.pop("self_diversity_scale", 0.2)
        letter = scale == 1 and own == gamma
        weight = None if letter else (1 - own) * scale
        section["self_diversity"] = 0.0 if section.pop("pointwise", False) else weight
    return None


def _precision_by_one_name(tree: Tree) -> str | None:
    """Of the prediction network it had names of its own."""
    section = tree.get("prediction") or {}
    names = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    if section.get("precision") in names:
        section["precision"] = names[section["precision"]]
    return None


def _peaks_as_of_the_seeds(tree: Tree) -> str | None:
    """The baseline had its own keys for how the classifier is shown an image."""
    baseline, seeds = tree.get("prm_baseline") or {}, tree.get("prm_seeds") or {}
    other = None
    for name, default in (("image_size", 320), ("stop_stride", 4)):
        value, of_seeds = baseline.pop(name, None), seeds.get(name, default)
        if value is not None and value != of_seeds:
            other = f"prm_baseline.{name}={value} beside prm_seeds.{name}={of_seeds}"
    return other


CHANGED: tuple[Callable[[Tree], str | None], ...] = (
    _one_k,
    _one_gamma,
    _precision_by_one_name,
    _peaks_as_of_the_seeds,
)
"""Functions that put several removed keys as new ones, in place; each returns what it cannot put, as `key=value`."""


def became(key: str) -> str | None:
    """What a removed key became, in words; None for one that never was."""
    if key in MOVED:
        return f"removed in 0.2: use {MOVED[key]}"
    if key not in REMOVED:
        return None
    values = REMOVED[key]
    if values is None:
        return "removed in 0.2"
    value = next(iter(values))
    return f"removed in 0.2: it is always {value if isinstance(value, str) else json.dumps(value)}"


def current_config(stored: Mapping[str, Any], where: str) -> Tree:
    """A stored configuration in the keys of this version; one of this version is left as it is.

    Args:
        stored: sections of plain values, of which any may be absent.
        where: what it is the configuration of, for errors: `run demo`.

    Raises:
        ConfigError: an option was used that this version does not have; names the option and the version that has it.
    """
    tree, refused = _in_todays_keys(stored)
    for key, values in GONE.items():
        if (found := _find(tree, key)) is not None and found[0][found[1]] in values:
            refused.append(f"{key}={found[0][found[1]]!r:.100}")
    if refused:
        raise ConfigError(
            f"{where}: made by an earlier version with {', '.join(refused)}, which this one has no more; "
            f"use wsis {LAST_VERSION} for it"
        )
    return tree


def from_earlier(tree: Mapping[str, Any]) -> tuple[Tree, list[str]]:
    """A user's settings of a run, of which those of an earlier version that mean the same now are put in today's keys.

    Returns:
        The settings, and what was put otherwise, each as `old key (what to write now)`. A removed key with a value that
        this version does not have stays, for the check of the settings to refuse.
    """
    current, _ = _in_todays_keys(tree)
    left = dict(flat(current))
    return current, [
        _put_otherwise(key, tree, current) for key, _ in flat(tree) if key not in left and became(key)
    ]


def _in_todays_keys(tree: Mapping[str, Any]) -> tuple[Tree, list[str]]:
    """The settings in today's keys, and what cannot be put in them, as `key=value`: that is left as it is."""
    current, refused = deepcopy(dict(tree)), []
    for change in CHANGED:
        tried = deepcopy(current)
        if other := change(tried):
            refused.append(other)
        else:
            current = tried
    for key, same in REMOVED.items():
        if (found := _find(current, key)) is None:
            continue
        section, name = found
        if same is None or section[name] in same:
            del section[name]
        else:
            refused.append(f"{key}={section[name]!r:.100}")
    return current, refused


def _put_otherwise(key: str, tree: Mapping[str, Any], current: Tree) -> str:
    """`old key (what to write now)`, with the value where that is another too."""
    said, old, new = became(key), _find(tree, key), _find(current, MOVED.get(key, ""))
    if old is not None and new is not None and old[0][old[1]] != new[0][new[1]]:
        said = f"{said}={json.dumps(new[0][new[1]])}"
    return f"{key} ({said})"


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every setting in nested sections."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def current_section(name: str, stored: Mapping[str, Any], where: str) -> Tree:
    """As `current_config` for one section alone, such as a stage's manifest keeps it."""
    section: Tree = current_config({name: stored}, where)[name]
    return section


def _find(tree: Mapping[str, Any], key: str) -> tuple[Tree, str] | None:
    """The section that holds a dotted key, and the key's name in it; None where it is not there."""
    node: Any = tree
    *above, name = key.split(".")
    for part in above:
        node = node.get(part) if isinstance(node, dict) else None
    return (node, name) if isinstance(node, dict) and name in node else None
