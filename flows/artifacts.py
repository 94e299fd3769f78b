"""What a flow run shows beside its tasks: results, pictures of the samples, where the report lies."""

import base64
import re
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from wsis.reporting.page.report import write_report
from wsis.reporting.pictures.overlays import fit
from wsis.reporting.pictures.pictures import encode, overlays
from wsis.reporting.tables.results import results_of
from wsis.reporting.tables.tables import COCO, THRESHOLDS
from wsis.views.run import Run

_PICTURES = 4
_WIDTH = 1400  # pixels of a picture of samples: its captions stay legible, four take some 600 kB


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
            **{f"mAP {t}": _percent(row["mAP"][t]) for t in THRESHOLDS},
            **{f"COCO {m}": _percent(row.get("coco", {}).get(m)) for m in COCO},
        }
        for row in rows
    ]
    create_table_artifact(
        table,
        key=artifact_key(run.name, "results"),
        description=f"VOC mAP^r and COCO AP of run {run.name}",
    )
    return rows


def publish_samples(run: Run, key: str) -> None:
    """Show what the prediction network is about to learn from: some images of artefact `key`, pseudo_labels@t.

    The pictures travel inside the artifact (JPEG), so that the browser needs no way to the store.
    """
    shown = overlays(run, key, _PICTURES)
    lines = [f"# {run.name}: {key}", "Samples of pseudo labels of images spread over train."]
    for one in shown:
        wide = min(_WIDTH, max(one.picture.shape[:2]))
        data = base64.b64encode(encode(fit(one.picture, wide)[0], "JPEG", quality=80)).decode("ascii")
        lines += [f"**{_plain(one.name)}**", f"![{_plain(one.name)}](data:image/jpeg;base64,{data})"]
    create_markdown_artifact(
        "\n\n".join(lines),
        key=artifact_key(run.name, "samples"),
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
