"""How stages are executed: reuse and commit, per-image work, training, processes. Knows nothing of the method."""
