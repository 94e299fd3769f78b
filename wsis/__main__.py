"""`python -m wsis` is the command `wsis`, for launchers that take a module, as torchrun does."""

from wsis.cli.main import main

main()
