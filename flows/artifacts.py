"""What a flow run shows beside its tasks: results, pictures of samples and predictions, where the report lies."""

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from data_contracts.printable import one_line
from wsis.apps.reports import write_page
from wsis.engine.progress import Progress
from wsis.reporting.pictures.stage_pictures import as_jpeg, stage_pictures
from wsis.reporting.tables.results import results_of, scores_of
from wsis.views.run import Run

_TITLES = {
    "pseudo_labels": ("Samples of pseudo labels of images spread over train.", "samples"),
    "predictions.train": (
        "Predictions on images spread over train, beside what they were learned from.",
        "predictions-train",
    ),
    "predictions.val": ("Predictions on images spread over val.", "predictions-val"),
}
"""Node -> what its pictures show, and the end of the key of their artifact."""


def artifact_key(*parts: str) -> str:
    """A key Prefect accepts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(("wsis", *parts)).lower()).strip("-")


@contextmanager
def shown_or_warned(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """What Prefect is to show of a run. Where that fails, a warning says why: the artefacts are in the store.

    Args:
        say: gets the line.
    """
    try:
        yield
    except Exception as error:  # a run does not end for want of a picture
        say(f"warning: {what} not shown in Prefect: {type(error).__name__}: {one_line(error)}")


def publish_results(run: Run, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Write VOC mAP and COCO AP of what is evaluated so far, if anything is, as a Prefect table artifact; the rows.

    Args:
        say: gets a line where the artifact cannot be made, as in all that publishes here.
    """
    rows = results_of(run)
    table = [
        {
            "kind": row["kind"],
            "outer iteration": row["outer_iteration"] if row["outer_iteration"] is not None else "-",
            "split": row["split"],
            **{name: _percent(score) for name, score in scores_of(row).items()},
        }
        for row in rows
    ]
    if not table:  # nothing is scored, as with data without masks
        return rows
    with shown_or_warned("the results are", say):
        create_table_artifact(
            table,
            key=artifact_key(run.name, "results"),
            description=f"VOC mAP^r and COCO AP of run {run.name}",
        )
    return rows


def publish_pictures(run: Run, key: str, say: Callable[[str], None]) -> None:
    """Show some images of artefact `key`, as `wsis.reporting.pictures.stage_pictures` draws them: the samples that the
    prediction network is about to learn from, or what it predicts.

    The pictures travel inside the artifact (JPEG), so that the browser needs no way to the store.
    """
    with shown_or_warned(f"pictures of {key} are", say):
        if text := _pictures_text(run, key):
            create_markdown_artifact(
                text,
                key=artifact_key(run.name, _TITLES[key.partition("@")[0]][1]),
                description=f"{key} of run {run.name}",
            )


def _pictures_text(run: Run, key: str) -> str:
    """As Markdown; empty where there is nothing to see."""
    shown = stage_pictures(run, key)
    if not shown:
        return ""
    lines = [f"# {run.name}: {key}", _TITLES[key.partition("@")[0]][0]]
    for one in shown:
        data = base64.b64encode(as_jpeg(one.picture)).decode("ascii")
        lines += [f"**{_plain(one.name)}**", f"![{_plain(one.name)}](data:image/jpeg;base64,{data})"]
    return "\n\n".join(lines)


def publish_report(run: Run, anew: bool, progress: Progress) -> None:
    """Say where the report lies: where `wsis report` writes it, on the worker's machine.

    Args:
        anew: write it although it is there.
    """
    folder = run.store.root / "reports" / run.name
    page = folder / "report.html"
    with shown_or_warned("the report is", progress.log):
        if anew or not page.exists():
            write_page(run, folder, progress=progress)
        create_link_artifact(
            page.resolve().as_uri(),
            link_text=f"{run.name}: report.html",
            key=artifact_key(run.name, "report"),
            description=f"on the worker; elsewhere: wsis report {run.name} --store {run.store.location}",
        )


def _plain(name: str) -> str:
    """A file name that Markdown takes for text."""
    return re.sub(r"([\\`*_{}\[\]()<>#!|])", r"\\\1", name)


def _percent(value: float | None) -> float | str:
    return "-" if value is None else round(100 * value, 2)
