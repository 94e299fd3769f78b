"""`wsis diagnose`: the rules by which a run's conditional network was taught, then the measuring of `reporting`."""

from collections.abc import Sequence
from typing import Any

from data_contracts.errors import ConfigError
from stages.conditional.training import trained_config
from wsis.engine.progress import Progress
from wsis.method.masks.proposal_set import Regions
from wsis.method.proposals.contours.detectors import build_detector
from wsis.method.proposals.generator.generation import candidate_pool
from wsis.method.proposals.generator.pool import distinct_sets
from wsis.reporting.diagnosis.diagnosis import ALL, Fold, Split, diagnose
from wsis.reporting.diagnosis.images import Pool, SeedRule
from wsis.runs.config import stored_config
from wsis.views.dataset import read_image
from wsis.views.run import Run

POOL_IMAGES = 40
"""So many images are measured with their candidates unless said otherwise: each is some seconds of work."""


def diagnose_run(
    run: Run,
    split: Split = "both",
    images: int | None = None,
    chosen: Sequence[str] = (),
    progress: Progress | None = None,
    pool: bool = False,
    fold: Fold = ALL,
) -> dict[str, Any]:
    """Diagnosis of a run, finished or not, as `wsis.reporting.diagnosis.diagnosis.diagnose` gives it. Writes nothing.

    Args:
        pool: also make the candidates of each training image anew, before any is selected; then at most POOL_IMAGES
            of each split are measured unless `images` or `chosen` say which.
        fold: (k, n): of each split images k, k + n, k + 2 n, ... alone.

    Raises:
        ConfigError: the run has no data set yet, no ground truth, or no masks in the split; or `pool` for proposals
            that were not generated.
        ArtefactMissingError, CorruptArtefactError: no such run; an artefact is damaged or gone; named.
        DataError, WsisError: records contradict each other; names the image.
    """
    bar = progress or Progress()
    if pool and images is None and not chosen:
        images = POOL_IMAGES
    return diagnose(
        run,
        _rule(run),
        split,
        images,
        chosen,
        lambda ids, what: bar.track(ids, len(ids), f"diagnose {what}", "img"),
        _pool(run) if pool else None,
        fold,
    )


def _pool(run: Run) -> Pool:
    config = stored_config(run.record).proposals
    if config.source != "generate":
        raise ConfigError(
            f"--pool: expected a run whose proposals are generated, got proposals.source={config.source}, of which "
            "no other candidates are known"
        )
    detector, dataset = build_detector(config), run.images

    def candidates(image_id: str) -> Regions:
        image = read_image(dataset, image_id)
        pool = candidate_pool(image, config, detector)
        size = (image.shape[0], image.shape[1])
        return Regions(pool.graph.superpixels, distinct_sets(pool).membership, size)

    return candidates


def _rule(run: Run) -> SeedRule:
    """As the conditional network of iteration 1 was trained; before there is one, as the run is configured."""
    classes = len(run.classes)
    if "conditional@1" not in run.record.entries:
        config = stored_config(run.record).conditional
    else:
        config = trained_config(run.artefact("conditional@1", verify=False))
    return SeedRule(config, config, classes)
