"""The first screen of a run's page: what was learned from what, the result, where accuracy is lost, what is next."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_contracts.errors import ContractError
from wsis.reporting.tables.results import nothing_scored, results_of
from wsis.reporting.tables.training_shares import shares_line, training_shares
from wsis.views.run import Run

WARNINGS = "warnings"
"""Anchor of the section that lists what a run warns of."""
MEASURE = "0.50"
"""IoU of the mAP^r that stands for the result."""
_CLASSES = 12  # named; of more, how many
_SCORED = {
    "prm_baseline": "PRM baseline",
    "prediction": "prediction",
    "ceiling": "ceiling: trained on true masks",
}
_ADVICE = {
    "superpixels": "the superpixels are too coarse for these objects: raise proposals.max_side",
    "proposal": "the proposals miss objects: try proposals.num_proposals and proposals.max_side, or learn from boxes",
    "filter": "the seeds let good proposals go: learn from boxes (data.supervision=box)",
    "samples": "the pseudo labels choose other proposals than the best: look at the images that the samples disagree "
    "on, and give boxes or more photographs",
    "train": "the network does not yet repeat its pseudo labels: give it more steps (prediction.steps)",
    "val": "the network is worse on new photographs: give it more of them to learn from",
}
_STEPS = {
    "best of superpixels": "superpixels",
    "best in the pool": "proposal",
    "best proposal": "proposal",
    "best filtered proposal": "filter",
    "best within max_proposals": "filter",
    "best of K": "samples",
    "mean over K": "samples",
    "prediction on train": "train",
    "prediction on val": "val",
}


class Bar(NamedTuple):
    """A figure of the results: what it is of, and its value in percent."""

    title: str
    percent: float


class Overview(NamedTuple):
    """Attributes:
    facts: title -> a sentence. bars: what `scored` says, in percent. unscored: why there are none, in a line.
    following: what to do next, one sentence; it may name a command. anchor: the section that it points to, or empty.
    """

    facts: Mapping[str, str]
    bars: Sequence[Bar]
    scored: str
    unscored: str
    following: str
    anchor: str


def overview(run: Run, diagnosis: Mapping[str, Any] | None) -> Overview:
    """The overview of a run, finished or not.

    Args:
        diagnosis: as `wsis.reporting.diagnosis.diagnosis.diagnose` makes it; None: there is none.
    """
    try:
        rows = results_of(run)
    except ContractError:  # the section of results says which is damaged
        rows = []
    split, bars = _bars(rows)
    facts = {"Learned from": _learned_from(run), "So far": _progress(run)}
    if line := run.trial_line():
        facts["What to expect"] = f"{line}."
    if diagnosis is not None and diagnosis["conclusion"]:
        facts["Where accuracy is lost"] = diagnosis["conclusion"]
    following, anchor = _following(run, diagnosis, bool(rows))
    unscored = nothing_scored(run.record)
    return Overview(
        facts={title: text for title, text in facts.items() if text},
        bars=bars,
        scored=f"mAP^r at IoU {MEASURE} on {split}, in percent" if bars else "",
        unscored="" if bars else f"{unscored[0].upper()}{unscored[1:]}. {_instead(run)}",
        following=following,
        anchor=anchor,
    )


def _bars(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[Bar]]:
    """On val the baseline, the first and the last prediction, the ceiling; without val the pseudo labels of train."""
    scored = [row for row in rows if row["mAP"].get(MEASURE) is not None]
    on_val = [row for row in scored if row["split"] == "val"]
    if on_val:
        looped = [row for row in on_val if row["kind"] == "prediction"]
        shown = [
            *(row for row in on_val if row["kind"] == "prm_baseline"),
            *looped[:1],
            *(looped[-1:] if len(looped) > 1 else ()),
            *(row for row in on_val if row["kind"] == "ceiling"),
        ]
        return "val", [_bar(row) for row in shown]
    labels = [row for row in scored if row["kind"] == "pseudo_labels"]
    return "train", [_bar(row) for row in (labels[:1] + labels[-1:] if len(labels) > 1 else labels)]


def _bar(row: Mapping[str, Any]) -> Bar:
    title = _SCORED.get(row["kind"], row["kind"].replace("_", " "))
    t = row["outer_iteration"]
    return Bar(title if t is None else f"{title}, iteration {t}", 100 * row["mAP"][MEASURE])


def _learned_from(run: Run) -> str:
    """Images, labels or boxes, classes; given masks."""
    manifest = run.manifests().get("dataset")
    if manifest is None:
        return ""
    counts: Mapping[str, Any] = manifest.counts
    classes = [str(name) for name in counts.get("classes", ())]
    named = f"{len(classes)} classes" if len(classes) > _CLASSES else ", ".join(classes)
    shares = shares_line(training_shares(run))
    alone = "image-level labels" if shares else "image-level labels alone"
    weak = "boxes and image-level labels" if "boxes" in run.record.entries else alone
    images = counts.get("train", counts.get("images"))
    learned = f"{images:,} photographs with {weak}: {named}" if images is not None else f"{weak}: {named}"
    negatives = counts.get("train_negatives", 0)
    more = f"; {negatives:,} of them show none of these" if negatives else ""
    val = counts.get("val", 0)
    held_out = f"; {val:,} more were held out" if val else ""
    return f"{learned}{more}{held_out}." + (f" {shares[:1].upper()}{shares[1:]}." if shares else "")


def _progress(run: Run) -> str:
    planned = len(run.iterations())
    status = "finished" if run.record.status == "completed" else run.record.status
    return (
        f"{run.finished_iterations()} of {planned} outer iterations; {status}."
        if planned
        else f"{status.capitalize()}."
    )


def _instead(run: Run) -> str:
    """What can be looked at where nothing is scored."""
    keys = run.record.entries
    if any(key.startswith("predictions.") for key in keys):
        return "Look at what the trained network predicts, in the gallery: those images first whose samples disagree."
    if any(key.startswith("pseudo_labels@") for key in keys):
        return "Look at the pseudo labels, in the gallery: those images first whose samples disagree."
    return "Look at the photographs in the gallery." if "dataset" in keys else ""


def _following(run: Run, diagnosis: Mapping[str, Any] | None, scored: bool) -> tuple[str, str]:
    """What to do next, and the section to read: go on with what is not done, then heed what the run itself warns of,
    then where accuracy is lost."""
    name = run.name
    if run.record.status == "running":
        return f"It goes on: wsis view {name} shows it live.", ""
    if run.record.status != "completed":
        return f"Go on with wsis run --name {name}.", ""
    if run.stale_line() is not None:
        return f"Make what is stale again: wsis run --name {name}.", ""
    if warnings := run.warnings():
        which = "its warning" if len(warnings) == 1 else f"its {len(warnings)} warnings"
        return f"Read {which} first.", WARNINGS
    return _advice(run, diagnosis, scored), ""


def _advice(run: Run, diagnosis: Mapping[str, Any] | None, scored: bool) -> str:
    """What makes a finished run that warns of nothing better."""
    name = run.name
    if run.trial_line() is not None:
        return "Train long enough to learn: the same command with voc_lite in place of quick."
    if diagnosis is not None and (worst := _worst(diagnosis)) is not None:
        return f"Most is lost there: {_ADVICE[worst]}."
    if scored:
        return f"Ask where accuracy is lost: wsis report {name} --diagnose."
    export = f"wsis export {name} --pseudo-labels --worst 20 --out labels"
    return f"Correct the photographs whose samples differ most: {export}, then wsis correct."


def _worst(diagnosis: Mapping[str, Any]) -> str | None:
    """Which advice the step of the last waterfall that loses most asks for; None where none loses anything."""
    falls = diagnosis["waterfalls"]
    steps = [s for s in falls[-1]["steps"] if s["step"] in _STEPS and s["loss"]] if falls else []
    worst = max(steps, key=lambda step: float(step["loss"]), default=None)
    return None if worst is None or worst["loss"] <= 0 else _STEPS[worst["step"]]
