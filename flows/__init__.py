"""Orchestration only: the plan of a run, Prefect flows over it, and the `wsis` command."""
