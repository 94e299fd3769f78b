"""Sections of a run's page on where the time went and what each artefact was made of."""

from data_contracts.manifest import Manifest
from data_contracts.runs import RunRecord
from data_contracts.store import Artefact
from wsis.engine.batches import DATA_WAIT
from wsis.reporting.page.elements import note, picture, wide
from wsis.reporting.page.plots import time_plot
from wsis.reporting.tables.tables import duration, format_table
from wsis.views.run import Run


def _waiting(manifest: Manifest) -> str:
    """Share of its training steps' time that a stage waited for data, where it says so."""
    share = manifest.counts.get(DATA_WAIT)
    return f"{100 * share:.1f} %" if isinstance(share, float) else ""


def times(record: RunRecord, artefacts: dict[str, Artefact]) -> str:
    """Time, memory and size of every stage, as a plot and a table."""
    manifests = {key: artefact.manifest for key, artefact in artefacts.items()}
    if not manifests:
        return note("No stage has finished yet.")
    total = sum(m.wall_seconds for m in manifests.values())
    rows = [
        [
            key,
            duration(m.wall_seconds),
            f"{100 * m.wall_seconds / total:.1f} %" if total else "–",
            duration(m.cpu_seconds),
            f"{m.peak_memory_bytes / 1e6:.0f} MB",
            f"{_bytes(m) / 1e6:.1f} MB",
            _waiting(m),
        ]
        for key, m in manifests.items()
    ]
    rows.append(
        [
            "all stages",
            duration(total),
            "",
            "",
            "",
            f"{sum(map(_bytes, manifests.values())) / 1e6:.1f} MB",
            "",
        ]
    )
    rows.append(["orchestration, hashing, locking", duration(record.overhead_seconds), "", "", "", "", ""])
    if record.waited_seconds >= 1:
        rows.append(["waiting for other processes", duration(record.waited_seconds), "", "", "", "", ""])
    header = ["stage", "wall", "share", "cpu", "peak memory", "size", "waiting for data"]
    table = format_table(header, rows, "html")
    plot = time_plot({key: m.wall_seconds for key, m in manifests.items()})
    return picture(plot, "image/png", "seconds by stage") + wide(table)


def lineage(run: Run, artefacts: dict[str, Artefact]) -> str:
    """What each artefact was made of, and what supervised it; one that cannot be opened is said to be unreadable."""
    rows, stale = [], run.stale()
    for key, entry in run.record.entries.items():
        if key not in artefacts:
            rows.append([key, f"{entry.stage}/{entry.fingerprint}", "unreadable: wsis verify", "", ""])
            continue
        m = artefacts[key].manifest
        parents = ", ".join(f"{name} {parent.fingerprint}" for name, parent in m.parents.items())
        reused = ("reused" if entry.reused else "computed") + (", stale" if key in stale else "")
        rows.append([key, f"{m.stage}/{m.fingerprint}", reused, ", ".join(m.supervision), parents])
    header = ["key", "artefact", "in this run", "supervision, parents' included", "parents"]
    return wide(format_table(header, rows, "html", left_columns=5))


def _bytes(manifest: Manifest) -> int:
    return sum(entry.bytes for entry in manifest.files.values())
