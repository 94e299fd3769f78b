"""What lies in a store, in words: runs, a run's stages, one artefact, damage."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from data_contracts.errors import ContractError
from data_contracts.manifest import Manifest
from data_contracts.notes import notes_of
from data_contracts.printable import counted
from data_contracts.repair import repair_of, store_option
from data_contracts.runs import list_runs, load_run
from data_contracts.schemas import SCHEMAS
from data_contracts.staleness import stale_line
from data_contracts.store import Artefact, Store
from data_contracts.verification import damage_of, stored_artefacts
from wsis.reporting.tables.tables import format_table
from wsis.views.run import Run

_LONGEST_VALUE = 140  # characters
_SHAPES_FROM_IMAGES = 200


def run_text(run: Run) -> str:
    """A run's stages with what each cost."""
    record, manifests, stale = run.record, run.manifests(), run.stale()
    lines = [
        f"run {record.name}: {record.status}" + (f" ({record.error})" if record.error else ""),
        f"config {record.config_name}, created {record.created}",
        *(f"note {note.written}: {note.text}" for note in notes_of(run.store, run.name)),
        "",
        _stages_table(run, manifests, stale),
    ]
    wall = sum(manifest.wall_seconds for manifest in manifests.values() if manifest is not None)
    lines.append("\nwall, cpu: seconds; peak: largest resident memory in MB; MB: size in the store")
    lines.append(f"stages {wall:.0f} s; orchestration, hashing and locking {record.overhead_seconds:.1f} s")
    lines += [
        f"measured on {one.data} ({one.format}, split {one.split}, labels {one.digest}), iteration "
        f"{one.outer_iteration}, {one.finished}: evaluation/{one.artefacts['evaluation']}"
        for one in record.measured
    ]
    if record.waited_seconds >= 1:
        lines.append(
            f"waited {record.waited_seconds:.0f} s for other processes that made artefacts of this run"
        )
    lines += [f"warning: {line}" for line in run.warnings()]
    if line := stale_line(record, stale):
        lines.append(line)
    return "\n".join(lines)


def _stages_table(run: Run, manifests: Mapping[str, Manifest | None], stale: Collection[str]) -> str:
    rows = []
    for key, manifest in manifests.items():
        entry = run.record.entries[key]
        cells = ["–"] * 4
        remark = f"missing or damaged: wsis verify {run.name}{store_option(run.store.location)}"
        if manifest is not None:
            size = sum(f.bytes for f in manifest.files.values())
            peak = manifest.peak_memory_bytes / 1e6
            cells = [_number(one) for one in (manifest.wall_seconds, manifest.cpu_seconds, peak, size / 1e6)]
            remark = "stale" if key in stale else ""
        rows.append([key, f"{entry.stage}/{entry.fingerprint}", *cells, remark])
    header = ["stage", "artefact", "wall", "cpu", "peak", "MB", "remark"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return format_table(header, rows, left_columns=2)


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def artefact_text(run: Run, key: str) -> str:
    """What one artefact of a run holds.

    Raises:
        ConfigError: the run has no such key.
    """
    artefact = run.artefact(key, verify=False)
    m = artefact.manifest
    lines = [
        f"{key}: {artefact.path}",
        f"stage {m.stage} version {m.algorithm_version}, contract {m.contract}, fingerprint {m.fingerprint}",
        f"created {m.created} by wsis {m.code_version}, seed {m.seed}"
        + (f", outer iteration {m.outer_iteration}" if m.outer_iteration else ""),
        f"wall {m.wall_seconds:.1f} s, cpu {m.cpu_seconds:.1f} s, peak memory {m.peak_memory_bytes / 1e6:.0f} MB, "
        f"{sum(f.bytes for f in m.files.values()) / 1e6:.1f} MB in {counted(len(m.files), 'file')}",
        f"on {m.environment.get('gpu', m.environment.get('processor', 'an unnamed processor'))}, "
        f"threads of its arithmetic {m.environment.get('threads', 'not recorded')}",
        *(["stale: made from artefacts that this run has replaced since"] if key in run.stale() else []),
        "supervision: " + "; ".join(m.supervision),
        "parents:",
        *(f"  {name:18s} {p.stage}/{p.fingerprint}" for name, p in m.parents.items()),
        "counts:",
        *(f"  {name:18s} {_short(readable(value))}" for name, value in m.counts.items()),
        "config:",
        *(f"  {name:18s} {_short(value)}" for name, value in m.config.items()),
    ]
    if m.contract in SCHEMAS:
        lines += _shape_lines(artefact)
    else:
        lines += ["files:", *(f"  {name}  {f.bytes} bytes" for name, f in m.files.items())]
    return "\n".join(lines)


def _shape_lines(artefact: Artefact) -> list[str]:
    schema = SCHEMAS[artefact.manifest.contract]
    reader = artefact.records(schema)
    ids = reader.ids[:: max(1, len(reader) // _SHAPES_FROM_IMAGES)]
    lines = [f"records: {counted(len(reader), 'image')} (shapes over {len(ids)} of them)"]
    for name, field in schema.fields.items():
        shapes = np.array([reader.read(i, (name,))[name].shape for i in ids]).reshape(
            len(ids), len(field.shape)
        )
        spans = (
            [
                str(low) if low == high else f"{low}–{high}"
                for low, high in zip(shapes.min(axis=0), shapes.max(axis=0), strict=True)
            ]
            if len(ids)
            else []
        )
        symbols = ", ".join(str(s) for s in field.shape)
        lines.append(f"  {name:20s} {field.dtype:8s} [{symbols}] = [{', '.join(spans)}]  {field.doc}")
    return lines


def readable(value: Any) -> str:
    """A count of a manifest for people: numbers to three significant digits, `dog 0.357, cat 0.1` of a mapping."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return (
            f"{value:.0f}" if 999.5 <= abs(value) < 1e9 else f"{value:.3g}"
        )  # no power of ten where none is needed
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {readable(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value)) or "none"
    return "none" if value is None else str(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


class Verified(NamedTuple):
    """Number of artefacts checked, a line for each damaged or missing file, and for each damaged artefact what repairs
    it."""

    checked: int
    problems: list[str]
    remedies: list[str]


def verify_store(store: Store, run_name: str | None = None) -> Verified:
    """Hash every file of a run's artefacts, or of all artefacts and run records.

    Of a URL store the bytes on the other side are read, not their mirror here.
    """
    problems: list[str] = []
    pairs: list[tuple[str, str]] = []
    names = list_runs(store)
    if run_name is not None and run_name not in names:
        load_run(store, run_name)  # says what is wrong with the name, or which runs there are
    for name in names if run_name is None else [run_name]:
        try:
            record = load_run(store, name)
        except ContractError as error:
            problems.append(str(error))
            continue
        pairs += record.artefacts()
    if run_name is None:
        pairs += stored_artefacts(store)
    unique = list(dict.fromkeys(pairs))
    damage = damage_of(store, unique)
    remedies = [
        f"{stage}/{fingerprint}: {repair_of(store, stage, fingerprint)}" for stage, fingerprint in damage
    ]
    return Verified(len(unique), problems + [line for lines in damage.values() for line in lines], remedies)


def stale_lines(store: Store, run_name: str | None = None) -> list[str]:
    """A line for each run, or for one, that holds stale artefacts: undamaged, but made from what was replaced since."""
    lines = []
    for name in list_runs(store) if run_name is None else [run_name]:
        try:
            lines.append(Run.load(store, name).stale_line())
        except ContractError:
            continue  # `verify_store` names it
    return [line for line in lines if line is not None]
