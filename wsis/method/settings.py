"""What all settings of the method share: a class declares each once, with meaning, bounds and default.

A function takes the class whose settings it reads. Sections of a configuration inherit these classes, so that a
section is handed on as it is and nothing is copied from it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Precision = Literal["float32", "bfloat16", "float16"]


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, values are frozen and checked, defaults too."""

    # NaN has no canonical JSON, and an infinite bound or rate is a mistake
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
