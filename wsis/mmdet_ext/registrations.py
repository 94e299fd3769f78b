"""Models exported before version 0.2 name this module in `custom_imports`."""

from wsis.method.prediction.registrations import *  # noqa: F403
