"""How long something will take, in words: the same ones wherever it is said."""

from wsis.engine.machine import free_cores

OTHERS = "other work on the machine makes it longer"


def time_here(seconds: float, factor: float | None = None) -> str:
    """`about 40 min (20 min to 1 h 20 min) with 2 free cores`; `OTHERS` goes with it.

    Args:
        factor: by which it may be wrong, either way; None: it took so long before.
    """
    ends = (roughly(end).removeprefix("about ") for end in (seconds / (factor or 1), seconds * (factor or 1)))
    between = f" ({' to '.join(ends)})" if factor else ""
    return f"{roughly(seconds)}{between} with {free_cores()}"


def roughly(seconds: float) -> str:
    """`under a minute`, `about 12 min`, `about 1 h 20 min`, `about 30 h`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    if minutes < 60:
        return f"about {minutes} min"
    if minutes >= 10 * 60:
        return f"about {round(minutes / 60)} h"
    tens = round(minutes / 10) * 10
    return f"about {tens // 60} h" + (f" {tens % 60} min" if tens % 60 else "")
