"""Whether the labels can teach every class: a classifier needs images that lack it, and one name for it."""

import re
from collections.abc import Iterable, Iterator, Mapping

from data_contracts.errors import DataError
from wsis.readers.shared.records import DatasetSource

_FEW_LACK = 0.05  # share of the train images; below, a class is nearly always there


def check_learnable(source: DatasetSource, supervision: str) -> None:
    """Refuse what a classifier cannot learn from image-level labels, before anything is computed.

    Reads labels until each class was found missing in a train image: no image is decoded.

    Raises:
        DataError: some class is in every train image, and there are no boxes to say where; whatever is wrong with the
            annotations.
    """
    names, ids = source.classes, source.image_ids("train")
    if supervision == "box" or not ids:
        return
    always = set(range(1, len(names) + 1))
    for image_id in ids:
        always &= set(source.labels_of(image_id).tolist())
        if not always:
            return
    shown = ", ".join(repr(names[number - 1]) for number in sorted(always))
    raise DataError(
        f"data: expected for each class train images that lack it, but each of the {len(ids)} shows {shown}, so that "
        "image-level labels cannot teach it; add images without it (negatives: docs/howto/common-class.md), or, where "
        "the annotations have boxes, --set data.supervision=box"
    )


def images_of_class(source: DatasetSource) -> dict[str, int]:
    """How many train images show each class."""
    labels = [set(source.labels_of(image_id).tolist()) for image_id in source.image_ids("train")]
    return {name: sum(n in one for one in labels) for n, name in enumerate(source.classes, 1)}


def rarely_lacking(images: int, of_class: Mapping[str, int]) -> str | None:
    """What to warn of: names the classes which nearly every train image shows; None if there are none.

    Args:
        images: number of train images.
        of_class: class name -> number of train images that show it.
    """
    found = [
        f"{name!r} (all but {images - n})" for name, n in of_class.items() if images - n < _FEW_LACK * images
    ]
    if not found:
        return None
    return (
        f"nearly all of the {images} train images show {', '.join(found)}: the classifier learns little of "
        "what it looks like; boxes would help (data.supervision=box), or images of the same places without it "
        "(negatives): docs/howto/common-class.md"
    )


def spelt_alike(names: Iterable[str]) -> Iterator[str]:
    """What to warn of: classes whose names differ in capitals, spaces, dashes and underscores alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[\s_-]+", "", name.casefold()), []).append(name)
    for alike in groups.values():
        if len(alike) > 1:
            shown = " and ".join(map(repr, alike))
            yield f"{shown} are {len(alike)} classes: if they are one, write it one way"
