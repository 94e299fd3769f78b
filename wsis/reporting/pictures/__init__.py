"""Pictures of a run: overlays, figures, contact sheets."""
