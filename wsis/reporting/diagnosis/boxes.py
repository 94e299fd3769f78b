"""Boxes of the training images, image by image: which of them proposals fit, and what became of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsis.method.conditional.label_sets import SampleSet
from wsis.method.evaluation.box_labels import box_places, fitted, labels_of_boxes
from wsis.method.masks.proposal_set import ProposalSet
from wsis.method.prm.seeds import Seeds
from wsis.reporting.diagnosis.summary import Columns, groups, join, mean


def _fit(proposals: ProposalSet, kept: NDArray[np.int64], boxes: NDArray[np.float32]) -> Columns:
    return {
        "fitted": fitted(boxes, proposals.boxes),
        "fitted_limited": fitted(boxes, proposals.boxes[kept]),
    }


class BoxMeasures:
    """Sums over the images that were measured; without boxes there are none."""

    def __init__(self) -> None:
        self.tables: list[dict[str, NDArray[Any]]] = []
        self.iterations: list[int] = []

    def measure(
        self,
        proposals: ProposalSet,
        kept: NDArray[np.int64],
        seeds: Seeds,
        samples: Mapping[int, SampleSet],
    ) -> None:
        """Measure one image. kept: rows that the conditional network sees; samples: outer iteration -> K samples."""
        if not len(seeds.boxes):
            return
        boxes, classes = seeds.boxes, seeds.peaks[:, 0]
        table = dict(box_places(boxes, classes, proposals.image_size))
        table |= _fit(proposals, kept, boxes)
        for t, one in samples.items():
            found = labels_of_boxes(proposals, one, boxes, classes)
            table |= {f"{name}@{t}": values for name, values in found._asdict().items()}
        self.tables.append(table)
        self.iterations = list(samples)

    def result(self) -> dict[str, Any] | None:
        """Shares and means of the boxes by group; of a group without boxes, or without labels, null."""
        if not self.tables:
            return None
        table = join(self.tables)
        return {
            "boxes": len(table["label"]),
            "groups": [
                {"kind": kind, "group": name, "boxes": int(rows.sum()), **self._of_group(table, rows)}
                for kind, name, rows in groups(table, ())
            ],
        }

    def _of_group(self, table: Columns, rows: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "without_proposal": mean(~table["fitted"][rows]),
            "without_limited": mean(~table["fitted_limited"][rows]),
            "labels": [
                {
                    "iteration": t,
                    "without_label": mean(1 - table[f"labelled@{t}"][rows]),
                    "outside": _weighted(table[f"outside@{t}"][rows], table[f"labelled@{t}"][rows]),
                    "box_iou": mean(table[f"overlap@{t}"][rows]),
                }
                for t in self.iterations
            ],
        }


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float | None:
    there: Sequence[bool] = (weights > 0).tolist()
    if not any(there):
        return None
    return float(np.average(values[there], weights=weights[there]))
