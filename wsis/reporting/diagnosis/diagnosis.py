"""Where accuracy is lost: each stage of a run against the masks of its images. Read-only; pixel labels for measuring.

What is measured on an image stands in `wsis.method.evaluation.diagnosis`, what is made of it in `summary`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from data_contracts.errors import ConfigError
from data_contracts.schemas import GROUND_TRUTH
from wsis.reporting.diagnosis.images import DetectionMeasures, Pool, SeedRule, TrainMeasures
from wsis.reporting.diagnosis.summary import Columns, conclusion, group_rows, join, waterfall
from wsis.reporting.tables.results import results_of
from wsis.reporting.tables.training_shares import training_shares
from wsis.views.dataset import class_names, image_ids
from wsis.views.run import Run, spread

Split = Literal["both", "train", "val"]
SPLITS = ("train", "val")
Fold = tuple[int, int]
ALL: Fold = (0, 1)
Track = Callable[[Sequence[str], str], Iterable[str]]


def no_track(items: Sequence[str], what: str) -> Iterable[str]:
    """Progress that nobody sees."""
    return items


def diagnose(
    run: Run,
    rule: SeedRule,
    split: Split = "both",
    images: int | None = None,
    chosen: Sequence[str] = (),
    track: Track = no_track,
    pool: Pool | None = None,
    fold: Fold = ALL,
) -> dict[str, Any]:
    """Measure every stage of a run that is there against the masks of its images; plain values, as JSON.

    Args:
        split: which images are measured.
        images: at most so many of each split, evenly spread; None: all that have masks.
        chosen: these images alone, see `ImageNames.chosen`; empty: as `images` says.
        track: wraps the image ids of each split, for a progress bar.
        fold: number and count: of the images that have masks only every count-th, from that number on.
        pool: makes the candidates of an image anew; None: they are not measured.

    Raises:
        ConfigError, ArtefactMissingError: the run has no ground truth; or no image of the split has masks;
            or a chosen image does not exist or has none.
        CorruptArtefactError: an artefact is damaged; named.
        DataError, WsisError: records of an image contradict each other; named.
    """
    asked, masks = len(run.absent), run.truth()
    classes, truths = class_names(masks), masks.records(GROUND_TRUTH)
    of_split = {
        one: image_ids(truths, one)[fold[0] :: fold[1]] if split in ("both", one) else [] for one in SPLITS
    }
    if not any(of_split.values()):
        raise ConfigError(f"run {run.name}: no image of split {split!r} has masks to compare with")
    wanted = {one: spread(ids, images) for one, ids in of_split.items()}
    if chosen:
        wanted = _named(run, chosen, of_split)
    train = TrainMeasures(run, truths, rule, pool) if wanted["train"] else None
    val = DetectionMeasures(run, truths, _val_keys(run)) if wanted["val"] else None
    measured: dict[str, Any] = {"train": {}, "val": {}}
    if train is not None:
        measured["train"] = join([train.measure(i) for i in track(wanted["train"], "train")])
    if val is not None:
        measured["val"] = join([val.measure(i) for i in track(wanted["val"], "val")])
    steps = _waterfalls(measured["train"], measured["val"], run.iterations())
    return {
        "run": run.name,
        "status": run.record.status,
        "absent": run.absent[asked:],
        "images_without_masks": masks.manifest.counts.get("images_without_masks", 0),
        "learned_from": training_shares(run),
        "data": {one: _counts(wanted[one], of_split[one], measured[one]) for one in SPLITS},
        "seeds": train.seeds() if train else None,
        "proposals": train.proposals(measured["train"]) if train else None,
        "boxes": train.boxes.result() if train else None,
        "pseudo_labels": train.samples(measured["train"]) if train else [],
        "detections": [
            *(train.detected.rows(measured["train"]) if train else []),
            *(val.rows(measured["val"]) if val else []),
        ],
        "groups": {one: group_rows(measured[one], classes) for one in SPLITS},
        "waterfalls": steps,
        "conclusion": steps[-1]["conclusion"] if steps else None,
        "results": results_of(run),
    }


def _counts(wanted: Sequence[str], every: Sequence[str], measured: Mapping[str, Any]) -> dict[str, int]:
    return {"images": len(wanted), "of": len(every), "instances": len(measured.get("label", ()))}


def _named(run: Run, chosen: Sequence[str], of_split: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The chosen images by their split, where they have masks."""
    ids = run.names.chosen(chosen)
    if without := [run.names.shown(i) for i in ids if not any(i in of_one for of_one in of_split.values())]:
        raise ConfigError(
            f"--image: expected images that have masks to compare with, got {', '.join(without)}"
        )
    return {one: [i for i in ids if i in of_one] for one, of_one in of_split.items()}


def _val_keys(run: Run) -> dict[str, str]:
    """Column of the instances' table -> key of the predictions on val."""
    keys = {f"val@{t}": f"predictions.val@{t}" for t in run.iterations()}
    asked = run.record.config.get("ceiling") or "predictions.ceiling" in run.record.entries
    return {**keys, **({"ceiling": "predictions.ceiling"} if asked else {})}


def _waterfalls(train: Columns, val: Columns, iterations: Sequence[int]) -> list[dict[str, Any]]:
    """One for each outer iteration that has something; before there is any, what comes before the loop."""
    there = [t for t in iterations if f"mean@{t}" in train or f"val@{t}" in val]
    chains = {t: waterfall(train, val, t) for t in there or [0]}
    return [
        {"iteration": t, "steps": chain, "conclusion": conclusion(chain, t)}
        for t, chain in chains.items()
        if len(chain) > 1
    ]
