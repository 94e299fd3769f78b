"""Commands of `wsis` on a store: what is damaged in it."""

from typing import Annotated

import typer

from flows.completion import complete_run
from flows.options import StoreOption


def verify(
    run_name: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="(default: every artefact)", autocompletion=complete_run),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Hash every file again and name each damaged one; exit 1 if there is any."""
    from data_contracts.store import Store
    from reporting.show import verify_store

    checked, damaged = verify_store(Store(store), run_name)
    for line in damaged:
        print(line)
    print(f"{checked} artefacts checked, {len(damaged)} problem(s)")
    if damaged:
        raise typer.Exit(1)
