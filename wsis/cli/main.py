"""The `wsis` command: its commands by group, and how each of them ends."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from data_contracts.errors import ConfigError, ContractError
from data_contracts.printable import printable
from wsis.cli import (
    check,
    configs,
    corrections,
    diagnosis,
    diff,
    images,
    inspect,
    run,
    store,
    suites,
    trained,
    view,
)
from wsis.cli.frame import (
    INTERRUPTED,
    LOGGER,
    OutputClosedError,
    OutputFullError,
    QuietOption,
    VerboseOption,
    drop_closed_output,
    framed,
    open_missing_output,
)
from wsis.cli.limits import file_refused, limit_reached
from wsis.cli.usage_hints import usage_hint
from wsis.errors import WsisError

app = typer.Typer(
    help="Learn instance segmentation from image-level labels or boxes (Arun et al., ECCV 2020).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NO_READER = 141  # as a shell reports a command whose reader has gone (SIGPIPE)
_GOES_ON = "what is committed is kept: the same command goes on from there"
_BEGINS_ANEW = "the same command begins anew"


def _print_version(value: bool) -> None:
    if value:
        from wsis.cli.versions import version_line

        print(version_line())
        raise typer.Exit


@app.callback()
def _options_before_the_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="versions of wsis and its parts", callback=_print_version, is_eager=True
        ),
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Learn instance segmentation from image-level labels or boxes (Arun et al., ECCV 2020)."""


def _register(panel: str, *commands: Callable[..., None], if_interrupted: str = _BEGINS_ANEW) -> None:
    for command in commands:
        app.command(rich_help_panel=panel)(framed(command, if_interrupted))


_register("Run", run.run, run.stage, suites.ablations, suites.bench, if_interrupted=_GOES_ON)
_register("Run", configs.configs)
_register("Inspect", inspect.runs, inspect.show, inspect.results)
_register("Inspect", diff.diff)
_register("Inspect", diagnosis.diagnose, diagnosis.figures, inspect.report, view.view)
_register("Your images", check.check)
_register("Your images", trained.predict, trained.evaluate, if_interrupted=_GOES_ON)
_register("Your images", trained.export)
_register("Your images", corrections.correct, if_interrupted=_GOES_ON)
_register("Your images", images.proposals, images.contours, images.train_contours, if_interrupted=_GOES_ON)
_register("Store", store.verify, store.note, store.rm, store.gc)


def _run() -> int | None:
    """The command, in this process or in a group that torchrun has started."""

    def command() -> int | None:
        code: int | None = app(prog_name="wsis", standalone_mode=False)
        return code

    if os.environ.get("WORLD_SIZE", "1") == "1":
        return command()
    from wsis.engine.launched_group import run_in_group

    return run_in_group(command)


def main() -> None:
    """Entry point: errors raised on purpose are one message, anything else a traceback."""
    # A scheduler's SIGTERM ends a run like Ctrl-C: the run record says so and work folders stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    open_missing_output()
    try:
        os.getcwd()
    except FileNotFoundError:  # removed under the shell: libraries end the process where they look for it
        print("error: the current folder is not there any more: go to another one", file=sys.stderr)
        sys.exit(2)
    try:
        # Without standalone mode typer gives back the code of an Exit instead of leaving.
        if code := _run():
            sys.exit(code)
    except KeyboardInterrupt:  # before there is a command
        print("\ninterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OutputClosedError:
        drop_closed_output()
        sys.exit(_NO_READER)
    except OutputFullError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        os._exit(1)  # the interpreter would complain at its end of what it cannot flush
    except (ContractError, WsisError) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except Exception as error:
        if (limit := limit_reached(error)) is not None:
            print(f"error: {limit} ({printable(error)})", file=sys.stderr)
            sys.exit(1)
        if (refused := file_refused(error)) is not None:
            print(f"error: {printable(refused)}", file=sys.stderr)
            sys.exit(1)
        if getattr(error, "format_message", None) is None:
            raise
        if message := error.format_message():  # type: ignore[attr-defined]
            if hint := usage_hint(error, message):
                message = message.removesuffix(".") + hint
            print(f"error: {printable(message)}", file=sys.stderr)
        sys.exit(2)
    finally:
        LOGGER.setLevel(logging.NOTSET)  # for a caller that goes on, as a test does


if __name__ == "__main__":
    main()
