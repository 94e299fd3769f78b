"""Orchestration only: the plan of a run, Prefect flows over it, and the `wsis` command."""

import os

# Before torch loads its OpenMP: threads that spin while they wait make a busy or shared machine many times slower
# (measured: 0.3 against 1.4 training steps a second beside another process on two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
