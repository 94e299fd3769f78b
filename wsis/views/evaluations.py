"""Names of what stage `evaluation` writes beside its row of results, shared with what reads it."""

SHARES_NAME = "shares.json"
"""Rows by kind, of pseudo labels where some training images have given masks."""
SHARES = ("given_masks", "weak_labels")
"""Kinds of these rows: images that learn from given masks, and all others."""
