"""Conversion of a manifest's counts to plain JSON."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_contracts.errors import SchemaError


def plain_count(name: str, value: Any) -> Any:
    """A value of `context.counts` as plain JSON types.

    Raises:
        SchemaError: it holds NaN or infinity; names the count.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain_count(f"{name}.{k}", v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [
            plain_count(name, v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)
        ]
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError(f"count '{name}': expected a finite number, got {value}")
    return value
