"""Samples that cover whole images: what pseudo labels look like where seeds lie on the ground."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import RecordReader
from wsis.method.conditional.label_sets import SampleSet
from wsis.method.masks.proposal_set import Regions

_WHOLE = 0.8  # share of the image from which masks of a class leave nothing to tell it from
_FEW_IMAGES = 10  # a share of fewer images says little


def covered_shares(samples: SampleSet, regions: Regions) -> dict[int, float]:
    """Share of the image that the masks of each labelled class cover together, mean over the K samples."""
    areas = np.bincount(regions.superpixels.ravel(), minlength=regions.membership.shape[1])
    shares: dict[int, float] = {}
    for index, weight in enumerate(samples.shares):
        ids, labels, _ = samples.unique(index)
        for label in np.unique(labels).tolist():
            together: NDArray[np.bool_] = regions.membership[ids[labels == label]].any(axis=0)
            shares[label] = shares.get(label, 0.0) + float(weight * areas[together].sum() / areas.sum())
    return shares


def whole_images(labels: RecordReader, proposals: RecordReader, classes: Sequence[str]) -> dict[str, float]:
    """Of the images labelled with each class, the share in which it covers over 0.8 of the image.

    Classes of fewer than ten images are left out.
    """
    found: dict[str, list[bool]] = {}
    for image_id, record in labels:
        regions = Regions.from_record(proposals.read(image_id, Regions.FIELDS))
        for label, share in covered_shares(SampleSet.from_record(record), regions).items():
            found.setdefault(classes[label - 1], []).append(share > _WHOLE)
    return {name: float(np.mean(found[name])) for name in classes if len(found.get(name, ())) >= _FEW_IMAGES}
