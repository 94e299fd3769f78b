"""`wsis run --dry-run`: the plan, what the store has of it, and what the rest will cost."""

import shutil
from typing import NamedTuple

from data_contracts.errors import ArtefactMissingError, CorruptArtefactError
from data_contracts.printable import counted
from data_contracts.runs import DataFacts
from data_contracts.store import PRIVATE
from wsis.reporting.tables.expected_time import OTHERS, time_here
from wsis.reporting.tables.tables import ABSENT, duration, format_table
from wsis.runs.costs import FACTOR
from wsis.runs.durations import Durations
from wsis.runs.forecast import forecast
from wsis.runs.plan import Node
from wsis.runs.runner import Runner


class Planned(NamedTuple):
    """A node of the plan, the artefact it will use, and what is there of it: reused, compute, goes on, damaged."""

    node: Node
    fingerprint: str
    state: str


def planned_nodes(runner: Runner) -> tuple[list[Planned], DataFacts]:
    """The plan of a run after every check that `wsis run` makes before its first stage.

    Raises: as `Runner.run` before its first stage.
    """
    nodes, data = runner.prepare()
    fingerprints = forecast(nodes, runner.config, data)
    planned = [Planned(n, fingerprints[n.key], _state(runner, n, fingerprints[n.key])) for n in nodes]
    return planned, data


def _state(runner: Runner, node: Node, fingerprint: str) -> str:
    store, stage = runner.store, node.stage.name
    if store.remote is not None:  # its bytes are checked when they are fetched
        return "reused" if store.has(stage, fingerprint) else "compute"
    try:
        store.open(stage, fingerprint)
    except ArtefactMissingError:
        work = store.root / stage / PRIVATE / fingerprint
        return "goes on" if work.is_dir() and any(work.iterdir()) else "compute"
    except CorruptArtefactError:
        return "damaged"
    return "reused"


def dry_run_text(runner: Runner) -> str:
    """The plan as a table with what each stage will take, and the sums."""
    planned, data = planned_nodes(runner)
    durations = Durations.of_run(runner.store, runner.config, data, [one.node for one in planned])
    rows = []
    for one in planned:
        todo = one.state != "reused"
        seconds, size = durations.seconds(one.node), durations.bytes(one.node)
        took = ABSENT if seconds is None or not todo else duration(seconds)
        made = ABSENT if size is None or not todo else f"{size / 1e6:.1f}"
        rows.append([one.node.key, f"{one.node.stage.name}/{one.fingerprint}", one.state, took, made])
    table = format_table(("stage", "artefact", "state", "time", "MB"), rows, left_columns=3)
    return f"{table}\n\n{_sums(runner, planned, durations)}"


def _sums(runner: Runner, planned: list[Planned], durations: Durations) -> str:
    todo = [one.node for one in planned if one.state != "reused"]
    there = len(planned) - len(todo)
    head = f"run {runner.record.name!r}: {counted(len(planned), 'stage')}, {there} reused, {len(todo)} to compute"
    if not todo:
        return f"{head}: nothing to do"
    seconds = [durations.seconds(node) for node in todo]
    before = sum(durations.known(node) is not None for node in todo)
    lines = [head]
    if None in seconds:
        lines.append(f"time: not known: {durations.unknown}")
    else:
        total = sum(s for s in seconds if s is not None)
        parts = [
            f"{counted(before, 'stage')} as before" if before else "",
            f"{len(todo) - before} reckoned" if before < len(todo) else "",
        ]
        factor = FACTOR if before < len(todo) else None
        lines.append(f"time: {time_here(total, factor)}")
        lines.append(f"{', '.join(filter(None, parts))}; {OTHERS}")
    sizes = [durations.bytes(node) for node in todo]
    if None not in sizes:
        made = sum(size for size in sizes if size is not None)
        lines.append(f"disk: about {made / 1e6:.0f} MB{_free(runner)}")
    if runner.config.data.format != "scenes" and todo[0].stage.name == "dataset":
        lines.append("labels were read, photographs not opened: `wsis check` looks at each")
    return "\n".join(lines)


def _free(runner: Runner) -> str:
    """Room on the disk under a local store, whose folder may not be there yet."""
    if runner.store.remote is not None:
        return ""
    there = next(p for p in (runner.store.root, *runner.store.root.parents) if p.exists())
    return f" of {shutil.disk_usage(there).free / 1e9:.1f} GB free"
