"""The data of a run: what its folder holds now, how that differs from what the run was made from, and what to do where
the folder is not there."""

import os
from collections.abc import Callable
from pathlib import Path

from data_contracts.paths import user_path
from data_contracts.runs import DataFacts, RunRecord
from wsis.readers.survey import survey
from wsis.runs.config import RunConfig
from wsis.runs.identity import Difference
from wsis.views.run import Run


def data_now(run: Run, config: RunConfig, log: Callable[[str], None]) -> DataFacts:
    """What the data holds now; where its folder is not at hand, what it held when the run was planned.

    Raises:
        DataError: it is not at hand and the run has read none of it, or it is wrong.
    """
    if run.record.data is not None and data_is_away(run.record, config):
        log(f"data.root {config.data.root} is not at hand: the run goes on from what the store has of it")
        return run.record.data
    return survey(config.data, config.evaluate, given=_given(run, config, log))


def _given(run: Run, config: RunConfig, log: Callable[[str], None]) -> str | None:
    """The recorded digest of the files of `data.masks`, if they are gone but the store has what they held; None if they
    are to be read."""
    files, known = config.data.masks, run.record.data
    if known is None or "corrections" not in run.record.entries or all(map(is_at_hand, files)):
        return None
    if known.given is not None:
        log(
            f"data.masks {', '.join(map(str, files))}: not at hand; the run goes on from what the store has of it"
        )
    return known.given


def is_at_hand(path: Path) -> bool:
    """Whether a file or folder of `data.masks` is there."""
    return os.path.exists(user_path(path, "data.masks"))


def data_is_away(record: RunRecord, config: RunConfig) -> bool:
    """Whether the folder that this run has read its data from is missing, as on a disk that is not mounted."""
    known, root = record.data, config.data.root
    if known is None or root is None or known.root != str(root) or "dataset" not in record.entries:
        return False
    return not os.path.isdir(user_path(root, "data.root"))


def changed_data(before: DataFacts | None, now: DataFacts | None) -> list[Difference]:
    """Where the data of two processes that write the same run differ; None: it was not looked at yet."""
    if before is None or now is None:
        return []
    pairs = ((key, before.digests[key], new) for key, new in now.digests.items())
    return [
        _difference(key, old, new, now)
        for key, old, new in pairs
        if old is not None and new is not None and old != new
    ]


def data_differences(run: Run, data: DataFacts) -> list[Difference]:
    """Where the data differs now from what the artefacts of this run were made from."""
    found = []
    for key, now_digest in data.digests.items():
        entry = run.record.entries.get(key)
        if entry is None or now_digest is None or not run.store.has(entry.stage, entry.fingerprint):
            continue
        before = run.artefact(key, verify=False).manifest.content or ""
        if before != now_digest:
            found.append(_difference(key, before, now_digest, data))
    return found


def _difference(key: str, before: str, now_digest: str, data: DataFacts) -> Difference:
    where = data.root or "the generated scenes, which this version draws in another way"
    what = {
        "dataset": f"images or labels in {where}",
        "ground_truth": f"masks in {where}",
        "corrections": "data.masks",
    }
    return Difference(f"content of {what[key]}", before[:12], now_digest[:12])
