"""`wsis view`: a run in the browser while it goes on."""

from typing import Annotated

import typer

from wsis.cli.options import RunArgument, StoreOption


def view(
    run_name: RunArgument,
    port: Annotated[
        int,
        typer.Option(
            "--port", help="to listen at (default: a free one)", min=0, max=65535, show_default=False
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="address to listen at; another than loopback shows the images to the network"
        ),
    ] = "127.0.0.1",
    images: Annotated[
        int | None,
        typer.Option("--images", help="images of the gallery at most, evenly spread (default: all)", min=0),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Show a run in the browser while it goes on: the page of `wsis report`, with photographs at full size.

    Numbers and images are renewed as stages finish. Nothing is written; Ctrl-C ends it.

    Example: wsis view demo
    """
    from data_contracts.store import Store
    from wsis.apps.live_run import LiveRun
    from wsis.apps.view_server import ViewServer
    from wsis.views.run import Run

    run = Run.load(Store(store), run_name)
    with LiveRun(run, images) as live, ViewServer(live, host, port) as server:
        print(f"{server.url} shows run {run_name}; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print("ended")
