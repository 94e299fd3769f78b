"""A command that was given no run: the line names those that there are."""

from data_contracts.errors import ContractError

_RUNS = ("run_name", "run", "other")  # parameters of commands that take the name of one


def runs_to_choose(error: Exception) -> str:
    """`; runs in STORE: a, b`, where what misses in a command line is a run; nothing of any other error, or where the
    store cannot be read."""
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
