"""One self-contained HTML page a run: results, curves, pictures, where the time went, lineage."""

import base64
import hashlib
import html
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.atomic import write_atomic
from data_contracts.errors import ContractError, CorruptArtefactError
from data_contracts.manifest import Manifest
from data_contracts.notes import notes_of
from data_contracts.printable import printable
from data_contracts.runs import RunRecord
from data_contracts.schemas import PSEUDO_LABELS
from data_contracts.store import Artefact
from wsis.reporting.diagnosis.text import diagnosis_html
from wsis.reporting.page.plots import loss_plot, map_plot, time_plot, waterfall_plot
from wsis.reporting.pictures.figures import figures_of_run, write_figure
from wsis.reporting.pictures.pictures import encode, overlays
from wsis.reporting.tables.results import measured_of, results_of
from wsis.reporting.tables.tables import duration, format_table, measured_tables, results_table
from wsis.views.run import Run

CURVE_NAME = "curve.json"
QUALITY_NAME = "instance_quality.json"
_QUALITY = ("mean_best_iou", "found", "merged", "split", "missed", "predicted", "spurious")
_ABSENT = "–"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p.note{color:#666}img{max-width:100%;display:block;margin:.5rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem}th,td{padding:.25rem .7rem;text-align:left;
border-bottom:1px solid #e4e4e4;vertical-align:top}th{background:#f5f5f5}.number{text-align:right;
font-variant-numeric:tabular-nums}code,pre{font:.82rem ui-monospace,monospace}pre{background:#f7f7f7;padding:.7rem;
overflow:auto;max-height:32rem}summary{cursor:pointer}
"""


def write_report(run: Run, out: Path, images: int = 6, diagnosis: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html`, the overlays (`overlays/*.png`) and figures of a run; returns the page.

    Read-only over the store. What cannot be read (damaged, not computed yet) is said on the page instead.

    Args:
        images: overlays of each kind; 0: no figures either.
        diagnosis: as `wsis.reporting.diagnosis.diagnosis.diagnose` makes it; None: no section on it.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = out / "report.html"
    write_atomic(page, report_html(run, images, out, diagnosis).encode())
    return page


def report_html(
    run: Run,
    images: int,
    folder: Path | None = None,
    diagnosis: Mapping[str, Any] | None = None,
) -> str:
    """The page as text; overlays and figures are also written below `folder` if it is given."""
    record, artefacts = run.record, dict(_artefacts(run))
    sections: list[tuple[str, Callable[[], str]]] = [
        ("Results", lambda: _results(run)),
        ("Pseudo labels, instance by instance", lambda: _quality(artefacts)),
        ("Conditional distribution", lambda: _conditional(artefacts)),
        ("Figures", lambda: _figures(run, images, folder)),
        ("Pictures", lambda: _pictures(run, images, folder and folder / "overlays")),
        ("Training curves", lambda: _curves(artefacts)),
        ("Where the time went", lambda: _times(record, artefacts)),
        ("Lineage", lambda: _lineage(run, artefacts)),
        ("Configuration", lambda: _config(record)),
    ]
    if notes := notes_of(run.store, run.name):
        sections.insert(0, ("Notes", lambda: "".join(_note(f"{one.written}: {one.text}") for one in notes)))
    if diagnosis is not None:
        sections.insert(1, ("Diagnosis", lambda: _diagnosis(diagnosis)))
    body = "\n".join(f"<section><h2>{title}</h2>\n{_guarded(make)}</section>" for title, make in sections)
    status = record.status + (f": {record.error}" if record.error else "")
    stale = run.stale_line()
    return printable(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(record.name)}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Run {html.escape(record.name)}</h1>\n"
        f"<p>{html.escape(status)} · configuration {html.escape(record.config_name)} · created "
        f"{html.escape(record.created)} · store <code>{html.escape(run.store.location)}</code></p>\n"
        f"{_note(stale) if stale else ''}{body}\n</body></html>\n"
    )


def _guarded(make: Callable[[], str]) -> str:
    """A section, or what kept it from being made: a damaged artefact must not hide the others."""
    try:
        return make()
    except ContractError as error:
        return _note(f"Not readable: {error}")


def _artefacts(run: Run) -> Iterator[tuple[str, Artefact]]:
    for key in run.record.entries:
        try:
            yield key, run.artefact(key, verify=False)
        except ContractError:
            continue  # the lineage table lists it as unreadable


def _results(run: Run) -> str:
    rows = results_of(run)
    measured = _wide(measured_tables(measured_of(run), "html")) if run.record.measured else ""
    if not rows:
        return measured or _note("Nothing evaluated yet.")
    parts = [_wide(results_table(rows, "html")), _picture(map_plot(rows), "image/png", "mAP by iteration")]
    for measure, title in (("0.50", "VOC AP at IoU 0.50"), ("0.75", "VOC AP at IoU 0.75"), ("AP", "COCO AP")):
        parts += [f"<h3>{title} by class</h3>", _wide(results_table(rows, "html", measure))]
    parts.append(
        _note(
            "VOC mAP is mAP^r in percent: area under the precision envelope, mean over the classes that have ground "
            "truth in the split (others: –). COCO AP is the mean over IoU .50:.05:.95; s, m, l: of small (area below "
            "32²), medium and large (from 96²) instances. Pseudo labels are scored on the images they were made for."
        )
    )
    parts.append(measured)
    return "\n".join(parts)


def _quality(artefacts: dict[str, Artefact]) -> str:
    rows = []
    for key, artefact in artefacts.items():
        if QUALITY_NAME in artefact.manifest.files:
            value = _json(artefact, QUALITY_NAME)
            rows.append([key, f"{value['instances']:.0f}", *(_number(value[name]) for name in _QUALITY)])
    if not rows:
        return _note("None evaluated yet.")
    header = ["evaluation", "true instances", *(name.replace("_", " ") for name in _QUALITY)]
    explained = (
        "Means over the K samples. found: IoU ≥ 0.5; merged: covered together with a neighbour of the class; "
        "split: covered by several; spurious: labelled, but nowhere near an instance of the class."
    )
    return _wide(format_table(header, rows, "html")) + _note(explained)


def _conditional(artefacts: dict[str, Artefact]) -> str:
    """How the conditional networks were trained, and how much their samples differ from image to image."""
    named = {key: a for key, a in artefacts.items() if key.split("@")[0] in ("conditional", "pseudo_labels")}
    training = [[key, *_training_cells(a)] for key, a in named.items() if a.manifest.stage == "conditional"]
    samples = [[key, *_sample_cells(a)] for key, a in named.items() if a.manifest.stage == "pseudo_labels"]
    if not training and not samples:
        return _note("Not trained yet.")
    header = ["training", "steps", "weights of step", "held-back DISC", "stopped early", "div pc", "reach"]
    parts = [_wide(format_table(header, training, "html"))] if training else []
    header = ["samples", "images", "diversity", "10 % of images below", "above", "distinct", "one set only"]
    parts += [_wide(format_table(header, samples, "html"))] if samples else []
    return "\n".join(parts) + _note(
        "Held-back DISC: DIV(p,c) − γ DIV(c,c) on training images that were not learned from; the step where it was "
        "least gave the weights. div pc and reach: the last of training; reach is the share of samples that some "
        "loss-augmented inference changes, and near 0 nothing is learned any more. Diversity: mean pairwise 1 − IoU "
        "of the K label maps of an image; distinct: different label sets among them."
    )


def _training_cells(artefact: Artefact) -> list[str]:
    counts: dict[str, Any] = dict(artefact.manifest.counts)
    last = counts.get("last", {})
    steps = [_ABSENT if counts.get(name) is None else str(counts[name]) for name in ("steps", "best_step")]
    early = {1: "yes", 0: "no"}.get(counts.get("stopped_early", -1), _ABSENT)
    return [
        *steps,
        _number(counts.get("best_held_back")),
        early,
        *(_number(last.get(name)) for name in ("div_pc", "reach")),
    ]


def _sample_cells(artefact: Artefact) -> list[str]:
    records = artefact.records(PSEUDO_LABELS)
    spread = [records.read(image_id, ("diversity", "distinct")) for image_id in records.ids]
    if not spread:
        return ["0", *[_ABSENT] * 5]
    diversity = np.array([float(one["diversity"][0]) for one in spread])
    distinct = np.array([int(one["distinct"][0]) for one in spread])
    means = [diversity.mean(), *np.quantile(diversity, (0.1, 0.9)), distinct.mean()]
    return [str(len(spread)), *(_number(float(value)) for value in means), str(int((distinct == 1).sum()))]


def _diagnosis(diagnosis: Mapping[str, Any]) -> str:
    falls = diagnosis["waterfalls"]
    parts = [_picture(waterfall_plot(falls), "image/png", "where accuracy is lost")] if falls else []
    return "\n".join([*parts, diagnosis_html(diagnosis)])


def _figures(run: Run, images: int, folder: Path | None) -> str:
    """The paper's Figures 2 and 4."""
    if images == 0:
        return _note("None asked for.")
    parts = []
    for figure in figures_of_run(run):
        if folder is not None:
            write_figure(figure, folder / "figures")
        data = encode(figure.picture, "JPEG", quality=88)
        parts += [f"<h3>{html.escape(figure.caption)}</h3>", _picture(data, "image/jpeg", figure.caption)]
    return "\n".join(parts) or _note("Nothing to draw yet.")


def _pictures(run: Run, images: int, folder: Path | None) -> str:
    if images == 0:
        return _note("None asked for.")
    parts = []
    for key in _pictured(run.record):
        parts.append(f"<h3>{html.escape(key)}</h3>")
        for name, file_name, picture in overlays(run, key, images):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(folder / file_name, encode(picture, "PNG"))
            parts.append(_picture(encode(picture, "JPEG", quality=88), "image/jpeg", f"{key} {name}"))
    return "\n".join(parts) or _note("Nothing to draw yet.")


def _pictured(record: RunRecord) -> list[str]:
    """The first and last pseudo labels and predictions; before there are any, the seeds."""
    keys: list[str] = []
    for name in ("pseudo_labels@", "predictions.val@"):
        found = [key for key in record.entries if key.startswith(name)]
        keys += list(dict.fromkeys([*found[:1], *found[-1:]]))
    fallback: list[str] = [key for key in ("prm_seeds", "dataset") if key in record.entries]
    return keys or fallback[:1]


def _curves(artefacts: dict[str, Artefact]) -> str:
    parts = []
    for key, artefact in artefacts.items():
        if CURVE_NAME in artefact.manifest.files:
            parts.append(_guarded(partial(_curve, key, artefact)))
    return "\n".join(parts) or _note("No training yet.")


def _curve(key: str, artefact: Artefact) -> str:
    curve = _json(artefact, CURVE_NAME)
    return _picture(loss_plot(curve, key), "image/png", f"training curves of {key}") if curve else ""


def _waiting(manifest: Manifest) -> str:
    """Share of its training steps' time that a stage waited for data, where it says so."""
    share = manifest.counts.get("data_wait_share")
    return f"{100 * share:.1f} %" if isinstance(share, float) else ""


def _times(record: RunRecord, artefacts: dict[str, Artefact]) -> str:
    manifests = {key: artefact.manifest for key, artefact in artefacts.items()}
    if not manifests:
        return _note("No stage has finished yet.")
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
    picture = time_plot({key: m.wall_seconds for key, m in manifests.items()})
    return _picture(picture, "image/png", "seconds by stage") + _wide(table)


def _lineage(run: Run, artefacts: dict[str, Artefact]) -> str:
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
    return _wide(format_table(header, rows, "html", left_columns=5))


def _config(record: RunRecord) -> str:
    text = html.escape(json.dumps(record.config, indent=1, sort_keys=True))
    return f"<details><summary>as validated</summary><pre>{text}</pre></details>"


def _json(artefact: Artefact, name: str) -> Any:
    """Raises CorruptArtefactError: the file is missing or changed (the artefact was opened without hashing)."""
    path = artefact.file(name)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != artefact.manifest.files[name].sha256:
        raise CorruptArtefactError(f"{path} is missing or damaged: wsis verify", (str(path),))
    return json.loads(data)


def _bytes(manifest: Manifest) -> int:
    return sum(entry.bytes for entry in manifest.files.values())


def _number(value: float | None) -> str:
    return _ABSENT if value is None else (f"{value:.3f}" if value < 1 else f"{value:.1f}")


def _picture(data: bytes, kind: str, description: str) -> str:
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(description, quote=True)}" src="data:{kind};base64,{encoded}">'


def _wide(table: str) -> str:
    return f'<div class="wide">{table}</div>'


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'
