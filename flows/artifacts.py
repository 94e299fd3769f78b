"""What a flow run shows beside its tasks: results, pictures of samples and predictions, where the report lies."""

import base64
import re
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from wsis.reporting.page.report import write_report
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


def publish_results(run: Run) -> list[dict[str, Any]]:
    """Write VOC mAP and COCO AP of everything evaluated so far as a Prefect table artifact."""
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
    create_table_artifact(
        table,
        key=artifact_key(run.name, "results"),
        description=f"VOC mAP^r and COCO AP of run {run.name}",
    )
    return rows


def publish_pictures(run: Run, key: str) -> None:
    """Show some images of artefact `key`, as `wsis.reporting.pictures.stage_pictures` draws them: the samples that the
    prediction network is about to learn from, or what it predicts.

    The pictures travel inside the artifact (JPEG), so that the browser needs no way to the store.
    """
    shown = stage_pictures(run, key)
    if not shown:
        return
    name, _, _ = key.partition("@")
    what, title = _TITLES[name]
    lines = [f"# {run.name}: {key}", what]
    for one in shown:
        data = base64.b64encode(as_jpeg(one.picture)).decode("ascii")
        lines += [f"**{_plain(one.name)}**", f"![{_plain(one.name)}](data:image/jpeg;base64,{data})"]
    create_markdown_artifact(
        "\n\n".join(lines),
        key=artifact_key(run.name, title),
        description=f"{key} of run {run.name}",
    )


def publish_report(run: Run, anew: bool) -> None:
    """Say where the report lies: where `wsis report` writes it, on the worker's machine.

    Args:
        anew: write it although it is there.
    """
    folder = run.store.root / "reports" / run.name
    page = folder / "report.html"
    if anew or not page.exists():
        write_report(run, folder)
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
