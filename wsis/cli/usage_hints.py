"""What the line of a command that is not as it should be says beside what is wrong: what to give instead."""

from data_contracts.errors import ContractError

_OF_PHOTOGRAPHS = ("predict", "proposals", "contours")  # commands
_RUNS = ("run_name", "run", "other")  # parameters of commands that take the name of one


def usage_hint(error: Exception, message: str) -> str:
    """`; what to do`, or nothing where the message says it all."""
    return (
        _what_is_extra(error, message) if "unexpected extra argument" in message else _runs_to_choose(error)
    )


def _what_is_extra(error: Exception, message: str) -> str:
    """What words that a command does not take were probably meant as."""
    if "=" in message:
        return "; settings stand behind --set, one each: --set KEY=VALUE"
    if getattr(getattr(error, "ctx", None), "info_name", "") in _OF_PHOTOGRAPHS:
        return "; of several photographs give their folder"
    return "; names with spaces need quotes"


def _runs_to_choose(error: Exception) -> str:
    """The runs that there are, where a run is missing in the command; nothing where the store cannot be read."""
    missing, context = getattr(error, "param", None), getattr(error, "ctx", None)
    if (
        type(error).__name__ != "MissingParameter"
        or context is None
        or getattr(missing, "name", "") not in _RUNS
    ):
        return ""
    from data_contracts.runs import list_runs
    from data_contracts.store import Store

    try:
        store = Store(context.params.get("store"))
        names = list_runs(store)
    except ContractError:
        return ""
    return (
        f"; runs in {store.address}: {', '.join(names) or 'none'}; another store: --store FOLDER, or the variable "
        "WSIS_STORE"
    )
