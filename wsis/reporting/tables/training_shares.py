"""What the training images of a run learn from, where a person has given masks of some: counted from manifests."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from wsis.reporting.tables.tables import WIDTH
from wsis.views.run import Run


def training_shares(run: Run) -> list[dict[str, Any]]:
    """Of each outer iteration that has pseudo labels: `iteration`, and the number of training images that learn from
    `masks` that a person has given, else from `boxes` or `labels`. Empty for a run without such masks."""
    if "corrections" not in run.record.entries:
        return []
    weak, manifests = "boxes" if "boxes" in run.record.entries else "labels", run.manifests()
    rows = []
    for t in run.iterations():
        manifest = manifests.get(f"pseudo_labels@{t}")
        if manifest is not None:
            counts: Mapping[str, Any] = manifest.counts
            given = int(counts.get("images_with_given_masks", 0))
            rows.append({"iteration": t, weak: int(counts["images"]) - given, "masks": given})
    return rows


def shares_text(shares: Sequence[Mapping[str, Any]]) -> str:
    """:func:`shares_line` for a terminal; empty where there is nothing to say."""
    return textwrap.fill(shares_line(shares) or "", WIDTH, subsequent_indent="  ")


def shares_line(shares: Sequence[Mapping[str, Any]]) -> str | None:
    """That in a sentence, equal iterations at once; None of nothing."""
    parts = []
    for _, same in groupby(shares, key=lambda row: {k: v for k, v in row.items() if k != "iteration"}):
        rows = list(same)
        first, last = rows[0]["iteration"], rows[-1]["iteration"]
        when = f"iteration {first}" if first == last else f"iterations {first} to {last}"
        images = [
            f"{'given masks' if kind == 'masks' else kind} {rows[0][kind]}"
            for kind in ("labels", "boxes", "masks")
            if rows[0].get(kind)
        ]
        parts.append(f"{when}: {', '.join(images)}")
    return f"training images, by what they learn from: {'; '.join(parts)}" if parts else None
