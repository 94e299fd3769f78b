"""`wsis diagnose`: the rules by which a run's conditional network was taught, then the measuring of `reporting`."""

from collections.abc import Sequence
from typing import Any

from stages.conditional.training import trained_config
from wsis.engine.progress import Progress
from wsis.reporting.diagnosis.diagnosis import Split, diagnose
from wsis.reporting.diagnosis.images import SeedRule
from wsis.runs.config import stored_config
from wsis.views.run import Run


def diagnose_run(
    run: Run,
    split: Split = "both",
    images: int | None = None,
    chosen: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Diagnosis of a run, finished or not, as `wsis.reporting.diagnosis.diagnosis.diagnose` gives it. Writes nothing.

    Raises:
        ConfigError: the run has no data set yet, no ground truth, or no masks in the split.
        ArtefactMissingError, CorruptArtefactError: no such run; an artefact is damaged or gone; named.
        DataError, WsisError: records contradict each other; names the image.
    """
    bar = progress or Progress()
    return diagnose(
        run,
        _rule(run),
        split,
        images,
        chosen,
        lambda ids, what: bar.track(ids, len(ids), f"diagnose {what}", "img"),
    )


def _rule(run: Run) -> SeedRule:
    """As the conditional network of iteration 1 was trained; before there is one, as the run is configured."""
    classes = len(run.classes)
    if "conditional@1" not in run.record.entries:
        config = stored_config(run.record).conditional
    else:
        config = trained_config(run.artefact("conditional@1", verify=False))
    return SeedRule(config, config, classes)
