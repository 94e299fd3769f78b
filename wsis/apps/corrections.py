"""`wsis correct`: a run goes on with the masks that a person has corrected."""

from pathlib import Path
from typing import NamedTuple

from data_contracts.errors import ConfigError
from data_contracts.paths import user_path
from data_contracts.printable import counted
from stages.data.corrections import against_labels, left_out, targets_of
from wsis.readers.given_masks import GivenFiles, read_given
from wsis.runs.config import RunConfig, stored_config
from wsis.views.run import Run


class Correction(NamedTuple):
    """What is to be done.

    Attributes:
        config: the run's, with the file among `data.masks`.
        found: what the files hold.
        trained: training images that show a class.
        warning: where the masks are against the labels; None where they agree.
        left_out: what of the file does not count, a line each.
    """

    config: RunConfig
    found: GivenFiles
    trained: int
    warning: str | None
    left_out: list[str]

    def line(self) -> str:
        """In words."""
        instances = sum(len(one) for one in self.found.masks.values())
        empty = sum(not len(one) for one in self.found.masks.values())
        none = f", {empty} of the images without any: negatives from now on" if empty else ""
        after = self.config.data.masks_after
        stay = f"iterations 1 to {after} stay, " if after > 1 else "iteration 1 stays, " if after else ""
        return (
            f"{len(self.found.masks)} of {self.trained} training images that show a class have given masks "
            f"({counted(instances, 'instance')}{none}); "
            f"{stay}iteration {after + 1} is the first to learn from them"
        )


def correct(run: Run, file: Path, after: int | None = None) -> Correction:
    """The configuration with which the run goes on, the file read and checked.

    Args:
        file: a file or folder of masks, as `wsis.readers.given_formats` knows them; its images are certain from now
            on. Files of before are kept, and an image that is in both is as this one says.
        after: outer iterations that stay as they are. None: as the run has it if it has been corrected before, else
            those that it has finished. One more iteration is planned where all are finished.

    Raises:
        ConfigError: the run has no data set yet, or is at work. DataError: the file cannot be used, with all that is
            wrong.
    """
    if run.record.status == "running":
        raise ConfigError(
            f"run {run.name}: expected one that is not at work, because it goes on with other data, got one that is "
            f"running or was killed: let it end or interrupt it (one that was killed: wsis run --name {run.name})"
        )
    config = stored_config(run.record)
    dataset = run.dataset
    path = user_path(file, "FILE").absolute()
    files = (*(one for one in config.data.masks if one != path), path)
    if after is None:
        after = config.data.masks_after if config.data.masks else run.finished_iterations()
    targets = targets_of(dataset)
    found = read_given(files, targets, run.classes, "corrected masks")
    data = config.data.model_copy(update={"masks": files, "masks_after": after})
    iterations = max(config.outer_iterations, after + 1)
    changed = config.model_copy(update={"data": data, "outer_iterations": iterations})
    return Correction(changed, found, len(targets), against_labels(found, dataset), left_out(found))
