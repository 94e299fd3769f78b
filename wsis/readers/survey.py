"""What a data set holds, before anything is computed from it: counted from its annotations, no image is decoded."""

from data_contracts.runs import DataFacts
from wsis.readers import given_masks
from wsis.readers.config import DataConfig, open_source, resolved
from wsis.readers.shared.records import ROLES


def survey(config: DataConfig, with_truth: bool, given: str | None = None) -> DataFacts:
    """Count images and masks of every part, and hash what decides the artefacts made from them.

    Args:
        with_truth: whether masks are hashed too; they are counted in any case.
        given: digest of the files of `data.masks` where it is known.

    Raises:
        ConfigError: the root is needed and not given.
        DataError: listing what is wrong with the annotations; a file of `data.masks` is not there.
    """
    source = open_source(config)
    images: dict[str, int] = {role: len(source.image_ids(role)) for role in ROLES}
    masks: dict[str, int] = {role: len(source.truth_ids(role)) for role in ROLES}
    return DataFacts(
        root=None if config.root is None else str(config.root),
        content=source.digest(),
        truth=source.truth_digest() if with_truth and any(masks.values()) else None,
        images=images,
        masks=masks,
        format=resolved(config).format,
        given=given or (given_masks.digest(config.masks) if config.masks else None),
    )
