"""The section on the conditional networks: how they were trained, and how much their samples differ."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_contracts.schemas import PSEUDO_LABELS
from data_contracts.store import Artefact
from wsis.reporting.page.elements import amount, note, share, terms, wide
from wsis.reporting.tables.tables import ABSENT, format_table

_TRAINING = (
    "The conditional network draws several samples of the masks of each training image: its pseudo labels. Training "
    "brings them near to their target (the seeds or boxes in iteration 1, then what the prediction network found in "
    "the iteration before), and lets them differ from one another where the target leaves doubt."
)
_TRAINING_TERMS = {
    "weights of step": "the step whose weights were kept: that with the lowest held-back loss (–: no image was held "
    "back, and the last weights were kept).",
    "held-back loss": "on a few training images that no step learned from: distance to the target, less a share γ of "
    "how much the samples differ, DIV(p,c) − γ DIV(c,c). Lower is better.",
    "stopped early": "whether training ended before its last step because the held-back loss fell no more.",
    "DIV(p,c)": "distance of the samples from their target at the end of training; the lower, the nearer.",
    "reach": "share of the samples, 0 to 1, that training could still change at its end; near 0 nothing is learned "
    "any more.",
}
_SAMPLES = "How much the samples of an image differ: where they do, the masks are in doubt and worth a look."
_SAMPLES_TERMS = {
    "diversity": "mean over pairs of an image's samples of 1 − IoU of their masks, from 0 (all the same) to 1 "
    "(nothing in common): its mean over the images, and what a tenth of them are below and above.",
    "distinct": "how many different ones the samples of an image are, on average.",
    "one set only": "images whose samples are all the same.",
}


def conditional_section(artefacts: Mapping[str, Artefact]) -> str:
    """Two tables with what their columns are; empty where there is neither a training nor a sample."""
    named = {key: a for key, a in artefacts.items() if key.split("@")[0] in ("conditional", "pseudo_labels")}
    training = [[key, *_training_cells(a)] for key, a in named.items() if a.manifest.stage == "conditional"]
    samples = [[key, *_sample_cells(a)] for key, a in named.items() if a.manifest.stage == "pseudo_labels"]
    parts = []
    if training:
        header = ["training", "steps", *_TRAINING_TERMS]
        parts += [note(_TRAINING), wide(format_table(header, training, "html")), terms(_TRAINING_TERMS)]
    if samples:
        diversity = ["diversity", "10 % of images below", "10 % above"]
        header = ["samples", "images", *diversity, "distinct", "one set only"]
        parts += [note(_SAMPLES), wide(format_table(header, samples, "html")), terms(_SAMPLES_TERMS)]
    return "\n".join(parts)


def _training_cells(artefact: Artefact) -> list[str]:
    counts: dict[str, Any] = dict(artefact.manifest.counts)
    last = counts.get("last", {})
    steps = [ABSENT if counts.get(name) is None else str(counts[name]) for name in ("steps", "best_step")]
    early = {1: "yes", 0: "no"}.get(counts.get("stopped_early", -1), ABSENT)
    return [
        *steps,
        amount(counts.get("best_held_back"), decimals=2),
        early,
        amount(last.get("div_pc"), decimals=2),
        share(last.get("reach")),
    ]


def _sample_cells(artefact: Artefact) -> list[str]:
    records = artefact.records(PSEUDO_LABELS)
    spread = [records.read(image_id, ("diversity", "distinct")) for image_id in records.ids]
    if not spread:
        return ["0", *[ABSENT] * 5]
    diversity = np.array([float(one["diversity"][0]) for one in spread])
    distinct = np.array([int(one["distinct"][0]) for one in spread])
    shares = [diversity.mean(), *np.quantile(diversity, (0.1, 0.9))]
    counted = [amount(float(distinct.mean())), str(int((distinct == 1).sum()))]
    return [str(len(spread)), *(share(float(value)) for value in shares), *counted]
