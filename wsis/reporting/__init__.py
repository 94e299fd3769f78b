"""Read-only views over artefacts: tables, overlays, plots, one HTML page a run."""
