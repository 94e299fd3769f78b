"""The `wsis` command: one module a group of commands."""
