"""Weakly supervised instance segmentation from image-level labels or boxes.

Arun, Jawahar and Kumar, "Weakly Supervised Instance Segmentation by Learning Annotation Consistent Instances", ECCV
2020. docs/method.md maps each equation to code and test.

The public interface is what stands in `__all__` (docs/python.md). It is loaded when it is first asked for, so that
`import wsis` costs nothing.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsis.api import (
        ImagesOf,
        Instances,
        LabelSet,
        OpenedRun,
        evaluate_masks,
        generate_proposals,
        open_run,
        train,
    )

__all__ = [
    "ImagesOf",
    "Instances",
    "LabelSet",
    "OpenedRun",
    "evaluate_masks",
    "generate_proposals",
    "open_run",
    "train",
]

# Threads of one calculation wait for one another thousands of times a second. GNU's OpenMP lets them spin for long, and
# where others want the same cores each spins away the time of the one it waits for: a training step took 4 to 10 times
# as long as with a short spin, which costs 7 % on free cores. Read when torch is loaded; what the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wsis' has no attribute {name!r}; it has {', '.join(__all__)}")
    from wsis import api

    return getattr(api, name)
